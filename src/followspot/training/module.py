"""How an encoder is trained on clips: :class:`followspot.training.steps.StepModule` with clips for batches."""

from typing import cast

from torch import nn

from followspot.datasets.jitter import jitter_colors
from followspot.datasets.loader import RawBatch
from followspot.objectives.base import ClipBatch
from followspot.training.recipe import Recipe
from followspot.training.steps import Loader, MakeLoader, StepModule, step_seed

__all__ = ["Loader", "MakeLoader", "TrainingModule", "step_seed"]


class TrainingModule(StepModule):
    """Encoder and objective of a recipe, and how they step.

    Args:
        recipe: what to train.
        make_loader: called when the processes and the device are known.
        compiled: see :class:`StepModule`.
    """

    def __init__(self, recipe: Recipe, make_loader: MakeLoader, *, compiled: bool = False) -> None:
        self.recipe = recipe

        def build() -> tuple[nn.Module, nn.Module]:
            encoder = recipe.build_encoder()
            return cast(nn.Module, encoder), recipe.build_objective(dim=encoder.dim)

        super().__init__(recipe, make_loader, build=build, called="encoder", compiled=compiled)

    def batch_of(self, raw: RawBatch) -> ClipBatch:
        """Clips on the device, with the recipe's jitter."""
        clean = raw.frames.to(self.device, non_blocking=True).float() / 255
        rank, world = self.global_rank, self.trainer.world_size
        first, total = rank * len(clean), world * len(clean)
        jitter = self.recipe.data.jitter
        frames = clean if jitter is None else jitter_colors(clean, jitter, seed=self.recipe.seed, step=self.steps_done, first_row=first)
        return ClipBatch(frames=frames, clean=clean, first=first, total=total)
