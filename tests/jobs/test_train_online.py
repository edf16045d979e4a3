"""Training an online tracker on disk: what it leaves, stages, kills, and what it refuses (F085, F127, F128)."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from followspot.datasets.pairs import is_held_out
from followspot.datasets.targets import TargetStore
from followspot.errors import DatasetError, EncoderError, OutputError, SettingError
from followspot.jobs import train_online as job
from followspot.jobs.siamese import find_siamese
from followspot.jobs.train_online import prepare_targets, read_online_recipe, train_online
from followspot.jobs.training_run import begin_run
from followspot.models.online_networks import load_online_network
from followspot.models.weights import read_card
from followspot.training.online import OnlineModule
from followspot.types import Boxes, Frame

QUICK = (
    *(
        "steps=4",
        "batch_size=2",
        "precision=float32",
        "judged=3",
        "network.backbone=",
        "data.held_out=0.6",
        "data.epoch=6",
        "loss.places=2",
    ),
    "log={every: 1, checkpoint_every: 2, score_every: 2, pictures_every: 1000}",
)
FIRST = (*QUICK, "steps=2")
SECOND = ("steps=2", "batch_size=2", "precision=float32", "judged=3", "data.held_out=0.6", "log.every=1", "log.checkpoint_every=1")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def targets(draw_targets, tmp_path_factory):
    """Some videos are held out, some are not."""
    root = draw_targets(tmp_path_factory.mktemp("targets"), videos=5)
    sides = {is_held_out("drawn", target.video, share=0.6) for target in TargetStore(root).targets}
    assert sides == {True, False}
    return root


@pytest.fixture(scope="module")
def boxes(draw_targets, tmp_path_factory):
    return draw_targets(tmp_path_factory.mktemp("boxes"), videos=5, masks=False)


def run(recipe, data, out, **options):
    return train_online(recipe, data, out, device="cpu", progress=False, **options)


def box_recipe(*changes):
    return read_online_recipe("siammask-lite-box", changes=(*QUICK, *changes))


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same_weights(one, other):
    first, second = (load_file(folder / "network.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(targets, tmp_path_factory):
    """A run of boxes, from its beginning to its end."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return run(box_recipe(), targets, out), out


def test_a_run_leaves_its_folder(whole):
    result, out = whole
    assert (result.steps, result.skipped, result.weights) == (4, 0, out / "network.safetensors")
    left = {path.name for path in out.iterdir()}
    assert left == {
        *("recipe.yaml", "environment.json", "metrics.csv", "log.txt", "tensorboard", "checkpoints", "held_out.csv"),
        "network.safetensors",
    }
    assert read_online_recipe(str(out / "recipe.yaml")) == box_recipe()
    assert [row["step"] for row in rows(out / "metrics.csv")] == ["1", "2", "3", "4"]


def test_what_is_held_out_is_judged_before_the_first_step_and_at_intervals(whole):
    table = rows(whole[1] / "held_out.csv")
    assert [row["step"] for row in table] == ["0", "2", "4"]
    assert all(np.isfinite(float(row[name])) for row in table for name in ("loss", "score", "box"))
    assert len({row["score"] for row in table}) == 3


def test_the_card_says_what_trained_it(whole):
    card = read_card(whole[1] / "network.safetensors")
    assert card["network"] == "siammask-lite-box"
    assert card["data"] == {"drawn": {"targets": 5, "labelled_by": "people", "licence": "CC0", "source": "drawn"}}
    assert card["recipe"] == box_recipe().to_yaml()
    assert (card["steps"], card["skipped"]) == (4, 0)
    assert "begins_with" not in card


def test_the_weights_track(whole):
    network, _ = load_online_network(whole[1] / "network.safetensors")
    assert network.name == "siammask-lite-box"
    assert not network.training
    tracker = find_siamese(str(whole[1]), device="cpu").build()
    frames = [Frame(image=np.full((90, 120, 3), 80, np.uint8), index=t, time_seconds=t / 10, name=f"{t}") for t in range(2)]
    tracker.start(frames[0], [Boxes(xyxy=np.array([[40.0, 30.0, 70.0, 60.0]]), names=("thing",))])
    found = tracker.step(frames[1])
    assert np.isfinite(found.objects[0].box).all()


class Crash(Exception):
    """What happens to a run."""


@pytest.fixture
def crash_at(monkeypatch):
    step = OnlineModule.training_step

    def arrange(number, *, network=None):
        def crashing(self, batch, index):
            if self.steps_done == number and network in (None, self.encoder.name):
                raise Crash
            return step(self, batch, index)

        monkeypatch.setattr(OnlineModule, "training_step", crashing)
        return lambda: monkeypatch.setattr(OnlineModule, "training_step", step)

    return arrange


def test_f085_a_run_that_was_killed_ends_with_the_same_weights_to_the_bit(whole, targets, tmp_path, crash_at):
    mend = crash_at(3)
    with pytest.raises(Crash):
        run(box_recipe(), targets, tmp_path / "run")
    assert not (tmp_path / "run/network.safetensors").exists()
    with pytest.raises(OutputError, match="is not empty; add --resume"):
        run(box_recipe(), targets, tmp_path / "run")
    with pytest.raises(SettingError, match=r"another recipe \(different: seed\)"):
        run(box_recipe("seed=1"), targets, tmp_path / "run", resume=True)
    mend()
    assert run(box_recipe(), targets, tmp_path / "run", resume=True).steps == 4
    assert same_weights(tmp_path / "run", whole[1])
    assert rows(tmp_path / "run/held_out.csv") == rows(whole[1] / "held_out.csv")


@pytest.fixture(scope="module")
def two_stages(targets, tmp_path_factory):
    out = tmp_path_factory.mktemp("stages") / "run"
    run(sharp(), targets, out, first_changes=FIRST)
    return out


def sharp(*changes):
    return read_online_recipe("siammask-lite", changes=(*SECOND, *changes))


def test_f127_the_stage_before_is_trained_first_and_the_second_begins_with_it(two_stages):
    first, second = (load_file(folder / "network.safetensors") for folder in (two_stages / "first", two_stages))
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved
    assert all(name.startswith("heads.mask.") for name in moved)
    assert all(name.startswith("refinement.") for name in set(second) - set(first))
    card = read_card(two_stages / "network.safetensors")
    assert card["network"] == "siammask-lite"
    assert card["begins_with"] == read_card(two_stages / "first/network.safetensors")
    assert card["begins_with"]["network"] == "siammask-lite-base"
    assert card["begins_with"]["steps"] == 2
    assert str(two_stages) not in card["recipe"], "a card goes to others, who do not have this folder"
    assert "mask_iou" in rows(two_stages / "held_out.csv")[0]


def test_f127_either_stage_goes_on_where_it_was_killed(two_stages, targets, tmp_path, crash_at):
    out = tmp_path / "run"
    mend = crash_at(1, network="siammask-lite-base")
    with pytest.raises(Crash):
        run(sharp(), targets, out, first_changes=FIRST)
    mend()
    mend = crash_at(1, network="siammask-lite")
    with pytest.raises(Crash):
        run(sharp(), targets, out, first_changes=FIRST, resume=True)
    finished = (out / "first/network.safetensors").stat().st_mtime_ns
    mend()
    run(sharp(), targets, out, first_changes=FIRST, resume=True)
    assert (out / "first/network.safetensors").stat().st_mtime_ns == finished, "a finished stage is trained again"
    assert same_weights(out, two_stages)


def test_another_first_stage_than_the_finished_one_is_told(two_stages, targets, tmp_path):
    out = tmp_path / "run"
    (out / "first").mkdir(parents=True)
    for name in ("recipe.yaml", "first/recipe.yaml", "first/network.safetensors"):
        (out / name).write_bytes((two_stages / name).read_bytes())
    with pytest.raises(SettingError, match=r"first has another recipe \(different: steps\)"):
        run(sharp(), targets, out, first_changes=(*FIRST, "steps=3"), resume=True)


def test_given_weights_take_the_place_of_the_first_stage(two_stages, targets, tmp_path):
    recipe = sharp(f"network.init={two_stages / 'first'}", "average=0.5")
    run(recipe, targets, tmp_path / "run")
    assert not (tmp_path / "run/first").exists()
    # What is judged before the first step is the first stage, also where weights are averaged.
    before = [rows(folder / "held_out.csv")[0] for folder in (tmp_path / "run", two_stages)]
    assert before[0]["score"] == before[1]["score"]
    with pytest.raises(SettingError, match=r"first\.steps=1 .* network\.init gives the weights of that already"):
        run(recipe, targets, tmp_path / "other", first_changes=("steps=1",))


def test_what_cannot_work_is_told_before_there_is_a_folder(targets, boxes, tmp_path, two_stages):
    out = tmp_path / "run"
    wrong = [
        (box_recipe("data.held_out=0.0001"), targets, "no targets to judge by", DatasetError),
        (box_recipe("data.held_out=1"), targets, "no targets to train on", DatasetError),
        (box_recipe("data.shares={other: 1}"), targets, "has no dataset 'other'", SettingError),
        (box_recipe(f"network.init={two_stages / 'nothing'}"), targets, "there is no weight file", EncoderError),
        (box_recipe("network.backbone=descriptor"), targets, "no ResNet of the depth", EncoderError),
        (
            read_online_recipe("siammask-lite-base", changes=QUICK),
            boxes,
            "have boxes only, and siammask-lite-base learns masks",
            SettingError,
        ),
        (box_recipe(), tmp_path / "nothing", "nothing", DatasetError),
    ]
    for recipe, data, said, kind in wrong:
        with pytest.raises(kind, match=said):
            run(recipe, data, out)
        assert not out.exists(), said
    with pytest.raises(SettingError, match=r"first\.steps=1 is for recipes that begin with another; siammask-lite-box does not"):
        run(box_recipe(), targets, out, first_changes=("steps=1",))
    with pytest.raises(SettingError, match="stepz"):
        run(sharp(), targets, out, first_changes=("stepz=1",))
    assert not out.exists()
    with pytest.raises(SettingError, match="seed = -1 must be 0 or more"):
        box_recipe("seed=-1")


def test_f128_boxes_alone_are_enough_for_a_network_of_boxes(boxes, tmp_path):
    result = run(box_recipe("steps=1", "data.held_out=0"), boxes, tmp_path / "run")
    assert result.steps == 1
    assert not (tmp_path / "run/held_out.csv").exists()


def test_a_held_out_crop_that_cannot_be_read_does_not_end_a_run(draw_targets, tmp_path, caplog):
    root = draw_targets(tmp_path / "targets", videos=5)
    held = sorted({target.video for target in TargetStore(root).targets if is_held_out("drawn", target.video, share=0.6)})
    next((root / "crop511/drawn" / held[0]).glob("*.x.jpg")).write_bytes(b"no picture")
    batches = job._judged(replace(box_recipe(), judged=12), TargetStore(root))
    assert sum(len(batch.template) for batch in batches) == 12
    assert "left out" in caplog.text


@pytest.fixture
def clips(tmp_path):
    """What looks like a store of clips; making targets of it is drawn instead."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / job.INDEX).write_text("{}")
    return tmp_path / "clips"


@pytest.fixture
def made(draw_targets, monkeypatch):
    calls = []

    def make(store, out, *, settings, show):
        calls.append(out)
        draw_targets(out, dataset="video")

    monkeypatch.setattr(job, "own_targets", make)
    monkeypatch.setattr(job, "ClipStore", lambda root: root)
    return calls


def test_clips_become_targets_in_the_folder_of_the_run(clips, made, tmp_path, targets):
    out = tmp_path / "run"
    assert prepare_targets(targets, out) == targets
    assert prepare_targets(clips, out) == out / "targets"
    # Killed after that: both the same command and --resume begin.
    for resume in (False, True):
        assert prepare_targets(clips, out, resume=resume) == out / "targets"
        assert begin_run(box_recipe(), out, resume=resume, read=read_online_recipe) is None
        (out / "recipe.yaml").rename(tmp_path / "recipe.yaml")
        (out / "environment.json").unlink()
    assert len(made) == 3
    (tmp_path / "recipe.yaml").rename(out / "recipe.yaml")
    prepare_targets(clips, out, resume=True)
    assert len(made) == 3, "a run that has begun has its targets"


def test_targets_are_not_made_for_a_folder_that_is_refused(clips, made, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other.txt").touch()
    with pytest.raises(OutputError, match="is not empty"):
        prepare_targets(clips, tmp_path / "full")
    with pytest.raises(OutputError, match="there is no run"):
        prepare_targets(clips, tmp_path / "nothing", resume=True)
    with pytest.raises(OutputError, match="is a file"):
        prepare_targets(clips, tmp_path / "full/other.txt")
    assert not made


def test_only_the_first_process_makes_targets(clips, made, tmp_path, monkeypatch, draw_targets):
    monkeypatch.setenv("RANK", "1")
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            draw_targets(tmp_path / "run/targets", dataset="video")

    monkeypatch.setattr(job.time, "sleep", wait)
    assert prepare_targets(clips, tmp_path / "run") == tmp_path / "run/targets"
    assert len(waited) == 2
    assert not made
