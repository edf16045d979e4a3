"""F149: scores by attribute, over the sequences that have attributes only."""

import math

import pytest

from followspot.benchmarks.attributes import by_attribute
from followspot.benchmarks.report import Report, Row
from followspot.datasets.davis_attributes import ATTRIBUTES, find_attributes, read_attributes
from followspot.errors import DatasetError, SettingError

SCORES = {"bear": (0.9,), "bmx": (0.2, 0.4), "swing": (0.6,), "new-in-2017": (0.1,)}
INFO = """
attributes: [AC, OCC, MB]
sequences:
- {name: bear, attributes: [AC], set: train, year: 2016}
- {name: bmx, attributes: [AC, OCC], set: train, year: 2016}
- {name: swing, attributes: [OCC], set: train, year: 2016}
- {name: new-in-2017, attributes: [], set: train, year: 2017}
- {name: elsewhere, attributes: [MB]}
"""


@pytest.fixture
def report():
    rows = tuple(
        Row(sequence=name, object=str(place), frames=5, values={"J-Mean": value, "F-Mean": value / 2})
        for name, values in SCORES.items()
        for place, value in enumerate(values, 1)
    )
    return Report(benchmark="DAVIS 2017", split="train", protocol="official", note="", scores={"J-Mean": 0.44}, rows=rows)


@pytest.fixture
def info(tmp_path):
    path = tmp_path / "DAVIS" / "db_info.yaml"
    path.parent.mkdir()
    path.write_text(INFO)
    return path


def test_f149_means_over_sequences_with_and_without_each_attribute(report, info):
    table = by_attribute(report, read_attributes(info))
    # Objects are averaged first: bmx counts once, as 0.3. What is new in 2017 is in no mean, MB has no sequence and no row.
    assert [(row.attribute, row.sequences) for row in table.rows] == [("AC", 2), ("OCC", 2)]
    assert (table.labelled, table.total) == (3, 4)
    ac, occ = table.rows
    assert (ac.present, ac.absent) == (pytest.approx((0.9 + 0.3) / 2), pytest.approx(0.6))
    assert (occ.present, occ.absent) == (pytest.approx((0.3 + 0.6) / 2), pytest.approx(0.9))
    assert occ.gain == pytest.approx(0.45)
    assert by_attribute(report, read_attributes(info), measure="F-Mean").rows[0].present == pytest.approx(0.3)


def test_f149_the_table_says_how_many_sequences_count(report, info):
    table = by_attribute(report, read_attributes(info))
    assert table.text().splitlines()[0] == "J-Mean by attribute: 3 of 4 sequences have attributes"
    assert "OCC occlusion                 2  0.450    0.900  +0.450" in table.text()
    assert table.csv().splitlines()[2] == "OCC,2,0.450000,0.900000,0.450000"


def test_without_attributes_there_are_no_rows(report):
    table = by_attribute(report, {"bear": frozenset()})
    assert (table.rows, table.labelled, table.total) == ((), 0, 4)
    assert table.text() == "J-Mean by attribute: 0 of 4 sequences have attributes\n\n"


def test_an_attribute_that_all_have_has_no_rest(report):
    row = by_attribute(report, {"bear": frozenset({"AC"})}).rows[0]
    assert row.sequences == 1
    assert math.isnan(row.absent)


def test_unknown_measures_are_named(report, info):
    with pytest.raises(SettingError, match='the report of DAVIS 2017 has no "PCK"; it has J-Mean, F-Mean'):
        by_attribute(report, read_attributes(info), measure="PCK")


def test_f023_sixteen_attributes_and_where_their_file_lies(info):
    assert len(ATTRIBUTES) == 16
    assert find_attributes(info.parent) == info
    assert find_attributes(info.parent / "nowhere") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequences: [", r"db_info\.yaml cannot be read \("),
        ("videos: []", r"is not of DAVIS: expected a list 'sequences'"),
        ("sequences: [{title: bear}]", r"is not of DAVIS"),
        ("- bear", r"is not of DAVIS"),
        ("sequences: [{name: bear, attributes: [XX]}]", r"'bear' has the attribute 'XX'; known are AC, BC"),
    ],
)
def test_broken_files_are_named(info, text, message):
    info.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_attributes(info)
