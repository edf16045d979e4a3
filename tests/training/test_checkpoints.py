"""Run as a script, this file trains and is killed while it writes its second checkpoint."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from followspot.training.checkpoints import BEST, Checkpoints, last_checkpoint
from followspot.training.scores import Scores
from followspot.training.watched import Interval

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

STEPS = 12


def train(folder, *, keep=2, resume=None, scores=None):
    module = toy.Toy(STEPS)
    watching = [] if scores is None else [scores]
    toy.fit(module, [*watching, Checkpoints(folder, Interval(4, STEPS), keep=keep, scores=scores)], resume=resume)
    return module


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def be_killed(folder):
    save = pl.Trainer.save_checkpoint

    def save_half(trainer, path, **settings):
        save(trainer, path, **settings)
        if trainer.lightning_module.steps_done == 8:
            whole = Path(path).read_bytes()
            Path(path).write_bytes(whole[: len(whole) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    pl.Trainer.save_checkpoint = save_half
    train(folder)


def test_f092_a_kill_while_writing_leaves_the_checkpoint_before_and_resume_is_exact(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, __file__, str(tmp_path)], env=environment, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert names(tmp_path) == [".step-00000008.partial.ckpt", "step-00000004.ckpt"]
    last = last_checkpoint(tmp_path)
    assert last == tmp_path / "step-00000004.ckpt"
    resumed, whole = train(tmp_path, resume=last), toy.Toy(STEPS)
    toy.fit(whole)
    assert resumed.losses == whole.losses[4:]
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    assert names(tmp_path) == ["step-00000008.ckpt", "step-00000012.ckpt"]


@pytest.mark.parametrize(("keep", "kept"), [(1, [12]), (2, [8, 12]), (9, [4, 8, 12])])
def test_f092_the_newest_are_kept_and_the_last_is_found(tmp_path, keep, kept):
    train(tmp_path, keep=keep)
    assert names(tmp_path) == [f"step-{step:08d}.ckpt" for step in kept]
    (tmp_path / "step-99.ckpt.old").touch()
    (tmp_path / "step-last.ckpt").touch()
    assert last_checkpoint(tmp_path).name == "step-00000012.ckpt"


@pytest.mark.parametrize("links", [True, False])
def test_f092_the_best_is_kept_where_it_was_reached(tmp_path, links, monkeypatch):
    def refuse(source, target):
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    judged = iter([0.1, 0.4, 0.3, 0.2])
    scores = Scores(lambda encoder: next(judged), Interval(3, STEPS), table=tmp_path / "scores.csv")
    train(tmp_path / "kept", keep=1, scores=scores)
    assert names(tmp_path / "kept") == [BEST, "step-00000012.ckpt"]
    assert torch.load(tmp_path / "kept" / BEST, weights_only=True)["toy"]["steps_done"] == 6


if __name__ == "__main__":
    torch.set_num_threads(1)
    be_killed(Path(sys.argv[1]))
