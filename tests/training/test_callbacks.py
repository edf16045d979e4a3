"""What training writes down, on a toy."""

import csv
import importlib.util
import io
import itertools
import logging
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from followspot.errors import OutputError, SettingError
from followspot.models.weights import load_weights
from followspot.objectives.base import ClipBatch
from followspot.training.callbacks import RunCallbacks
from followspot.training.checkpoints import Checkpoints, last_checkpoint
from followspot.training.csv_log import MetricsCsv
from followspot.training.environment import describe_environment, processor_name
from followspot.training.panels import Panels, draw, pca_strip
from followspot.training.progress import ProgressBar, quiet_lightning
from followspot.training.run_settings import LogSettings
from followspot.training.scores import Scores
from followspot.training.text_log import TextLog
from followspot.training.watched import Interval, looking_at

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

EVERY = LogSettings(every=2, pictures_every=5, checkpoint_every=4, keep=2, score_every=3)


class Judge:
    """Scores that are known before; draws random numbers, as a judge may."""

    def __init__(self, *values):
        self.values = list(values)
        self.modes = []

    def __call__(self, encoder):
        torch.rand(5)
        self.modes.append((encoder.training, torch.is_grad_enabled()))
        return self.values.pop(0)


def run(folder, *, steps=12, resume=None, judge=None, **options):
    module = toy.Toy(steps, **options)
    recipe = SimpleNamespace(log=EVERY, steps=steps, about=lambda: {"encoder": "toy", "recipe": toy.RECIPE})
    callbacks = RunCallbacks(folder, recipe, score=judge, progress=False)
    assert callbacks.seconds == 0
    toy.fit(module, callbacks.all(), resume=resume)
    module.callbacks = callbacks
    return module


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run(folder, judge=Judge(0.1, 0.5, 0.3, 0.5), broken=(4,))


def test_f095_tensorboard_holds_curves_histograms_and_pictures_at_their_intervals(finished):
    events = EventAccumulator(str(finished[0] / "tensorboard"), {"scalars": 0, "images": 0, "histograms": 0}).Reload()
    tags = events.Tags()
    assert {"train/loss", "train/lr", "train/noise", "train/samples_per_second", "train/skipped", "score"} == set(tags["scalars"])
    assert [event.step for event in events.Scalars("train/lr")] == [2, 4, 6, 8, 10, 12]
    assert [(event.step, round(event.value, 5)) for event in events.Scalars("score")] == [(3, 0.1), (6, 0.5), (9, 0.3), (12, 0.5)]
    assert {"pictures/target", "pictures/prediction", "pictures/clusters", "features/pca"} == set(tags["images"])
    for tag in tags["images"]:
        assert [event.step for event in events.Images(tag)] == [5, 10, 12]
    pca = events.Images("features/pca")[0]
    assert (pca.width, pca.height) == (3 * 8, 2 * 8)
    assert tags["histograms"] == ["replay/priorities"]
    assert [event.step for event in events.Histograms("replay/priorities")] == [5, 10, 12]
    assert events.Histograms("replay/priorities")[0].histogram_value.max == 9


def test_f096_metrics_hold_a_row_an_interval(finished):
    folder, module = finished
    found = rows(folder / "metrics.csv")
    assert list(found[0]) == ["step", "seconds", "loss", "lr", "samples_per_second", "skipped", "noise"]
    assert [int(row["step"]) for row in found] == [2, 4, 6, 8, 10, 12]
    assert [float(row["loss"]) for row in found] == pytest.approx(module.losses[1::2], rel=1e-6)
    assert [row["skipped"] for row in found] == ["0", "0", "1", "1", "1", "1"]
    assert float(found[0]["lr"]) == pytest.approx(0.01 * 11 / 12)
    assert all(float(late["seconds"]) > float(early["seconds"]) for early, late in itertools.pairwise(found))
    assert all(float(row["samples_per_second"]) > 0 for row in found)


def test_f096_the_log_names_every_setting_the_machine_and_what_remains(finished):
    text = (finished[0] / "log.txt").read_text()
    recipe = text.split("recipe:\n")[1].split("step ")[0]
    assert yaml.safe_load(recipe) == yaml.safe_load(toy.RECIPE)
    assert text.startswith("started, 12 steps in all")
    assert f"  torch: {describe_environment()['torch']}\n" in text
    for line in (
        "  device: cpu",
        "  processes: 1",
        "step 6/12: loss ",
        "skipped 1; ",
        " samples/s, 0:00:0",
        " left",
        "score 0.5000 (best 0.5000 at",
    ):
        assert line in text
    assert "ended at step 12 after 0:00:0" in text
    assert "1 steps not taken" in text


def test_f092_scores_keep_the_best_encoder_and_checkpoint(finished):
    folder, module = finished
    assert [(row["step"], row["score"], row["best"]) for row in rows(folder / "scores.csv")] == [
        ("3", "0.1", "0.1"),
        ("6", "0.5", "0.5"),
        ("9", "0.3", "0.5"),
        ("12", "0.5", "0.5"),
    ]
    state, card = load_weights(folder / "best.safetensors")
    assert card == {"encoder": "toy", "recipe": toy.RECIPE, "steps": 6, "score": 0.5}  # of two alike the earlier
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["toy"]["steps_done"] == 6
    assert all(torch.equal(value, best["state_dict"][f"encoder.{name}"]) for name, value in state.items())
    assert module.callbacks.best_score == 0.5
    assert module.callbacks.seconds >= float(rows(folder / "metrics.csv")[-1]["seconds"])
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "step-00000008.ckpt", "step-00000012.ckpt"]


def test_f096_resuming_appends_without_loss_or_double(finished, tmp_path):
    """A run that is stopped between two rows and resumed has the rows, scores and events of one that was not."""
    run(tmp_path, steps=12, judge=Judge(0.1, 0.5, 0.3, 0.5), broken=(4,))
    at_eight = tmp_path / "checkpoints" / "step-00000008.ckpt"
    before = rows(tmp_path / "metrics.csv")
    resumed = run(tmp_path, steps=12, resume=at_eight, judge=Judge(0.3, 0.6), broken=(4,))
    after = rows(tmp_path / "metrics.csv")
    assert [row["step"] for row in after] == [row["step"] for row in before]
    assert after[:4] == before[:4]
    assert [(row["loss"], row["lr"], row["skipped"], row["noise"]) for row in after] == [
        (row["loss"], row["lr"], row["skipped"], row["noise"]) for row in before
    ]
    assert float(after[4]["seconds"]) > float(before[3]["seconds"])
    assert resumed.losses == finished[1].losses[8:]
    assert [row["best"] for row in rows(tmp_path / "scores.csv")] == ["0.1", "0.5", "0.5", "0.6"]  # the best is remembered
    assert load_weights(tmp_path / "best.safetensors")[1]["steps"] == 12
    text = (tmp_path / "log.txt").read_text()
    assert text.count("recipe:") == 2
    assert "resumed at step 8, 12 steps in all" in text
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]


def test_f097_two_runs_are_identical_and_watching_changes_nothing(finished, tmp_path):
    def again(callbacks=()):
        module = toy.Toy(12, broken=(4,))
        toy.fit(module, callbacks, deterministic=True)
        return module

    try:
        first, second = again(), again([Panels(tmp_path, scalars=Interval(1, 12), pictures=Interval(1, 12))])
    finally:
        torch.use_deterministic_algorithms(False)
    for other in (first, second):
        assert str(other.losses) == str(finished[1].losses)
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in finished[1].state_dict().items())
    different = toy.Toy(12, broken=(4,), seed=4)
    toy.fit(different)
    assert different.losses != first.losses


def test_judges_see_evaluation_mode_and_parts_get_their_modes_back(tmp_path):
    judge = Judge(1.0)
    module = toy.Toy(1)
    toy.fit(module, [Scores(judge, Interval(1, 1), table=tmp_path / "scores.csv")])
    assert judge.modes == [(False, False)]
    model = nn.Sequential(nn.BatchNorm2d(1).eval(), nn.Dropout())
    torch.manual_seed(1)
    with looking_at(model):
        assert not model[1].training
        torch.rand(3)
    assert [part.training for part in model.modules()] == [True, False, True]
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize(("values", "best"), [((math.nan, 0.1), 0.1), ((0.1, math.nan), 0.1), ((-2.0, -1.0), -1.0)])
def test_a_score_that_is_no_number_is_not_the_best(tmp_path, values, best):
    scores = Scores(Judge(*values), Interval(1, 2), table=tmp_path / "scores.csv", weights=tmp_path / "best.safetensors")
    module = toy.Toy(2)
    toy.fit(module, [scores])
    assert scores.best.value == best
    kept = load_file(tmp_path / "best.safetensors")
    assert torch.equal(kept["0.weight"], module.encoder.state_dict()["0.weight"]) == (scores.best.step == 2)


def test_the_bar_shows_loss_rate_and_what_remains():
    screen = io.StringIO()
    module = toy.Toy(3)
    toy.fit(module, [ProgressBar(3, console=Console(file=screen, width=120, force_terminal=True))])
    last = screen.getvalue()
    assert "3/3" in last
    assert f"loss {module.losses[-1]:.4g}" in last
    assert "samples/s" in last
    assert "\x1b[?25h" in last  # the cursor is shown again


def test_bar_and_panels_are_closed_after_an_error(tmp_path):
    screen = io.StringIO()
    bar = ProgressBar(30, console=Console(file=screen, force_terminal=True))
    panels = Panels(tmp_path, scalars=Interval(1, 30), pictures=Interval(30, 30))
    module = toy.Toy(30, broken=range(30))
    with pytest.raises(SettingError, match="last 20 steps"):
        toy.fit(module, [bar, panels])
    assert screen.getvalue().endswith("\x1b[?25h")
    assert bar._bar is None
    assert panels._writer is None


def test_without_batches_or_finite_features_there_are_pictures_that_say_so():
    module = toy.Toy(1)
    assert draw(module) == {}
    clips = torch.rand(1, 2, 3, 8, 8)
    strip = pca_strip(ClipBatch(frames=clips, clean=clips), lambda frames: frames * math.nan)
    assert strip.shape == (3, 16, 16)
    assert not strip.any()


def test_other_processes_write_nothing(tmp_path):
    class Trainer:
        is_global_zero = False
        saved = ()

        def save_checkpoint(self, path, *, weights_only):
            self.saved = (path.name, weights_only)

        strategy = SimpleNamespace(broadcast=lambda value: 0.7)

    module, trainer = toy.Toy(4), Trainer()
    module.steps_done, every = 4, Interval(2, 4)
    judge = Judge()
    scores = Scores(judge, every, table=tmp_path / "scores.csv", weights=tmp_path / "best.safetensors")
    checkpoints = Checkpoints(tmp_path, every, scores=scores)
    watching = [scores, MetricsCsv(tmp_path / "metrics.csv", every), TextLog(tmp_path / "log.txt", every), ProgressBar(4), checkpoints]
    for callback in [*watching, Panels(tmp_path, scalars=every, pictures=every)]:
        callback.on_train_start(trainer, module)
        callback.on_train_batch_end(trainer, module, None, None, 0)
        callback.on_train_end(trainer, module)
    assert list(tmp_path.iterdir()) == []
    assert scores.best.value == 0.7  # told by the first process
    assert trainer.saved == ("step-00000004.ckpt", False)


def test_lightning_keeps_its_advice_to_itself():
    quiet_lightning()
    assert not logging.getLogger("lightning.pytorch.utilities.rank_zero").isEnabledFor(logging.INFO)


def test_intervals_and_counts_are_checked(tmp_path):
    with pytest.raises(SettingError, match="1 or more"):
        Interval(0, 5)
    with pytest.raises(SettingError, match="keep = 0"):
        Checkpoints(tmp_path, Interval(1, 5), keep=0)
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_environment_names_processor_and_missing_packages(monkeypatch):
    assert processor_name(["flags : a"]) is None
    monkeypatch.setattr("followspot.training.environment._PACKAGES", ("no-such-package",))
    assert describe_environment()["no-such-package"] == "not installed"
    monkeypatch.setattr("followspot.training.environment._CPU_FILE", "/nowhere/cpuinfo")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**34))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Fast")
    found = describe_environment(torch.device("cuda", 0))
    assert found["device"].startswith("cuda:0 (Fast, 16 GiB, CUDA")
    assert found["cpu"].endswith(" threads")


def test_a_log_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(OutputError, match=r"a folder stands where the file should go while writing .*log.txt"):
        toy.fit(toy.Toy(1), [TextLog(tmp_path / "log.txt", Interval(1, 1))])
