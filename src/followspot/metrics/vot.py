"""Accuracy, robustness and expected average overlap of runs that are reset after a failure.

Kristan et al., "The Visual Object Tracking VOT2015 challenge results" (ICCV Workshops 2015), section 2, defines them. The two tools in use
differ in how they average; both ways are here under their names, as observed on vot-toolkit 0.7.4 and documented for pysot (docs/vot.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError

Convention = Literal["toolkit", "pysot"]
"""How sequences are put together.

toolkit: accuracy and the number of failures are those of each sequence, averaged with the lengths of the sequences as weights.
pysot: accuracy is the mean over all frames; robustness is the number of failures in a hundred frames."""

BURN_IN = 10
"""Frames from a start on whose overlap is not counted in the accuracy: the tracker was just told (VOT2015, section 2)."""

SKIP = 5
"""Frames from a failure to the next start (VOT2015, section 2)."""

INTERVALS = {"2016": (108, 371), "2018": (100, 356), "2019": (46, 291)}
"""Typical lengths of sequences of each year, first and last, over which the expected overlap is averaged (the toolkit's stacks)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a tracker over a sequence of T frames."""

    overlaps: NDArray[np.float64] = field(repr=False)
    """``(T,)`` in [0, 1]; NaN where there is no answer (starts, failures, skipped frames) or no truth."""
    starts: tuple[int, ...]
    """Frames, from 0, in which the tracker was started."""
    failures: tuple[int, ...]
    """Frames in which it lost the object."""

    def __post_init__(self) -> None:
        if not self.starts or len(self.starts) - len(self.failures) not in (0, 1):
            raise AnnotationError(f"a run with starts {self.starts} and failures {self.failures} cannot be: each failure ends one start")
        ordered = [frame for pair in zip(self.starts, (*self.failures, len(self)), strict=False) for frame in pair]
        if sorted(set(ordered)) != ordered:
            raise AnnotationError(f"a run with starts {self.starts} and failures {self.failures} cannot be: they must take turns")

    def __len__(self) -> int:
        return len(self.overlaps)


Runs = Sequence[Sequence[Run]]
"""All sequences; of each, the runs over it (one, for a tracker without chance)."""


def counted(run: Run, *, burn_in: int = BURN_IN) -> NDArray[np.float64]:
    """The overlaps that make the accuracy: ``(T,)``, NaN in frames that do not count."""
    values = run.overlaps.copy()
    for start in run.starts:
        values[start : start + burn_in] = np.nan
    return values


def accuracy(runs: Runs, *, convention: Convention, burn_in: int = BURN_IN) -> float:
    """Mean overlap while the object is followed.

    Args:
        runs: of all sequences.
        convention: how sequences are averaged. A sequence without any counted frame has accuracy 0 in ``"toolkit"``, and is not there
            in ``"pysot"``.
        burn_in: frames from each start on that do not count.

    Returns:
        In [0, 1]; NaN for ``"pysot"`` if no frame counts.
    """
    if convention == "pysot":
        return _mean(np.concatenate([counted(run, burn_in=burn_in) for repeated in runs for run in repeated]))
    means = [np.mean([np.nan_to_num(_mean(counted(run, burn_in=burn_in))) for run in repeated]) for repeated in runs]
    return float(np.average(means, weights=_lengths(runs)))


def robustness(runs: Runs, *, convention: Convention) -> float:
    """How often the object is lost; less is better.

    Args:
        runs: of all sequences; of several runs over one, the mean counts.
        convention: ``"toolkit"``: failures in a sequence; ``"pysot"``: failures in a hundred frames.
    """
    failures = [np.mean([len(run.failures) for run in repeated]) for repeated in runs]
    if convention == "pysot":
        return float(100 * np.sum(failures) / np.sum(_lengths(runs)))
    return float(np.average(failures, weights=_lengths(runs)))


def expected_overlap(runs: Runs, *, convention: Convention) -> NDArray[np.float64]:
    """The overlap to expect on a sequence of each length, without resets.

    Runs are cut into pieces that begin with a start. A piece that ends with a failure says something about all lengths, as the overlap
    would have stayed 0; one that ends with its sequence says nothing about longer ones. Entry i is the mean over the pieces that know of it
    of their mean overlap in frames 1 to i after the start. Frames without truth are left out of the pieces.

    Args:
        runs: of all sequences; several runs over one weigh as much as one.
        convention: ``"toolkit"``: the curve is as long as the longest piece; ``"pysot"``: as the longest sequence, and after a failure
            fewer than 5 frames from the end the piece ends with its sequence.

    Returns:
        ``(L,)`` in [0, 1]; entry 0 says nothing and is 0, as the toolkit has it.
    """
    pieces = [(piece, 1 / len(repeated)) for repeated in runs for run in repeated for piece in _pieces(run, convention=convention)]
    if convention == "toolkit":
        longest = max(len(values) for (values, _), _ in pieces)
    else:
        longest = max(len(run) for repeated in runs for run in repeated)
    total, weight = np.zeros(longest), np.zeros(longest)
    for (values, failed), share in pieces:
        known = longest if failed else len(values)
        padded = np.concatenate([values, np.zeros(known - len(values))])
        total[1:known] += share * np.cumsum(padded[1:]) / np.arange(1, known)
        weight[:known] += share
    return np.divide(total, weight, out=np.zeros(longest), where=weight > 0)


def expected_average_overlap(curve: NDArray[np.float64], interval: tuple[int, int], *, convention: Convention) -> float:
    """EAO: the mean of the expected overlap over typical lengths.

    Args:
        curve: what `expected_overlap` says.
        interval: first and last length, one of `INTERVALS`.
        convention: ``"toolkit"`` takes entries first to last, ``"pysot"`` those one before; what lies beyond the curve is left out.

    Returns:
        In [0, 1]; NaN where the curve ends before the interval begins.
    """
    low, high = interval
    shift = 1 if convention == "pysot" else 0
    return _mean(curve[low - shift : high - shift + 1])


def _pieces(run: Run, *, convention: Convention) -> list[tuple[NDArray[np.float64], bool]]:
    """Overlaps from each start to before its failure or to the end, and whether it failed."""
    found = []
    for start, end in zip(run.starts, (*run.failures, None), strict=False):
        values = run.overlaps[start:end]
        values = np.concatenate([[0.0], values[1:][~np.isnan(values[1:])]])
        if convention == "pysot" and end is not None and end + SKIP > len(run):
            found.append((np.concatenate([values, np.zeros(len(run) - end)]), False))
        else:
            found.append((values, end is not None))
    return found


def _lengths(runs: Runs) -> list[int]:
    return [len(repeated[0]) for repeated in runs]


def _mean(values: NDArray[np.float64]) -> float:
    """The mean of what is not NaN; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
