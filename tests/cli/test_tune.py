"""`followspot tune` and `followspot sweep` as a person types them."""

import csv

import pytest

from followspot.cli.main import main
from followspot.tracking.preset_file import choose_preset


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


QUICK = ("synthetic", "--split", "easy", "--sequences", "clip-2003", "--resolution", "48")


def test_f171_a_search_ends_in_a_preset_that_commands_take(tmp_path, capsys):
    out = tmp_path / "search"
    assert run("tune", *QUICK, "--set", "top-k=1,5,4", "--set", "context_frames=1|2", "--sampler", "grid", "--out", out) == 0
    said = capsys.readouterr().out
    assert "J&F-Mean" in said
    assert "--preset" in said
    rows = list(csv.DictReader((out / "trials.csv").open()))
    assert len(rows) == 4
    preset = choose_preset(str(out / "best.yaml"))
    assert (str(preset.affinity.top_k), str(preset.context_frames)) == (rows[0]["top_k"], rows[0]["context_frames"])
    assert run("tune", *QUICK, "--set", "top-k=1,5,4", "--set", "context_frames=1|2", "--sampler", "grid", "--out", out) == 0
    assert list(csv.DictReader((out / "trials.csv").open())) == rows, "nothing was tried again"


def test_the_preset_of_a_search_is_that_of_an_evaluation(tmp_path, capsys):
    """The score in the table is the score that `evaluate --preset best.yaml` gives."""
    out = tmp_path / "search"
    wide = ("synthetic", "--split", "easy", "--resolution", "32")
    assert run("tune", *wide, "--set", "radius=3", "--out", out) == 0
    assert run("evaluate", "synthetic", "--split", "easy", "--preset", out / "best.yaml", "--out", tmp_path / "again") == 0
    (row,) = csv.DictReader((out / "trials.csv").open())
    assert f"{float(row['J&F-Mean']):.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--set", "top_k=1,2"), "--set top_k"),
        (("--set", "topk=1|2"), "did you mean 'top_k'"),
        (("--set", "top_k=0|2"), "top_k = 0"),
        (("--sequences", "clip-1"), "no sequence 'clip-1'"),
        (("--sequences", ","), "--sequences names none"),
        (("--sampler", "grid"), "has no steps"),
        (("--tracker", "identity"), "no setting to search"),
        (("--trials", "0"), "trials is 0"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, capsys, arguments, told):
    base = tuple(part for part in QUICK if arguments[0] != "--sequences" or part not in ("--sequences", "clip-2003"))
    base = base if arguments[0] != "--tracker" else base[:-2]
    assert run("tune", *base, *arguments, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_sweeps_tell_what_is_missing(tmp_path, capsys):
    assert run("sweep", tmp_path, "--benchmark", "synthetic", "--out", tmp_path / "out") == 2
    assert "has no checkpoints/step-*.ckpt" in capsys.readouterr().err
    assert run("sweep", tmp_path, "--benchmark", "synthetic", "--out", tmp_path / "out", "--steps", "9-1") == 2
    assert "100-2000" in capsys.readouterr().err
