import json

import pytest

from followspot.benchmarks.report import MEASURES, ObjectScore, Report
from followspot.errors import DatasetError, OutputError
from followspot.metrics.summary import Summary


def row(sequence, object_id, j, f, frames=10):
    return ObjectScore(sequence=sequence, object_id=object_id, frames=frames, j=Summary(**j), f=Summary(**f))


ROWS = (
    row("bear", 1, {"mean": 0.9, "recall": 1.0, "decay": 0.1}, {"mean": 0.8, "recall": 0.9, "decay": 0.2}, frames=30),
    row("pigs", 1, {"mean": 0.6, "recall": 0.5, "decay": 0.3}, {"mean": 0.5, "recall": 0.4, "decay": -0.1}),
    row("pigs", 2, {"mean": 0.3, "recall": 0.0, "decay": 0.2}, {"mean": 0.2, "recall": 0.2, "decay": 0.5}),
)


def report(protocol="official", rows=ROWS):
    return Report(benchmark="DAVIS 2017", split="val", protocol=protocol, note="How it was made.", rows=rows)


def test_global_numbers_are_means_over_objects():
    expected = {
        "J&F-Mean": 0.55,
        "J-Mean": 0.6,
        "J-Recall": 0.5,
        "J-Decay": 0.2,
        "F-Mean": 0.5,
        "F-Recall": 0.5,
        "F-Decay": 0.2,
    }
    assert report().scores == pytest.approx(expected)
    assert tuple(report().scores) == MEASURES


def test_preliminary_numbers_are_means_over_frames():
    assert report("preliminary").scores["J-Mean"] == pytest.approx((30 * 0.9 + 10 * 0.6 + 10 * 0.3) / 50)


def test_sequences_are_means_over_their_objects():
    bear, pigs = report().sequences
    assert (bear.sequence, bear.objects, bear.jf) == ("bear", 1, pytest.approx(0.85))
    assert (pigs.sequence, pigs.objects) == ("pigs", 2)
    assert (pigs.j, pigs.f, pigs.jf) == pytest.approx((0.45, 0.35, 0.4))


def test_csv_files_are_the_official_ones(tmp_path):
    report().save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(file.name for file in folder.iterdir()) == ["global_results-val.csv", "per-sequence_results-val.csv", "report.json"]
    assert (folder / "global_results-val.csv").read_bytes() == (
        b"J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay\n0.550,0.600,0.500,0.200,0.500,0.500,0.200\n"
    )
    assert (folder / "per-sequence_results-val.csv").read_bytes() == (
        b"Sequence,J-Mean,F-Mean\nbear_1,0.900,0.800\npigs_1,0.600,0.500\npigs_2,0.300,0.200\n"
    )


def test_json_keeps_full_precision(tmp_path):
    third = Summary(mean=1 / 3, recall=2 / 3, decay=-1 / 7)
    only = report(rows=(ObjectScore(sequence="bear", object_id=1, frames=3, j=third, f=third),))
    only.save(tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["scores"]["J-Mean"] == 1 / 3
    assert content["objects"][0]["f"] == {"mean": 1 / 3, "recall": 2 / 3, "decay": -1 / 7}
    assert content["protocol"] == "official"
    assert content == json.loads(only.to_json())


def test_preliminary_numbers_never_look_official(tmp_path):
    report("preliminary").save(tmp_path)
    assert all(file.name.startswith("preliminary_") for file in tmp_path.iterdir())
    assert "PRELIMINARY" in report("preliminary").table()
    assert "PRELIMINARY" not in report().table()


def test_table_is_for_people():
    lines = report().table().splitlines()
    assert lines[0] == "DAVIS 2017 val, 2 sequences, 3 objects"
    assert lines[1] == "How it was made."
    assert lines[3].split() == list(MEASURES)
    assert lines[4].split() == ["0.550", "0.600", "0.500", "0.200", "0.500", "0.500", "0.200"]
    assert lines[-1].split() == ["pigs", "2", "0.400", "0.450", "0.350"]


def test_refuses_no_objects_and_unwritable_folders(tmp_path):
    with pytest.raises(DatasetError, match="no object was scored"):
        report(rows=())
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        report().save(tmp_path / "file")
