"""Adapting from end to end, on networks and clips that take seconds."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import followspot.jobs.adapt as job
from followspot.datasets.store import ClipStore
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import DatasetError, EncoderError, OutputError, SettingError
from followspot.io.masks import write_mask
from followspot.io.video import VideoWriter
from followspot.jobs import pace
from followspot.jobs.adapt import AdaptSettings, adapt
from followspot.jobs.adapt_truth import TruthSource, score_truth
from followspot.jobs.label_free import CheckSettings, Paired, Verdict
from followspot.jobs.pseudo_scenes import SceneSettings
from followspot.models.encoder import load_encoder
from followspot.models.fused import Fused
from followspot.models.networks import build_network
from followspot.models.resnet import ResNet
from followspot.models.weights import load_weights, save_weights
from followspot.training.module import TrainingModule
from followspot.training.recipe import read_recipe

SMALL = (
    "data.crop.size=32",
    "batch_size=2",
    "precision=float32",
    "log.checkpoint_every=1",
    "optimizer.lr=1e-2",
    "objectives.dense_contrast.anchors=2",
)
QUICK = AdaptSettings(steps=3, changes=SMALL, check=CheckSettings(scenes=2, scene=SceneSettings(objects=3, frames=2, pixels=64), reach=2))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, height=64, width=80, fps=24) as writer:
        for frame in SyntheticVideo(2, num_frames=10, height=64, width=80):
            writer.write(frame.image)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """As the default is: the descriptor and a network side by side."""
    torch.manual_seed(0)
    fused = Fused([load_encoder("descriptor"), ResNet(18)], weights=[0.6, 0.4])
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_weights(path, fused, {"encoder": "descriptor+resnet18", "stride": 8, "licence": "ours"})
    return path


@pytest.fixture(scope="module")
def whole(clip, weights, tmp_path_factory):
    """An uninterrupted run, its folder and its report."""
    out = tmp_path_factory.mktemp("whole") / "out"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    report = adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    torch.set_num_threads(threads)
    return out, report


@pytest.fixture
def one_thread():
    """Sums of several threads depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def copy_of(folder, target):
    """A finished run without its end, and so what a kill leaves."""
    shutil.copytree(folder, target)
    return target


def tensors(path):
    return load_weights(path)[0]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def verdict(*, better):
    pair = Paired(before=0.5, after=0.6, difference=0.1, error=0.01, count=7)
    return Verdict(moved=pair, returned=replace(pair, error=math.inf), gain=0.1, error=math.inf, better=better, reason="because")


def test_a_run_leaves_an_encoder_a_report_and_its_recipe(whole, weights):
    out, report = whole
    kept = out / ("run" if report.kept == "adapted" else ".") / ("encoder" if report.kept == "adapted" else "start")
    assert same(tensors(out / "encoder.safetensors"), tensors(kept.with_suffix(".safetensors")))
    written = json.loads((out / "report.json").read_text())
    assert written["kept"] == report.kept
    assert written["steps"] == 3
    assert written["truth"] is None
    assert written["check"]["moved"]["count"] == report.verdict.moved.count > 0
    recipe = read_recipe(str(out / "run" / "recipe.yaml"))
    assert (recipe.name, recipe.steps, recipe.encoder.name) == ("adapt", 3, "descriptor+resnet18")
    encoder = load_encoder(weights=report.weights)
    assert encoder.name == "descriptor+resnet18"
    assert encoder.card["adapt"] == {"kept": report.kept, "reason": report.verdict.reason}
    assert f"kept the {report.kept} encoder after 3 steps: {report.verdict.reason}" in report.table()
    assert load_weights(out / "start.safetensors")[1]["licence"] == "ours"


def test_the_network_is_trained_and_nothing_else(whole):
    """How much a part counts, the descriptor, and the statistics of normalisation stay."""
    out, _ = whole
    before, after = tensors(out / "start.safetensors"), tensors(out / "run" / "encoder.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "parts.1.conv1.weight" in changed
    assert all(name.startswith("parts.1.") for name in changed)
    assert not any("running" in name or ".bn" in name for name in changed)
    assert all(np.isfinite(after[name].float().numpy()).all() for name in changed)


@pytest.mark.parametrize(("better", "kept", "source"), [(True, "adapted", "run/encoder"), (False, "original", "start")])
def test_the_check_decides_what_is_kept(whole, clip, weights, tmp_path, monkeypatch, better, kept, source):
    out = copy_of(whole[0], tmp_path / "out")
    monkeypatch.setattr(job, "compare", lambda before, after: verdict(better=better))
    report = adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    assert report.kept == kept
    assert same(tensors(report.weights), tensors(out / f"{source}.safetensors"))
    assert not same(tensors(out / "start.safetensors"), tensors(out / "run" / "encoder.safetensors"))
    assert f"kept the {kept} encoder" in report.table()
    # JSON knows no infinity, which is the error of a single scene.
    assert json.loads((out / "report.json").read_text())["check"]["returned"]["error"] is None


def test_a_finished_run_does_no_work_again(whole, clip, weights, tmp_path, monkeypatch):
    out = copy_of(whole[0], tmp_path / "out")
    for name in ("train", "check", "fit_to_time"):
        monkeypatch.setattr(job, name, None)
    (out / "encoder.safetensors").unlink()
    again = adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    assert (again.kept, again.verdict) == (whole[1].kept, whole[1].verdict)
    assert again.weights.is_file()


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(whole, clip, weights, tmp_path, monkeypatch, one_thread):
    out = tmp_path / "out"
    step = TrainingModule.training_step

    def killed(self, batch, index):
        if self.steps_done == 2:
            raise RuntimeError("pulled the plug")
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", killed)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    assert not (out / "encoder.safetensors").exists()
    made = {path: path.stat().st_mtime_ns for path in [*(out / "store").rglob("*.mp4"), out / "before.json", out / "start.safetensors"]}
    assert len(made) == 3
    report = adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    assert all(path.stat().st_mtime_ns == when for path, when in made.items())
    assert same(tensors(out / "run" / "encoder.safetensors"), tensors(whole[0] / "run" / "encoder.safetensors"))
    assert report.verdict == whole[1].verdict


def test_training_draws_its_own_bar_while_no_other_is_open(whole, clip, weights, tmp_path, monkeypatch):
    out = copy_of(whole[0], tmp_path / "out")
    shutil.rmtree(out / "run")
    open_now, seen = [], []

    class Bars:
        def __init__(self, unit):
            self.unit = unit

        def __enter__(self):
            open_now.append(self.unit)
            return lambda *state: seen.append((self.unit, *state))

        def __exit__(self, *error):
            open_now.remove(self.unit)

    def fake(recipe, store, run, *, progress, **settings):
        assert progress
        assert not open_now
        seen.append("training")
        raise KeyboardInterrupt

    (out / "before.json").unlink()
    monkeypatch.setattr(job, "train", fake)
    with pytest.raises(KeyboardInterrupt):
        adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1, bars=Bars)
    assert seen == [("scenes", "checking", 1, 2), ("scenes", "checking", 2, 2), "training"]


def test_a_run_folder_without_a_recipe_is_begun_anew(whole, clip, weights, tmp_path):
    out = copy_of(whole[0], tmp_path / "out")
    for name in ("recipe.yaml", "encoder.safetensors"):
        (out / "run" / name).unlink()
    (out / "after.json").unlink()
    report = adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    assert report.steps == 3
    assert (out / "run" / "encoder.safetensors").is_file()


def test_other_settings_and_other_things_in_the_folder_are_refused(whole, clip, weights, tmp_path):
    with pytest.raises(OutputError, match=r"other settings \(different: weights, minutes\); choose another --out"):
        adapt([clip], whole[0], encoder=None, settings=replace(QUICK, minutes=2.0), device="cpu")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty and holds no adaptation"):
        adapt([clip], tmp_path, weights=weights, settings=QUICK, device="cpu")
    with pytest.raises(OutputError, match="is not empty and holds no adaptation"):
        adapt([clip], tmp_path / "notes.txt", weights=weights, settings=QUICK, device="cpu")


def test_damaged_notes_are_named(whole, clip, weights, tmp_path):
    out = copy_of(whole[0], tmp_path / "out")
    (out / "after.json").write_text('{"moved": [{"place": 3}]}')
    with pytest.raises(OutputError, match=r"after.json is not what a check writes .* delete it"):
        adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    (out / "after.json").write_text("[]")
    with pytest.raises(OutputError, match="is not what adapt writes"):
        adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)
    (out / "adapt.json").write_text("{")
    with pytest.raises(OutputError, match=r"adapt.json cannot be read"):
        adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1)


def test_an_encoder_with_nothing_to_learn_is_refused_before_any_work(clip, tmp_path):
    with pytest.raises(EncoderError, match="'descriptor' has nothing to learn"):
        adapt([clip], tmp_path / "out", encoder="descriptor", settings=QUICK, device="cpu")
    assert not (tmp_path / "out" / "store").exists()


def test_nothing_to_adapt_to_is_refused(tmp_path):
    with pytest.raises(SettingError, match="no video is given"):
        adapt([], tmp_path / "out", settings=QUICK)
    with pytest.raises(SettingError, match="minutes = 0 leaves no time"):
        AdaptSettings(minutes=0)
    with pytest.raises(SettingError, match=r"--set encoder.name=resnet50 cannot be"):
        AdaptSettings(changes=("encoder.name=resnet50",))
    with pytest.raises(SettingError, match="steps = 0 trains nothing"):
        AdaptSettings(steps=0)


def test_an_untrained_network_may_be_adapted_by_name(tmp_path):
    start = job._start(tmp_path / "start.safetensors", "random:resnet18", None)
    assert load_weights(start)[1] == {"encoder": "resnet18", "stride": 8}
    assert job._start(start, "descriptor", None) == start


def test_steps_fit_the_time_in_the_faster_precision(tmp_path, monkeypatch):
    recipe = replace(read_recipe("adapt"), steps=400)
    seconds = {"bfloat16": 2.0, "float32": 1.0}
    monkeypatch.setattr(pace, "_pace", lambda recipe, *given, **settings: seconds[recipe.precision])
    fitted = pace.fit_to_time(recipe, None, tmp_path, seconds=120.5, device="cpu")
    assert (fitted.steps, fitted.precision) == (120, "float32")
    seconds["bfloat16"] = 0.5
    fitted = pace.fit_to_time(recipe, None, tmp_path, seconds=120.3, device="cpu")
    assert (fitted.steps, fitted.precision) == (240, "bfloat16")
    assert pace.fit_to_time(recipe, None, tmp_path, seconds=1e6, device="cpu").steps == 400
    assert pace.fit_to_time(recipe, None, tmp_path, seconds=0.1, device="cpu").steps == pace.FEWEST
    seconds["float32"] = 0.1
    assert pace.fit_to_time(recipe, None, tmp_path, seconds=20, device="cuda").precision == "bfloat16"


def test_the_pace_is_measured_and_leaves_nothing(whole, tmp_path):
    out, _ = whole
    recipe = read_recipe(str(out / "run" / "recipe.yaml"))
    fitted = pace.fit_to_time(replace(recipe, steps=50), ClipStore(out / "store"), tmp_path / "pace", seconds=5, device="cpu")
    assert pace.FEWEST <= fitted.steps <= 50
    assert not (tmp_path / "pace").exists()
    assert replace(fitted, steps=recipe.steps) == recipe


def test_the_shipped_recipe_is_gentle_and_fits_any_network():
    recipe = read_recipe("adapt")
    assert max(recipe.optimizer.lr.at(step, recipe.steps) for step in range(recipe.steps)) == pytest.approx(1e-4)
    assert recipe.data.crop.size <= 160
    assert recipe.data.where == "disk"
    encoder = build_network("descriptor+resnet18")
    assert recipe.build_objective(dim=encoder.dim).num_frames == 2


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """Two labelled sequences of five frames, in the layout of DAVIS."""
    root = tmp_path_factory.mktemp("davis")
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "mini.txt").write_text("a\nb\n")
    for seed, name in enumerate("ab"):
        video = SyntheticVideo(seed, num_frames=5, height=64, width=80)
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / name).mkdir(parents=True)
        for frame in video:
            Image.fromarray(frame.image).save(root / "JPEGImages" / "480p" / name / f"{frame.name}.jpg")
            write_mask(root / "Annotations" / "480p" / name / f"{frame.name}.png", video.masks(frame.index))
    return root


def test_the_true_gain_is_reported_and_decides_nothing(whole, clip, weights, davis, tmp_path, monkeypatch):
    out = copy_of(whole[0], tmp_path / "out")
    told = []

    class Bars:
        def __init__(self, unit):
            self.unit = unit

        def __enter__(self):
            return lambda *state: told.append((self.unit, *state))

        def __exit__(self, *error):
            return None

    source = TruthSource(folder=davis, split="mini", sequences=("b",), pixels=64, workers=1)
    report = adapt([clip], out, weights=weights, settings=QUICK, device="cpu", workers=1, truth=source, bars=Bars)
    assert report.kept == whole[1].kept
    assert set(report.truth.before) == set(report.truth.after) == {"b", "mean"}
    assert 0 < report.truth.before["mean"] <= 1
    assert json.loads((out / "report.json").read_text())["truth"]["after"] == report.truth.after
    assert "true J&F mean" in report.table()
    assert ("frames", "truth", 5, 5) in told
    direct = score_truth(load_encoder(weights=weights), source, tmp_path / "direct", weights=weights, device="cpu")
    assert direct == report.truth.before
    other = out / "run" / "encoder.safetensors"
    with pytest.raises(OutputError):
        score_truth(load_encoder(weights=other), source, tmp_path / "direct", weights=other, device="cpu")


def test_labels_that_are_not_there_are_named(davis):
    assert len(TruthSource(folder=davis, split="mini").open()) == 2
    with pytest.raises(DatasetError, match="has no sequence 'bb'; did you mean 'b'"):
        TruthSource(folder=davis, split="mini", sequences=("bb",)).open()
    with pytest.raises(DatasetError, match="no split 'val'"):
        TruthSource(folder=davis).open()


def test_without_a_name_it_starts_from_the_shipped_network(tmp_path):
    start = job._start(tmp_path / "start.safetensors", None, None)
    network, shipped = load_encoder(weights=start), load_encoder("followspot")
    frames = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(network(frames), shipped(frames))
