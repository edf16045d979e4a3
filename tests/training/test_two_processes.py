"""Two processes that train together, on a toy."""

import importlib.util
from pathlib import Path

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


def be_one_of_two():
    module = trained(strategy=DDPStrategy(process_group_backend="gloo"), devices=2)
    assert "Synced" in repr(module.encoder)
    return found(module)


def test_f094_two_processes_have_the_gradients_of_one_with_the_joined_batch(in_two_processes):
    """With batch statistics, drawn noise, a frozen layer and a step that is not taken."""
    answers = in_two_processes(__file__, "be_one_of_two")
    one, two = found(trained()), answers()
    assert one["skipped"] == two[0]["skipped"] == two[1]["skipped"] == 1
    assert torch.tensor(one["losses"]).isnan().tolist() == [False, True, False]
    for kind in ("gradients", "state"):
        assert one[kind].keys() == two[0][kind].keys()
        for name, value in one[kind].items():
            for rank in range(2):
                assert (two[rank][kind][name] - value).abs().max() <= 1e-6, name
    means = (torch.tensor(two[0]["losses"]) + torch.tensor(two[1]["losses"])) / 2
    assert torch.allclose(means, torch.tensor(one["losses"]), atol=1e-6, equal_nan=True)
