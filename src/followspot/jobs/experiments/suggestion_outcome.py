"""What one more annotation came to: a table by choice, one by video, a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from followspot.jobs.tables import Table
from followspot.metrics.over_time import Band, bootstrap_band

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOICES = ("suggested", "middle", "random", "last", "worst")
"""Which frame is annotated; ``"random"`` is a mean over several, ``"worst"`` needs the truth."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one more annotation came to in one video."""

    sequence: str
    asked: bool
    """Whether anything is suggested at all; if not, ``"suggested"`` is the frame that would be next."""
    before: tuple[float, ...]
    """J of each frame, first annotation only; mean over objects."""
    frames: Mapping[str, tuple[int, ...]]
    """Which are annotated, by choice."""
    after: Mapping[int, tuple[float, ...]]
    """J of each frame, by the frame that is annotated too."""

    def raised(self, choice: str) -> float:
        """By how much J rises, on average over the frames that are annotated in neither run.

        Args:
            choice: one of `CHOICES`.
        """
        return float(np.mean([self._raised_by(frame) for frame in self.frames[choice]]))

    def _raised_by(self, frame: int) -> float:
        rise = np.subtract(self.after[frame], self.before)
        return float(np.delete(rise, [0, frame]).mean())


def summarize(outcomes: Sequence[Outcome], *, title: str) -> Table:
    """What each choice is worth, over all videos.

    Args:
        outcomes: one a video.
        title: of the table.
    """
    gains = _gains(outcomes)
    band, apart = bootstrap_band(gains), bootstrap_band(gains[:, :1] - gains)
    before = float(np.mean([np.mean(outcome.before[1:]) for outcome in outcomes]))
    better = (gains[:, :1] > gains).sum(0)
    rows = tuple(
        (
            choice,
            *(float(values[column]) for values in (band.mean, band.low, band.high)),
            *((None,) * 4 if choice == "suggested" else (*_interval(apart, column), int(better[column]))),
        )
        for column, choice in enumerate(CHOICES)
    )
    return Table(
        title=title,
        columns=("annotated too", "J rises by", "from", "to", "suggested better by", "better from", "better to", "better in"),
        rows=rows,
        notes=(
            f"{len(outcomes)} videos, J before {before:.3f}; in {sum(outcome.asked for outcome in outcomes)} of them a frame is suggested",
            "J rises by: mean over videos of the mean over frames that are annotated in neither run",
            "from, to: 95 % bootstrap intervals, videos drawn 1000 times with seed 0; better in: number of videos",
            "random: mean over the frames drawn; worst: the frame with the lowest J, which only the truth knows",
        ),
    )


def by_sequence(outcomes: Sequence[Outcome]) -> Table:
    """The same, video by video.

    Args:
        outcomes: one a video.
    """
    rows = tuple(
        (
            outcome.sequence,
            len(outcome.before),
            float(np.mean(outcome.before[1:])),
            "yes" if outcome.asked else "no",
            *(outcome.frames[choice][0] for choice in ("suggested", "worst")),
            *map(float, gains),
        )
        for outcome, gains in zip(outcomes, _gains(outcomes), strict=True)
    )
    return Table(
        title="By how much J rises on frames that are annotated in neither run.",
        columns=("sequence", "frames", "J before", "asked", "suggested frame", "worst frame", *CHOICES),
        rows=rows,
    )


def draw(outcomes: Sequence[Outcome]) -> bytes:
    """A PNG: what each choice is worth, and the suggested frame against random ones, video by video.

    Args:
        outcomes: one a video.
    """
    from followspot.viz.figures import colour_of_method, draw_figure, grid_lines

    gains = _gains(outcomes)
    band = bootstrap_band(gains)

    def paint(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        place = np.arange(len(CHOICES))
        reach = np.nan_to_num(np.abs(np.stack([band.mean - band.low, band.high - band.mean])))
        left.bar(place, band.mean, 0.7, yerr=reach, capsize=3, color=[colour_of_method(index) for index in range(len(CHOICES))])
        left.set_xticks(place, CHOICES)
        left.set_ylabel("J rises by")
        right.axline((0, 0), slope=1, color="#8b949e", linewidth=1, linestyle=(0, (4, 3)))
        right.scatter(gains[:, CHOICES.index("random")], gains[:, 0], color=colour_of_method(0), s=34, linewidth=0)
        right.set(xlabel="random frame", ylabel="suggested frame", aspect="equal", adjustable="datalim")
        grid_lines(left)
        grid_lines(right, axis="both")

    return draw_figure(paint, name="suggestion").png


def _gains(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    return np.array([[outcome.raised(choice) for choice in CHOICES] for outcome in outcomes])


def _interval(band: Band, column: int) -> tuple[float, float, float]:
    return float(band.mean[column]), float(band.low[column]), float(band.high[column])
