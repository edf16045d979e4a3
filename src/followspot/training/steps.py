"""One training step, as Lightning runs it: a batch in, loss, gradients, guarded step; and what a checkpoint must hold.

Step n is a function of the recipe, n and the weights: its batch comes from the loader's step n, and torch's random state is seeded from
(seed, n) before it. So a run that was killed continues with the same numbers, whatever else drew random numbers in between.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from followspot.errors import SettingError
from followspot.models.layers import advance_renorm
from followspot.models.sync_norm import synchronize_batch_norm
from followspot.ops.collective import collect_states
from followspot.training.optimiser import GuardedStep, apply_schedule, build_optimizer, hold_statistics
from followspot.training.run_settings import RunSettings
from followspot.training.watched import Shown


class Loader(Protocol):
    """What batches come from: :class:`followspot.datasets.loader.ClipLoader`, replay around it, or a loader of pairs."""

    def __iter__(self) -> Iterator[Any]:
        """Batches for ever, from where the state says."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go there."""
        ...


MakeLoader = Callable[[int, int, torch.device], Loader]
"""Builds the loader of a process: its rank, how many there are, and its device."""


class StepModule(pl.LightningModule):
    """A network and an objective, and how they step; what a batch is, its subclasses know.

    Args:
        recipe: how to step.
        make_loader: called when the processes and the device are known.
        build: makes network and objective; torch's random state is that of the recipe's seed meanwhile.
        called: what the settings of the optimiser call the network.
        partial: some steps leave parts of the network out, or some parts are in no step.
        compiled: compile the network; not worth it for ResNet-18 on an H200 (36 against 30 ms a step).
    """

    def __init__(
        self,
        recipe: RunSettings,
        make_loader: MakeLoader,
        *,
        build: Callable[[], tuple[nn.Module, nn.Module]],
        called: str,
        partial: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.partial = partial
        self.automatic_optimization = False
        self.run_settings = recipe
        self.recipe_text = recipe.to_yaml()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.encoder, self.objective = build()
        averaging = None if recipe.average is None else get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
        self.average = None if averaging is None else AveragedModel(self.encoder, multi_avg_fn=averaging, use_buffers=True)
        if self.average is not None:
            self.average.requires_grad_(False)
        self.guard = GuardedStep()
        self.trained_on = torch.device("cpu")
        """The device of the last training; afterwards the module is on the CPU again."""
        self.steps_done = 0
        self.step_logs: dict[str, float] = {}
        self.last_batch: Shown | None = None
        self._make_loader = make_loader
        self._loader: Loader | None = None
        self._loader_states: list[dict[str, Any]] | None = None
        self._with_replay: distributed.ProcessGroup | None = None
        self._waiting: list[float] = []
        # In tuples, so that these views are not registered as second copies of the weights.
        self._shown = (cast(nn.Module, torch.compile(self.encoder)) if compiled else self.encoder,)
        self._trained = (nn.ModuleDict({called: self.encoder, "objective": self.objective}),)

    def batch_of(self, raw: Any) -> Shown:  # noqa: ANN401 -- whatever the loader makes
        """What the loader made, on the device, as the objective takes it."""
        raise NotImplementedError

    @property
    def trained_encoder(self) -> nn.Module:
        """The encoder to save and score: the averaged one where the recipe averages."""
        return self.encoder if self.average is None else self.average.module

    @property
    def skipped(self) -> int:
        """Steps left out because something was not finite."""
        return self.guard.skipped

    def replay_priorities(self) -> Tensor | None:
        """Priorities of the clips in replay; None without replay."""
        buffer = getattr(self._loader, "buffer", None)
        return None if buffer is None else torch.as_tensor(buffer.priorities)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the recipe over encoder and objective."""
        return build_optimizer(self._trained[0], self.run_settings.optimizer)

    def configure_model(self) -> None:
        """Make batch statistics those of the whole batch when several processes train."""
        if self.trainer.world_size > 1:
            synchronize_batch_norm(self)

    def on_fit_start(self) -> None:
        """Build the loader of this process and go to where the checkpoint was."""
        self.trained_on = self.device
        self._loader = self._make_loader(self.global_rank, self.trainer.world_size, self.device)
        if self._loader_states is not None:
            self._loader.load_state_dict(self._own_state(self._loader_states))
        if self.run_settings.replays and self.trainer.world_size > 1:
            # Clips in replay are on the CPU in checkpoints, where the backend of GPUs cannot send them.
            self._with_replay = cast(distributed.ProcessGroup, distributed.new_group(backend="gloo"))
        self._batches = iter(self._loader)
        if self.device.type == "cuda":
            self.to(memory_format=torch.channels_last)

    def training_step(self, _: object, __: int) -> None:
        """One step; what Lightning passes is only a count."""
        step, recipe = self.steps_done, self.run_settings
        start = time.perf_counter()
        raw = next(self._batches)
        self._waiting.append(time.perf_counter() - start)
        torch.manual_seed(step_seed(recipe.seed, step))
        cast(Any, self.objective).advance(step, recipe.steps)
        advance_renorm(self.encoder, step=step, total_steps=recipe.steps)
        batch = self.batch_of(raw)
        optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
        settings, trained = recipe.optimizer, self._trained[0]
        apply_schedule(optimizer, settings, step=step, total_steps=recipe.steps)
        hold_statistics(trained, settings, step=step, total_steps=recipe.steps)
        self.guard.remember(trained)
        output = self.objective(batch, self._shown[0])
        taken = self.guard.step(optimizer, output.loss, clip=settings.clip, skip_above=settings.skip_above, backward=self.manual_backward)
        if taken and self.average is not None:
            self.average.update_parameters(self.encoder)
        if raw.slots is not None:
            cast(Any, self._loader).update(raw.slots, output.per_sample.float().cpu())
        self.steps_done = step + 1
        self.last_batch = batch
        if self.steps_done % recipe.log.every == 0 or self.steps_done == recipe.steps:
            self._write_down(output.loss.detach(), output.logs, optimizer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add where we are."""
        assert self._loader is not None
        checkpoint["followspot"] = {
            "steps_done": self.steps_done,
            "recipe": self.recipe_text,
            "guard": self.guard.state_dict(),
            # Without replay all processes are at the same place; with it each has clips of its own.
            "loaders": collect_states(self._loader.state_dict(), self._with_replay),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go to where it was written."""
        ours = checkpoint["followspot"]
        self.steps_done = ours["steps_done"]
        self.guard.load_state_dict(ours["guard"])
        self._loader_states = ours["loaders"]

    def _own_state(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        world = self.trainer.world_size
        if not self.run_settings.replays:
            return states[0]
        if len(states) != world:
            raise SettingError(f"the run had {len(states)} processes, each with replay of its own, not {world}; resume with as many")
        return states[self.global_rank]

    def _write_down(self, loss: Tensor, logs: Any, optimizer: torch.optim.Optimizer) -> None:  # noqa: ANN401
        values = {"loss": float(loss), **{name: float(value) for name, value in logs.items()}}
        values |= {"lr": float(optimizer.param_groups[0]["lr"]), "skipped": float(self.skipped)}
        self.step_logs = {**values, "waiting": sum(self._waiting) / len(self._waiting)}
        self._waiting.clear()


def step_seed(seed: int, step: int) -> int:
    """The seed of a step, far from those of its neighbours.

    >>> step_seed(0, 1) != step_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))
