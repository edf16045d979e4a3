"""The report of every benchmark: what it prints, saves and reads back."""

import csv
import json
import math

import pytest

from followspot.benchmarks.report import Report, Row
from followspot.errors import DatasetError, OutputError

NAN = float("nan")
ROWS = (
    Row(sequence="bear", object="1", frames=3, values={"J": 0.9, "lost": 2.0}, curve=(None, 0.8, 1.0, 0.9, None)),
    Row(sequence="pigs", object="1", frames=2, values={"J": 0.6, "lost": NAN}),
    Row(sequence="pigs", object="2", frames=2, values={"J": 1 / 3, "lost": 1.0}),
)


def report(rows=ROWS, **changes):
    given = {"benchmark": "Toys", "split": "val", "protocol": "official", "note": "How it was made.", "scores": {"J-Mean": 0.6}}
    return Report(**given | {"rows": rows, "curve": "J", "lower_is_better": frozenset({"lost"}), "files": {"old.csv": "a,b\n"}} | changes)


def test_sequences_are_means_over_what_their_objects_have():
    sequences = report().sequences
    assert list(sequences) == ["bear", "pigs"]
    assert sequences["pigs"]["J"] == pytest.approx((0.6 + 1 / 3) / 2)
    assert sequences["pigs"]["lost"] == 1.0
    assert math.isnan(report(rows=ROWS[1:2]).sequences["pigs"]["lost"])


def test_a_saved_report_reads_back_the_same(tmp_path):
    saved = report(scores={"J-Mean": 1 / 3, "A": NAN})
    saved.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(file.name for file in folder.iterdir()) == ["old.csv", "report.json", "report.txt", "rows.csv"]
    assert (folder / "old.csv").read_text() == "a,b\n"
    assert (folder / "report.txt").read_text() == saved.table()
    read = Report.read(folder / "report.json")
    assert read.to_json() == saved.to_json()
    assert read.scores["J-Mean"] == 1 / 3
    assert math.isnan(read.scores["A"])
    assert math.isnan(read.rows[1].values["lost"])
    assert (read.rows[0], read.rows[2]) == (ROWS[0], ROWS[2])
    assert read.lower_is_better == {"lost"}
    assert "NaN" not in (folder / "report.json").read_text()


def test_rows_as_a_table_of_six_decimals(tmp_path):
    report().save(tmp_path)
    with (tmp_path / "rows.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sequence", "object", "frames", "J", "lost"]
    assert rows == [
        ["bear", "1", "3", "0.900000", "2.000000"],
        ["pigs", "1", "2", "0.600000", "nan"],
        ["pigs", "2", "2", "0.333333", "1.000000"],
    ]


def test_table_is_for_people():
    lines = report().table().splitlines()
    assert lines[0] == "Toys val, official protocol, 2 sequences, 3 rows"
    assert lines[1] == "How it was made."
    assert (lines[3].split(), lines[4].split()) == (["J-Mean"], ["0.600"])
    assert lines[6].split() == ["sequence", "object", "frames", "J", "lost"]
    assert lines[-1].split() == ["pigs", "2", "2", "0.333", "1.000"]
    assert len({len(line) for line in lines[6:]}) == 1


def test_refuses_nothing_scored_and_unwritable_folders(tmp_path):
    with pytest.raises(DatasetError, match="Toys val: nothing was scored"):
        report(rows=())
    with pytest.raises(DatasetError, match="nothing was scored"):
        report(scores={})
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        report().save(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmark": "x"}'])
def test_other_files_are_no_reports(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"report\.json is not a report of this version .*; make it anew with followspot score"):
        Report.read(path)
    with pytest.raises(DatasetError, match="is not a report"):
        Report.read(tmp_path / "nowhere.json")


def test_one_more_value_than_known_is_another_version(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(report().to_json()) | {"sequences": []}))
    with pytest.raises(DatasetError, match="is not a report of this version"):
        Report.read(path)
