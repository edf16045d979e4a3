"""How an online tracker is trained on pairs: :class:`followspot.training.steps.StepModule` with pairs for batches."""

from torch import nn

from followspot.datasets.pair_loader import RawPairs
from followspot.models.online_networks import build_online_network
from followspot.objectives.siamese import AnchorTargets
from followspot.objectives.siamese_pairs import PairBatch, SiamesePairs
from followspot.training.online_recipe import OnlineRecipe
from followspot.training.steps import MakeLoader, StepModule


class OnlineModule(StepModule):
    """Network and losses of a recipe, and how they step.

    Args:
        recipe: what to train.
        make_loader: called when the processes and the device are known.
    """

    def __init__(self, recipe: OnlineRecipe, make_loader: MakeLoader) -> None:
        def build() -> tuple[nn.Module, nn.Module]:
            return build_online_network(recipe.network.name), SiamesePairs(recipe.loss)

        # Of base masks, which are a part of the others too, only networks of base masks are trained in every part.
        partial = not recipe.network.name.endswith(("-base", "-box"))
        super().__init__(recipe, make_loader, build=build, called="network", partial=partial)

    def batch_of(self, raw: RawPairs) -> PairBatch:
        """Pairs on the device, colours in 0..1."""
        device = self.device
        template, search = (values.to(device, non_blocking=True).float() / 255 for values in (raw.template, raw.search))
        labels, deltas, weights = (values.to(device, non_blocking=True) for values in (raw.labels, raw.deltas, raw.weights))
        return PairBatch(
            template=template,
            search=search,
            masks=raw.masks.to(device, non_blocking=True),
            has_mask=raw.has_mask.to(device, non_blocking=True),
            targets=AnchorTargets(labels=labels, deltas=deltas, weights=weights),
            total=len(template) * self.trainer.world_size,
        )
