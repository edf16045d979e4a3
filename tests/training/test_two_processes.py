"""Run as a script, this file is one of two processes that train together."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from followspot.ops.schedule import Schedule
from followspot.training.optimiser import OptimizerSettings

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

STEPS = 3


def trained(**settings):
    # Plain descent, as Adam divides by small numbers and so blows up differences of rounding.
    chosen = OptimizerSettings(name="sgd", lr=Schedule.constant(0.1), clip=0.5, freeze={"encoder.0": 0.3})
    module = toy.Toy(STEPS, settings=chosen, broken=(1,))
    toy.fit(module, **settings)
    return module


def found(module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    return {"state": state, "gradients": module.gradients, "losses": module.losses, "skipped": module.skipped}


def be_one_of_two(rank, folder):
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    module = trained(strategy=DDPStrategy(process_group_backend="gloo"), devices=2)
    assert "Synced" in repr(module.encoder)
    torch.save(found(module), Path(folder, f"{rank}.pt"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    environment = {**os.environ, **shared}
    running = [subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], env=environment) for rank in range(2)]
    assert [process.wait(timeout=150) for process in running] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_f094_two_processes_have_the_gradients_of_one_with_the_joined_batch(two):
    """With batch statistics, drawn noise, a frozen layer and a step that is not taken."""
    one = found(trained())
    assert one["skipped"] == two[0]["skipped"] == two[1]["skipped"] == 1
    assert torch.tensor(one["losses"]).isnan().tolist() == [False, True, False]
    for kind in ("gradients", "state"):
        assert one[kind].keys() == two[0][kind].keys()
        for name, value in one[kind].items():
            for rank in range(2):
                assert (two[rank][kind][name] - value).abs().max() <= 1e-6, name
    means = (torch.tensor(two[0]["losses"]) + torch.tensor(two[1]["losses"])) / 2
    assert torch.allclose(means, torch.tensor(one["losses"]), atol=1e-6, equal_nan=True)


if __name__ == "__main__":
    be_one_of_two(int(sys.argv[1]), sys.argv[2])
