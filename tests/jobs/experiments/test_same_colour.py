"""Switches are counted as the formula says, and a narrow reach helps where it must."""

import csv

import numpy as np
import pytest

from followspot.errors import SettingError
from followspot.jobs.experiments.numbers import parse_numbers
from followspot.jobs.experiments.same_colour import SameColourSettings, same_colour, switched
from followspot.models.encoder import load_encoder

SMALL = SameColourSettings(radii=(None, 3), shown=("rgb", "lightness"), contexts=(1,), clips=1, num_frames=12, height=96, width=128)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([1, 1, 1, 2, 2, 2, 0], [False, False]),
        ([2, 2, 2, 1, 1, 1, 0], [True, True]),
        ([1, 1, 1, 1, 1, 1, 1], [False, False]),
        ([0, 0, 0, 0, 0, 0, 1], [False, False]),
        ([1, 2, 2, 2, 0, 0, 0], [False, True]),
        ([0, 1, 0, 1, 1, 2, 2], [True, False]),
    ],
)
def test_f177_an_object_is_switched_where_most_of_it_lies_on_the_other(predicted, expected):
    truth = np.array([[1, 1, 1, 2, 2, 2, 0]], np.uint8)
    assert switched(truth, np.array([predicted], np.uint8)).tolist() == expected


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("same")
    told = []
    same_colour(out, load_encoder("descriptor"), SMALL, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (8, 8)
    assert (out / "same-colour.png").read_bytes().startswith(b"\x89PNG")
    assert "| same | rgb | 1 | none |" in (out / "same-colour.md").read_text()
    return list(csv.DictReader((out / "same-colour.csv").open()))


def test_f177_every_setting_has_a_row(rows):
    assert len(rows) == 8
    assert {(row["discs"], row["shown"], row["radius"]) for row in rows} == {
        (look, shown, radius) for look in ("same", "hue") for shown in ("rgb", "lightness") for radius in ("none", "3")
    }
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("switched, cross", "switched, pass", "J"))


def test_f177_colour_tells_hues_apart_and_lightness_does_not(rows):
    by = {(row["discs"], row["shown"], row["radius"]): row for row in rows}
    assert float(by["hue", "rgb", "none"]["switched, pass"]) == 0
    assert float(by["hue", "lightness", "none"]["J"]) < float(by["hue", "rgb", "none"]["J"]) - 0.2
    copies, hues = by["same", "lightness", "none"], by["hue", "lightness", "none"]
    assert float(copies["J"]) == pytest.approx(float(hues["J"]), abs=0.05), "without colour, hues are copies"


def test_nothing_to_vary_is_told():
    with pytest.raises(SettingError, match="radii is empty"):
        SameColourSettings(radii=())
    with pytest.raises(SettingError, match="clips is 0"):
        SameColourSettings(clips=0)


def test_lists_of_numbers():
    assert parse_numbers("--radii", "all, 24,3", all_allowed=True) == (None, 24, 3)
    for text in ("", "all", "1;2", "-1", "1.5"):
        with pytest.raises(SettingError, match="--contexts"):
            parse_numbers("--contexts", text)
