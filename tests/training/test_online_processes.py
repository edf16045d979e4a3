"""F094 for online trackers: two gloo processes train as one does with the joined batch, one of them without a mask in its part."""

import pytest
import torch
from safetensors.torch import load_file

from followspot.datasets.pairs import PairSource
from followspot.datasets.targets import TargetStore
from followspot.jobs import train_online as job
from followspot.training.online import OnlineModule

CHANGES = (
    *(
        "steps=2",
        "batch_size=2",
        "precision=float32",
        "data.held_out=0.6",
        "judged=2",
        "data.epoch=8",
        "data.negatives=0.5",
        "loss.places=",
    ),
    *("network.after=", "optimizer={name: sgd, lr: 0.01, freeze: {network.backbone.layer1: 0.5}}"),
    *("loss.weights={score: 1, box: 1, mask: 1}", "log={every: 1, checkpoint_every: 1, score_every: 1, pictures_every: 100}"),
)
SEED = 0


def double(values):
    """All floats of a batch."""
    return {name: value.double() if torch.is_tensor(value) and value.is_floating_point() else value for name, value in vars(values).items()}


class InDouble(OnlineModule):
    """The module in float64: what then differs is not rounding, which a deep network makes a hundred times larger."""

    def configure_model(self):
        super().configure_model()
        self.double()

    def batch_of(self, raw):
        batch = super().batch_of(raw)
        targets = type(batch.targets)(**double(batch.targets))
        return type(batch)(**double(batch) | {"targets": targets})


def recipes():
    return {
        "refined": job.read_online_recipe("siammask-lite", changes=CHANGES),
        "stages": job.read_online_recipe(
            "s2iammask-lite", changes=(*CHANGES[:-4], *CHANGES[-2:], "optimizer={name: sgd, lr: 0.01}", "steps=1", "loss.enlarge=[0, 0]")
        ),
    }


def run_all(targets, out):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "OnlineModule", InDouble)
        job.train_online(recipes()["refined"], targets, out / "refined", device="cpu", progress=False)
        first = (*CHANGES[:-3], *CHANGES[-2:], "steps=1", "network.backbone=", "optimizer={name: sgd, lr: 0.01}")
        job.train_online(recipes()["stages"], targets, out / "stages", device="cpu", progress=False, first_changes=first)


def test_f094_two_processes_train_as_one(draw_targets, tmp_path, in_two_processes):
    """Refined masks leave a part of the network out of every step; then two stages, of which each process reads the first."""
    targets = draw_targets(tmp_path / "targets", videos=5)
    source = PairSource(TargetStore(targets), recipes()["refined"].data, seed=SEED)
    present = [source.draw(0, position)[0].present for position in range(4)]
    assert present[0] != present[1] or present[2] != present[3], "in some step only one process should have masks"
    answers = in_two_processes(__file__, "run_all", targets, tmp_path / "two")
    run_all(targets, tmp_path / "one")
    answers()
    for name in ("refined", "stages/first", "stages"):
        one, two = (load_file(tmp_path / count / name / "network.safetensors") for count in ("one", "two"))
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[key].double(), two[key].double(), rtol=1e-4, atol=1e-5) for key in one), name
