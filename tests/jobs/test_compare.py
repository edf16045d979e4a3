"""Several trackers, one table."""

import csv
import json

import pytest

from followspot.benchmarks.report import Report, Row
from followspot.benchmarks.synthetic import SyntheticBenchmark
from followspot.errors import DatasetError, SettingError
from followspot.jobs.compare import Comparison, Entry, compare, rank
from followspot.jobs.trackers import TrackerSpec, find_tracker


def entry(name, scores, rate=10.0, lower=()):
    row = Row(sequence="s", frames=1, values={})
    report = Report(
        benchmark="Toys", split="val", protocol="official", note="A note.", scores=scores, rows=(row,), lower_is_better=frozenset(lower)
    )
    return Entry(name=name, folder=name, report=report, frames_per_second=rate)


def names(entries):
    return [entry.name for entry in entries]


def test_the_first_score_ranks():
    a, b, c = entry("a", {"J": 0.2, "F": 0.9}), entry("b", {"J": float("nan"), "F": 1.0}), entry("c", {"J": 0.5, "F": 0.1})
    assert names(rank([a, b, c])) == ["c", "a", "b"]
    lower = [entry("a", {"error": 3.0}, lower=["error"]), entry("b", {"error": 1.0}, lower=["error"])]
    assert names(rank(lower)) == ["b", "a"]
    assert names(rank([entry("x", {"J": 0.5}), entry("y", {"J": 0.5})])) == ["x", "y"]


@pytest.fixture
def table():
    return Comparison(entries=(entry("b,c", {"J": 0.5, "F": 0.25}), entry("a", {"J": 1 / 3, "F": float("nan")}, rate=None)))


def test_the_table_for_people_and_for_machines(table, tmp_path):
    table.save(tmp_path)
    assert table.table().splitlines() == [
        "Toys val, official protocol, 2 trackers",
        "A note.",
        "",
        "tracker      J      F  frames/s",
        "b,c      0.500  0.250      10.0",
        "a        0.333    nan          ",
    ]
    assert (tmp_path / "compare.md").read_text().splitlines()[2:] == [
        "| tracker | J | F | frames/s |",
        "| --- | --- | --- | --- |",
        "| b,c | 0.500 | 0.250 | 10.0 |",
        "| a | 0.333 | nan |  |",
    ]
    with (tmp_path / "compare.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["tracker", "J", "F", "frames_per_second"],
            ["b,c", "0.500000", "0.250000", "10.000000"],
            ["a", "0.333333", "", ""],
        ]
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["benchmark"] == "Toys"
    assert content["trackers"][1] == {"name": "a", "folder": "a", "scores": {"J": 1 / 3, "F": None}, "frames_per_second": None}


@pytest.fixture
def clips():
    return SyntheticBenchmark("", split="easy", clips=["clip-2000"])


class Broken(TrackerSpec):
    def build(self):
        raise self.error


def test_trackers_that_fail_do_not_lose_the_others(clips, tmp_path, contents):
    class Mendable(Broken):
        error = DatasetError("no such weights")

    tables = []
    specs = [Mendable(name="bad"), find_tracker("identity"), find_tracker("flow:dis")]
    with pytest.raises(DatasetError, match=r"1 of 3 trackers could not be compared \(bad: no such weights\); the others are in"):
        compare(clips, specs, tmp_path, data=None, workers=1, on_table=tables.append)
    assert names(tables[0].entries) == ["flow:dis", "identity"]
    content = json.loads((tmp_path / "compare.json").read_text())
    assert [tracker["folder"] for tracker in content["trackers"]] == ["flow-dis", "identity"]
    before = contents(tmp_path)
    again = compare(clips, specs[1:], tmp_path, data=None, workers=1)
    assert names(again.entries) == ["flow:dis", "identity"]
    assert contents(tmp_path) == before
    assert all(entry.report.to_json() == (tmp_path / entry.folder / "report.json").read_text() for entry in again.entries)

    class Bug(Broken):
        error = ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError, match="oops") as caught:
        compare(clips, [Bug(name="bug"), specs[1]], tmp_path, data=None, workers=1)
    assert "tracker 'bug'" in caught.value.__notes__[0]


def test_two_of_one_name_and_none_at_all(clips, tmp_path):
    with pytest.raises(SettingError, match='two trackers would be called "identity"; name one of them, as in other=identity'):
        compare(clips, [find_tracker("identity")] * 2, tmp_path, data=None)
    with pytest.raises(SettingError, match="there is no tracker to compare"):
        compare(clips, [], tmp_path, data=None)
    assert not list(tmp_path.iterdir())
