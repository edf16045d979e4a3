"""Options that several commands share. Torch is imported only when they are used."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from followspot.errors import SettingError

if TYPE_CHECKING:
    from followspot.tracking.presets import Preset
    from followspot.tracking.propagation import PropagationTracker

CellCount = Annotated[int | Literal["all"], Parameter(converter=lambda _, tokens: _cells(tokens[0].value))]
_ENCODER = Group("Encoder: what the tracker sees with", sort_key=2)
_PROPAGATION = Group("Propagation: a preset, and values that differ from it", sort_key=3)


@Parameter(name="*", group=_ENCODER)
@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """What the tracker sees with."""

    encoder: str | None = None
    """descriptor (the default, no learning), followspot (learnt, shipped), a network such as resnet18, or timm:NAME (extra "backbones");
    random:NAME is untrained. Without it, --weights says which network it is for."""
    weights: Path | None = None
    """Weights file of the encoder (.safetensors, .pth)."""
    stride: int | None = None
    """Pixels a feature cell, where the encoder offers a choice (4 or 8)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""


@Parameter(name="*", group=_PROPAGATION)
@dataclass(frozen=True, kw_only=True)
class PropagationOptions:
    """How labels are carried; None keeps the preset's value."""

    preset: str = "default"
    """default, colorization, corrflow, timecycle, uvc or crw; or a .yaml file, such as the best.yaml of followspot tune."""
    context_frames: int | None = None
    """How many of the last frames are remembered besides the annotated ones."""
    top_k: CellCount | None = None
    """Matches kept a cell, or all."""
    temperature: float | None = None
    """Softmax temperature; smaller trusts the best match more."""
    radius: CellCount | None = None
    """How far, in cells, something may move between remembered frames; or all."""
    radius_first: CellCount | None = None
    """The same for annotated frames."""
    window: Literal["square", "circle"] | None = None
    """Shape of the search window."""
    normalize: bool | None = None
    """Compare directions of features (cosine), or raw products."""
    joint: bool | None = None
    """One softmax over all remembered frames, or one a frame."""
    renormalize: bool | None = None
    """Top-k before the softmax (weights sum to 1), or after."""
    keep_references: bool | None = None
    """Remember annotated frames for good."""
    recursion: Literal["soft", "hard"] | None = None
    """Remember soft label maps, or decoded answers."""
    class_normalize: bool | None = None
    """Min-max normalise each mask over the frame."""
    resolution: str | None = None
    """Size at which frames are seen: short side in pixels (480), square:320, or native."""


def build_preset(options: PropagationOptions) -> "Preset":
    """The preset with what the user changed.

    Raises:
        SettingError: a value is outside its range.
    """
    from followspot.tracking.preset_file import change_preset, choose_preset

    given = {name: value for name, value in asdict(options).items() if name != "preset" and value is not None}
    return change_preset(choose_preset(options.preset), given)


def build_tracker(encoder: EncoderOptions, propagation: PropagationOptions, *, confidence: bool) -> "PropagationTracker":
    """The tracker that the options describe.

    Raises:
        EncoderError: unknown encoder or unusable weights.
        SettingError: a value is outside its range.
    """
    from followspot.models.encoder import load_encoder
    from followspot.tracking.propagation import PropagationTracker

    preset = build_preset(propagation)
    network = load_encoder(encoder.encoder, stride=encoder.stride, weights=encoder.weights)
    return PropagationTracker(network, preset, confidence=confidence, device=usable_device(encoder.device))


def usable_device(name: str) -> str:
    """The same name, if something can be computed there.

    Raises:
        SettingError: there is no such device, or it does not work.
    """
    import torch

    if name == "auto":
        return name
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise SettingError(f'device "{name}" cannot be used here ({reason}); use auto, cpu, or cuda where there is a GPU') from error
    return name


def _cells(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if text.isdecimal():
        return int(text)
    raise SettingError(f'"{text}" is not a number of cells; write a whole number such as 12, or all')


Out = Annotated[Path, Parameter(help="Output folder.")]
