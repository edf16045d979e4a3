"""F150: what was published, as it was published, and where it was read."""

import pytest

from followspot.benchmarks.published import plain_name, published_for, read_published
from followspot.errors import DatasetError

ROWS = read_published()


def value(benchmark, method, score, split=None):
    found = {row.scores[score] for row in published_for(benchmark, split) if row.method == method and score in row.scores}
    assert found, f"{method} has no {score} on {benchmark}"
    return found


def test_f150_all_five_systems_have_rows():
    assert {row.system for row in ROWS} == {
        "video-colorization",
        "tracking-via-colorizing",
        "corrflow",
        "siammask",
        "s2iammask",
        "timecycle",
    }


@pytest.mark.parametrize(
    ("benchmark", "method", "score", "expected"),
    [
        ("DAVIS 2017", "Identity", "J-Mean", 0.221),
        ("DAVIS 2017", "Single image colorization", "F-Mean", 0.052),
        ("DAVIS 2017", "Optical flow (coarse-to-fine)", "J-Mean", 0.130),
        ("DAVIS 2017", "Video colorization", "J-Mean", 0.346),
        ("DAVIS 2017", "CorrFlow (Kinetics)", "J&F-Mean", 0.495),
        ("DAVIS 2017", "CorrFlow (OxUvA)", "J&F-Mean", 0.503),
        ("DAVIS 2017", "TimeCycle at 480", "J-Decay", 0.332),
        ("DAVIS 2016", "SiamMask", "J-Mean", 0.713),
        ("JHMDB", "Video colorization", "PCK@0.5", 0.914),
        ("VOT2016", "SiamMask", "EAO", 0.433),
        ("VOT2018", "SiamMask-LD", "EAO", 0.423),
        ("YouTube-VOS", "SiamMask", "J-Unseen", 0.451),
        ("VOT2016", "S2iamMask", "Robustness", 0.195),
    ],
)
def test_values_are_those_of_the_tables(benchmark, method, score, expected):
    assert expected in value(benchmark, method, score)


def test_every_number_says_how_it_was_read_and_where():
    assert all(row.source and row.reading for row in ROWS)
    assert all("memory" in row.source for row in ROWS if row.reading == "recalled")
    assert all("check" in row.note for row in ROWS if row.reading == "recalled")


def test_fractions_are_fractions():
    for row in ROWS:
        for name, number in row.scores.items():
            assert 0 <= number <= 1 or name in ("FPS", "Lost"), (row.method, name)


def test_two_tables_that_disagree_are_both_there():
    assert value("DAVIS 2017", "SiamMask", "J-Mean") == {0.511, 0.543}


def test_a_table_is_quoted_once():
    keys = [(row.system, row.benchmark, row.method, row.source, tuple(row.scores)) for row in ROWS]
    assert len(keys) == len(set(keys))


def test_benchmarks_are_found_in_any_spelling():
    assert published_for("davis-2017") == published_for("DAVIS 2017") != ()
    assert published_for("youtube_vos") == published_for("YouTube-VOS") != ()
    assert published_for("DAVIS 2017", "test-dev") == ()
    assert published_for("nothing") == ()


def test_scores_are_the_same_thing_however_they_are_spelled():
    assert plain_name("PCK@.1") == plain_name("pck@0.1") != plain_name("PCK@0.2")
    assert plain_name("R") == plain_name("Robustness")


def test_a_broken_line_is_named(tmp_path):
    header = "system,benchmark,split,protocol,method,supervision,scores,reading,source,note\n"
    for line in (
        "s,b,val,,m,none,J-Mean x,first-hand,somewhere,\n",
        "s,b,val,,m,none,J 0.5,guessed,somewhere,\n",
        "s,b,val,,m,none,J 0.5,recalled,,\n",
    ):
        path = tmp_path / "rows.csv"
        path.write_text(header + line)
        with pytest.raises(DatasetError, match=r"rows.csv:2 is no published row"):
            read_published(path)
