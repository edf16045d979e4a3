"""Two objects of the same colour: how often are they taken for each other?

Two discs meet and part (`followspot.datasets.twins`). After that, each pixel that is said to be the first disc lies on the first one, on
the second one, or on neither. Where most of an object lies on the other disc, it has been switched.

Varied are the reach of attention (the radius, in cells, in which matches are looked for), what the encoder is shown (RGB, lightness alone,
or RGB with colour channels dropped as CorrFlow does in training), and how many frames are remembered besides the first one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from followspot.datasets.twins import Look, Meeting, TwinVideo
from followspot.errors import SettingError
from followspot.io.files import write_atomic
from followspot.jobs.tables import Table
from followspot.metrics.region import region_similarity
from followspot.models.encoder import Encoder
from followspot.models.gray import lightness
from followspot.ops.channel_dropout import drop_channels
from followspot.tracking.presets import PRESETS, Preset
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame, Masks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shown = Literal["rgb", "lightness", "dropout"]
"""What the encoder is shown: the frames, their L as grey, or the frames with one or two channels of Lab missing."""
Progress = Callable[[int, int], None]

RADII: tuple[int | None, ...] = (None, 24, 12, 6, 3)
"""In cells; None looks everywhere. 12 is usual, 6 is CorrFlow's, 3 is one disc."""


@dataclass(frozen=True, kw_only=True)
class SameColourSettings:
    """What is varied, and on how many clips.

    Raises:
        SettingError: nothing is left of a list, or there is no clip.
    """

    radii: tuple[int | None, ...] = RADII
    shown: tuple[Shown, ...] = get_args(Shown)
    contexts: tuple[int, ...] = (1, 8)
    """Frames remembered besides the first one; 8 is the default preset's, 1 is CorrFlow's."""
    looks: tuple[Look, ...] = get_args(Look)
    clips: int = 2
    """Of each way to meet."""
    num_frames: int = 24
    height: int = 192
    width: int = 256
    preset: Preset = PRESETS["default"]
    """All that is not varied; frames are seen at the size they have."""

    def __post_init__(self) -> None:
        for name in ("radii", "shown", "contexts", "looks"):
            if not getattr(self, name):
                raise SettingError(f"{name} is empty; name at least one")
        if self.clips < 1:
            raise SettingError(f"clips is {self.clips}, expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Switching:
    """What became of one setting, over all clips."""

    look: Look
    shown: Shown
    context: int
    radius: int | None
    rates: dict[Meeting, float]
    """Share of objects and frames after the meeting in which an object has been switched, by the way of meeting."""
    j: float
    """Region similarity over all frames but the first."""


def same_colour(
    out: Path, encoder: Encoder, settings: SameColourSettings, *, device: str = "auto", progress: Progress = lambda done, total: None
) -> Table:
    """Runs all settings; writes ``same-colour.md``, ``.csv`` and ``.png``.

    Args:
        out: folder for them.
        encoder: what the tracker sees with.
        settings: what is varied.
        device: where to track.
        progress: told how many clips are done, counted anew for each setting.

    Raises:
        OutputError: a file cannot be written.
    """
    found = list(_run(encoder, settings, device=device, progress=progress))
    rows = tuple(
        (it.look, it.shown, it.context, "none" if it.radius is None else it.radius, *(it.rates[way] for way in get_args(Meeting)), it.j)
        for it in found
    )
    table = Table(
        title=f"Identity switches after two discs met, {encoder.name}, {_count(settings)} clips a setting.",
        columns=("discs", "shown", "context", "radius", *(f"switched, {way}" for way in get_args(Meeting)), "J"),
        rows=rows,
        notes=(
            "switched: share of frames after the meeting in which most of an object lies on the other disc",
            "discs: same, copies of each other; hue, of one lightness and pattern but opposite hue",
            "radius: cells in which matches are looked for, in the first frame too; context: frames remembered besides the first one",
        ),
    )
    table.save(out, "same-colour")
    write_atomic(out / "same-colour.png", _figure(found, settings))
    return table


def switched(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of two objects lie mostly on the other one.

    Args:
        truth: id map ``(H, W)`` with ids 1 and 2.
        predicted: likewise.

    Returns:
        ``(2,)``; False for an object that is lost.

    >>> switched(np.array([[1, 2]], np.uint8), np.array([[2, 2]], np.uint8)).tolist()
    [False, False]
    """
    shared = np.array([[np.count_nonzero((predicted == said) & (truth == true)) for true in (1, 2)] for said in (1, 2)])
    return np.array([shared[0, 1] > shared[0, 0], shared[1, 0] > shared[1, 1]])


class _Remembering(PropagationTracker):
    """Encodes each frame of a clip once for all settings."""

    def __init__(self, encoder: Encoder, preset: Preset, known: dict[int, Tensor], *, device: str) -> None:
        super().__init__(encoder, preset, confidence=False, device=device)
        self._known = known

    def encode(self, frame: Frame) -> Tensor:
        if frame.index not in self._known:
            self._known[frame.index] = super().encode(frame)
        return self._known[frame.index]


def _run(encoder: Encoder, settings: SameColourSettings, *, device: str, progress: Progress) -> Iterator[Switching]:
    reaches = list(product(settings.contexts, settings.radii))
    total, done = len(settings.looks) * len(settings.shown) * _count(settings), 0
    for look, shown in product(settings.looks, settings.shown):
        rates: dict[tuple[int, int | None], dict[Meeting, list[float]]] = {
            reach: {way: [] for way in get_args(Meeting)} for reach in reaches
        }
        similar: dict[tuple[int, int | None], list[float]] = {reach: [] for reach in reaches}
        for way, seed in product(get_args(Meeting), range(settings.clips)):
            video = TwinVideo(seed, look=look, meeting=way, num_frames=settings.num_frames, height=settings.height, width=settings.width)
            frames = [replace(frame, image=_view(frame.image, shown, seed=seed)) for frame in video]
            known: dict[int, Tensor] = {}
            for reach in reaches:
                tracker = _Remembering(encoder, _preset(settings, reach), known, device=device)
                rate, j = _follow(video, frames, tracker)
                rates[reach][way].append(rate)
                similar[reach].append(j)
            done += 1
            progress(done, total)
        for context, radius in reaches:
            own = {way: float(np.mean(values)) for way, values in rates[context, radius].items()}
            yield Switching(look=look, shown=shown, context=context, radius=radius, rates=own, j=float(np.mean(similar[context, radius])))


def _preset(settings: SameColourSettings, reach: tuple[int, int | None]) -> Preset:
    context, radius = reach
    affinity = replace(settings.preset.affinity, radius=radius, radius_first=radius)
    resolution = replace(settings.preset.resolution, mode="native")
    return replace(settings.preset, affinity=affinity, context_frames=context, resolution=resolution)


def _follow(video: TwinVideo, frames: Sequence[Frame], tracker: PropagationTracker) -> tuple[float, float]:
    """The share of switched objects after the meeting, and J over the whole clip."""
    given = [Masks(ids=video.masks(0), names={1: video.names[0], 2: video.names[1]})]
    wrong, similar = [], []
    for answer in tracker.stream(frames, {0: given}):
        if answer.index == 0 or answer.masks is None:
            continue
        truth = video.masks(answer.index)
        similar += [float(region_similarity(answer.masks == number, truth == number)) for number in (1, 2)]
        if video.is_parted(answer.index):
            wrong += switched(truth, answer.masks).tolist()
    return float(np.mean(wrong)), float(np.mean(similar))


def _view(image: NDArray[np.uint8], shown: Shown, *, seed: int) -> NDArray[np.uint8]:
    """A frame as the encoder is shown it; which channels are dropped depends on the clip alone."""
    if shown == "rgb":
        return image
    rgb = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    if shown == "lightness":
        changed = lightness(rgb).expand(1, 3, *image.shape[:2])
    else:
        draws = torch.from_numpy(np.random.default_rng([seed, 23]).random((1, 3))).float()
        changed = drop_channels(rgb[None], draws, keep=0.0, space="lab")[0].clamp(0, 1)
    return np.ascontiguousarray((changed[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _figure(found: Sequence[Switching], settings: SameColourSettings) -> bytes:
    from followspot.viz.figures import colour_of_method, draw_figure

    ticks = ["none" if radius is None else str(radius) for radius in settings.radii]

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(settings.looks), sharey=True, squeeze=False)[0]
        for axes, look in zip(panels, settings.looks, strict=True):
            for (order, shown), context in product(enumerate(settings.shown), settings.contexts):
                line = [np.mean(list(it.rates.values())) for it in found if (it.look, it.shown, it.context) == (look, shown, context)]
                style = "solid" if context == max(settings.contexts) else "dashed"
                label = f"{shown}, {context} remembered"
                # Smaller on top, so that lines that coincide are all seen.
                axes.plot(
                    ticks, line, "o", markersize=9 - 2.5 * order, color=colour_of_method(order), linestyle=style, label=label, clip_on=False
                )
            axes.set_title("copies of each other" if look == "same" else "opposite hues")
            axes.set_xlabel("radius of attention, cells")
            axes.set_ylim(-0.03, 1.03)
        panels[0].set_ylabel("identity switched")
        panels[-1].legend(fontsize=7.5)

    return draw_figure(paint, name="same-colour").png


def _count(settings: SameColourSettings) -> int:
    return settings.clips * len(get_args(Meeting))
