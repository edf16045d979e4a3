"""What one more annotation is worth, counted again from the answers; every frame is chosen as it says."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from followspot.datasets.davis import DavisDataset
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.io.video import open_video
from followspot.jobs.experiments import suggestion as experiment
from followspot.jobs.experiments.suggestion import CHOICES, Outcome, SuggestionSettings, choose, suggestion, summarize
from followspot.models.encoder import load_encoder
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.tracking.suggestion import suggest
from followspot.types import Masks

SMALL = SuggestionSettings(draws=2, preset=replace(PRESETS["default"], resolution=Resolution(pixels=32)))


@pytest.fixture(scope="module")
def run(two_videos, tmp_path_factory):
    """The folder of an experiment on two drawn videos, and its tables."""
    out = tmp_path_factory.mktemp("suggestion")
    told = []
    tables = suggestion(
        out, DavisDataset(two_videos), load_encoder("descriptor"), SMALL, device="cpu", progress=lambda *at: told.append(at)
    )
    assert told == [(1, 2), (2, 2)]
    return out, tables


def test_the_raise_is_that_of_frames_annotated_in_neither_run(two_videos, run):
    _, (table, sequences) = run
    video = DavisDataset(two_videos).sequences[0]
    truth = [video.read_mask(index) for index in range(len(video))]
    tracker = PropagationTracker("descriptor", SMALL.preset, device="cpu")

    def followed(marks):
        with open_video(video.image_folder) as source:
            return tracker.track(source, {mark: [Masks(ids=truth[mark])] for mark in marks}).frames

    def j(frames):
        pairs = [((a.masks == k), (truth[a.index] == k)) for a in frames for k in (1, 2)]
        return np.array([(p & g).sum() / (p | g).sum() for p, g in pairs]).reshape(-1, 2).mean(1)

    first = followed([0])
    best = suggest(first, annotated=[0], sure_enough=1.0).index
    rise = j(followed([0, best])) - j(first)
    expected = np.mean([rise[t] for t in range(len(video)) if t not in (0, best)])
    row = dict(zip(sequences.columns, sequences.rows[0], strict=True))
    assert row["suggested frame"] == best
    assert row["suggested"] == pytest.approx(expected, abs=1e-9)
    assert row["worst frame"] == 1 + np.argmin(j(first)[1:])
    assert row["J before"] == pytest.approx(j(first)[1:].mean())
    assert row["asked"] == ("no" if suggest(first, annotated=[0]) is None else "yes")
    means = {r[0]: r[1] for r in table.rows}
    for choice in CHOICES:
        assert means[choice] == pytest.approx(np.mean([dict(zip(sequences.columns, r, strict=True))[choice] for r in sequences.rows]))


def test_what_it_leaves_behind(run):
    out, (table, _) = run
    assert (out / "suggestion.png").read_bytes().startswith(b"\x89PNG")
    assert [row["annotated too"] for row in csv.DictReader((out / "suggestion.csv").open())] == list(CHOICES)
    assert len(list(csv.DictReader((out / "suggestion-sequences.csv").open()))) == 2
    assert "| suggested |" in (out / "suggestion.md").read_text()
    assert "2 videos" in table.notes[0]


def test_it_goes_on_where_it_stopped(two_videos, run, tmp_path, monkeypatch):
    asked = []

    def stop(sequence, *arguments, **options):
        asked.append(sequence.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole(sequence, *arguments, **options)

    whole = experiment.ask
    monkeypatch.setattr(experiment, "ask", stop)
    start = (tmp_path, DavisDataset(two_videos), load_encoder("descriptor"), SMALL)
    with pytest.raises(KeyboardInterrupt):
        suggestion(*start, device="cpu")
    assert suggestion(*start, device="cpu") == run[1]
    assert asked == ["plain", asked[1], asked[1]]
    suggestion(*start, device="cpu")
    assert len(asked) == 3
    with pytest.raises(OutputError, match="names other settings"):
        suggestion(*start[:3], replace(SMALL, draws=3), device="cpu")
    broken = tmp_path / "plain" / "raise.json"
    broken.write_text(json.dumps({"sequence": "plain"}))
    with pytest.raises(DatasetError, match="is no result of this experiment"):
        suggestion(*start, device="cpu")


def test_frames_are_chosen_as_they_are_called():
    before = [1.0, 0.9, 0.2, 0.8, 0.1, 0.7, 0.9]
    found = choose(before, replace(SMALL, draws=3), suggested=5, without=[0, 4], name="a")
    assert (found["suggested"], found["middle"], found["last"], found["worst"]) == ((5,), (3,), (6,), (2,))
    assert len(set(found["random"])) == 3
    assert not {0, 4} & set(found["random"])
    assert found == choose(before, replace(SMALL, draws=3), suggested=5, without=[0, 4], name="a")
    draws = {choose(before, replace(SMALL, draws=1, seed=seed), suggested=5, without=[0], name="a")["random"] for seed in range(40)}
    assert draws == {(frame,) for frame in range(1, 7)}
    assert choose(before, SMALL, suggested=None, without=[0], name="a")["suggested"] == (3,)
    assert choose(before, SMALL, suggested=4, without=[0, 4], name="a")["suggested"] in {(3,), (5,)}
    assert set(choose(before, replace(SMALL, draws=99), suggested=5, without=[0], name="a")["random"]) == set(range(1, 7))
    with pytest.raises(DatasetError, match="shows its objects in no frame but the first"):
        choose(before, SMALL, suggested=1, without=range(7), name="a")


def outcome(gains):
    """A video of 4 frames in which annotating frame 2 for a choice raises J of frames 1 and 3 by so much, and of frame 2 by a lot."""
    frames = {choice: (number,) for number, choice in enumerate(CHOICES, 1)}
    after = {number: tuple(0.9 if t == number else 0.2 + gain for t in range(7)) for number, gain in enumerate(gains, 1)}
    return Outcome(sequence="v", asked=True, before=(0.2,) * 7, frames=frames, after=after)


def test_means_and_differences_by_hand():
    some = [outcome((0.3, 0.1, 0.0, -0.1, 0.4)), outcome((0.1, 0.2, 0.0, 0.0, 0.1))]
    rows = {row[0]: row[1:] for row in summarize(some, title="t").rows}
    assert [rows[choice][0] for choice in CHOICES] == pytest.approx([0.2, 0.15, 0.0, -0.05, 0.25])
    assert [rows[choice][3] for choice in CHOICES[1:]] == pytest.approx([0.05, 0.2, 0.25, -0.05])
    assert [rows[choice][6] for choice in CHOICES[1:]] == [1, 2, 2, 0]
    assert rows["middle"][4:6] == pytest.approx((-0.1, 0.2))  # of two videos: both drawn the same way
    assert rows["suggested"][3:] == (None,) * 4


@pytest.mark.parametrize("change", [{"every": 0}, {"draws": 0}])
def test_numbers_below_one_are_refused(change):
    with pytest.raises(SettingError, match="expected at least 1"):
        replace(SMALL, **change)


def test_a_video_of_two_frames_is_refused(two_videos):
    with pytest.raises(DatasetError, match="expected at least 3"):
        experiment.ask(DavisDataset(two_videos).sequences[0], load_encoder("descriptor"), replace(SMALL, every=8), device="cpu")
