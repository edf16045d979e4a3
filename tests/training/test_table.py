import csv

import pytest

from followspot.errors import OutputError
from followspot.training.table import StepTable


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def filled(path):
    table = StepTable(path, ("loss",))
    assert table.resume(0) is None
    for step in (2, 4, 6):
        table.append(step, {"loss": step / 2})
    return table


def test_rows_and_late_columns(tmp_path):
    path = tmp_path / "run" / "metrics.csv"
    table = filled(path)
    table.append(8, {"extra": 1e-9, "loss": float("nan")})
    assert path.read_text().splitlines() == ["step,loss,extra", "2,1,", "4,2,", "6,3,", "8,nan,1e-09"]


@pytest.mark.parametrize(("steps_done", "kept"), [(6, "246"), (5, "24"), (1, ""), (0, "")])
def test_f096_resuming_cuts_later_rows_and_loses_none(tmp_path, steps_done, kept):
    path = tmp_path / "metrics.csv"
    filled(path)
    table = StepTable(path, ("loss",))
    last = table.resume(steps_done)
    assert [row["step"] for row in read(path)] == list(kept)
    assert (last or {}).get("step") == (kept[-1] if kept else None)
    table.append(steps_done + 1, {"loss": 7})
    assert read(path)[-1] == {"step": str(steps_done + 1), "loss": "7"}


@pytest.mark.parametrize("torn", ["8,0.1", "8", "8,0.1,extra,more\n", "x,1\n", "\n"])
def test_what_a_kill_left_half_written_is_dropped(tmp_path, torn):
    path = tmp_path / "metrics.csv"
    filled(path)
    with path.open("a") as file:
        file.write(torn)
    assert StepTable(path, ("loss",)).resume(100) == {"step": "6", "loss": "3"}
    assert len(read(path)) == 3


def test_columns_of_before_are_kept(tmp_path):
    path = tmp_path / "metrics.csv"
    filled(path).append(8, {"extra": 1})
    table = StepTable(path, ("loss",))
    table.resume(8)
    table.append(10, {"loss": 2})
    assert read(path)[-2:] == [{"step": "8", "loss": "", "extra": "1"}, {"step": "10", "loss": "2", "extra": ""}]


def test_files_of_others_and_missing_ones(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("name,age\nx,1\n")
    with pytest.raises(OutputError, match="first column is 'name'; move it away"):
        StepTable(path, ()).resume(5)
    path.write_text("")  # a kill before the first write reached the disk
    assert StepTable(path, ("loss",)).resume(5) is None
    path.unlink()
    table = StepTable(path, ("loss",))
    assert table.resume(5) is None
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match="choose another output"):
        table.append(1, {"loss": 1})
