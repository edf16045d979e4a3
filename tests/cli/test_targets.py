"""``followspot targets`` as it is typed (F019)."""

from typing import get_args

import numpy as np
import pytest
from PIL import Image

from followspot.cli.targets import Format
from followspot.datasets.targets import TargetStore
from followspot.jobs.targets import FORMATS


@pytest.fixture
def photographs(tmp_path):
    """Three photographs of 80x60 with one square each."""
    for name in ("a", "b", "c"):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(np.full((60, 80, 3), 99, np.uint8)).save(tmp_path / f"images/{name}.png")
        (tmp_path / f"labels/{name}.txt").write_text("0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    return tmp_path


def test_the_choice_of_formats_is_what_can_be_read():
    assert set(get_args(Format)) == set(FORMATS)


def test_f019_it_cuts_and_says_so(followspot, photographs, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a\nc\n")
    told = ("--licence", "CC0", "--origin", "drawn", "--name", "squares")
    said = followspot("targets", "yolo", photographs, "--out", tmp_path / "s", "--list", names, "--without", "c", *told)
    assert said.code == 0, said.err
    assert "squares: 1 photographs, 1 new crops" in said.out
    store = TargetStore(tmp_path / "s")
    assert (store.cards["squares"].licence, store.cards["squares"].source) == ("CC0", "drawn")
    assert (
        "3 photographs (1 were there already), 2 new crops"
        in followspot("targets", "yolo", photographs, "--out", tmp_path / "s", "--name", "squares").out
    )


def test_bad_input_ends_in_one_line(followspot, photographs, tmp_path):
    out = ("--out", tmp_path / "s")
    assert followspot("targets", "yolo", tmp_path / "none", *out).refuses("is no folder, expected one with images and labels")
    assert followspot("targets", "yolo", photographs, *out, "--only", "x*").refuses("nothing is left of 3", "called 'a'")
    assert followspot("targets", "yolo", photographs, *out, "--min-area", "99999").refuses("no object can be used", "3 smaller than")
    assert followspot("targets", "yolo", photographs, *out, "--min-side", "-1").refuses("are no sizes")
    names = tmp_path / "names.txt"
    names.write_text("a\nhelo\n")
    assert followspot("targets", "yolo", photographs, *out, "--list", names).refuses("names.txt line 2 names 'helo', which is not there")
    assert followspot("targets", "yolo", photographs).refuses("--out")


def test_help_needs_no_torch(fresh_process):
    code = "import sys; from followspot.cli.main import main\ntry: main(['targets', '--help'])\nfinally: print('torch' in sys.modules)"
    said = fresh_process(code)
    assert said.stdout.strip().endswith("False")
    assert "[choices: " in said.stdout
