"""Several objectives that train one encoder together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch, Objective, ObjectiveOutput


class Mixture(Objective):
    """A weighted sum of objectives on the same clips.

    Each sees the first of the clip's frames, as many as it takes. Each encodes for itself. Names in logs and pictures start with the
    objective's own.

    Args:
        objectives: at least one.
        weights: one each, at least 0.

    Raises:
        SettingError: none at all, another number of weights, or a negative weight.
    """

    def __init__(self, objectives: Sequence[Objective], weights: Sequence[float]) -> None:
        if not objectives or len(objectives) != len(weights):
            raise SettingError(f"{len(objectives)} objectives with {len(weights)} weights: expected one weight for each of one or more")
        if any(not 0 <= weight < float("inf") for weight in weights):
            raise SettingError(f"weights = {list(weights)}: expected 0 or more each; 0 leaves an objective out")
        super().__init__(num_frames=max(objective.num_frames for objective in objectives))
        self.objectives = nn.ModuleList(objectives)
        self.weights = tuple(weights)
        self.names = _names(objectives)

    def forward(self, clips: ClipBatch, encoder: nn.Module) -> ObjectiveOutput:
        """The weighted sum of losses, of losses a clip, and everybody's logs."""
        outputs = [objective(self._part(clips, objective), encoder) for objective in self.objectives]
        logs: dict[str, Tensor] = {}
        for name, output in zip(self.names, outputs, strict=True):
            logs[f"{name}/loss"] = output.loss.detach()
            logs |= {f"{name}/{key}": value for key, value in output.logs.items()}
        weighted = list(zip(self.weights, outputs, strict=True))
        return ObjectiveOutput(
            loss=torch.stack([weight * output.loss for weight, output in weighted]).sum(),
            per_sample=torch.stack([weight * output.per_sample for weight, output in weighted]).sum(0),
            logs=logs,
        )

    def advance(self, step: int, total_steps: int) -> None:
        """Tell all of them."""
        for objective in self._members():
            objective.advance(step, total_steps)

    def pictures(self, clips: ClipBatch, encoder: nn.Module) -> Mapping[str, Tensor]:
        """Everybody's pictures."""
        return {
            f"{name}/{key}": picture
            for name, objective in zip(self.names, self._members(), strict=True)
            for key, picture in objective.pictures(self._part(clips, objective), encoder).items()
        }

    def _members(self) -> list[Objective]:
        return [objective for objective in self.objectives if isinstance(objective, Objective)]

    def _part(self, clips: ClipBatch, objective: nn.Module) -> ClipBatch:
        assert isinstance(objective, Objective)
        count = objective.num_frames
        return replace(clips, frames=clips.frames[:, :count], clean=clips.clean[:, :count])


def _names(objectives: Sequence[Objective]) -> tuple[str, ...]:
    """``DenseContrast`` is ``dense_contrast``; a second of the kind is ``dense_contrast_2``."""
    names: list[str] = []
    for objective in objectives:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(objective).__name__).lower()
        earlier = sum(re.sub(r"_\d+$", "", other) == name for other in names)
        names.append(name if not earlier else f"{name}_{earlier + 1}")
    return tuple(names)
