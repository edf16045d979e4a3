"""What davis2017-evaluation computes of a folder of masks, and its files. Needs no torch, so that processes start quickly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.report import Row
from followspot.datasets.davis import DavisSequence, read_ids
from followspot.errors import DatasetError
from followspot.metrics.summary import score_frame, summarize

Protocol = Literal["official", "preliminary"]

MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
"""Names and order of the global numbers (davis2017-evaluation)."""

NOTES: Mapping[Protocol, str] = {
    "official": "davis2017-evaluation, semi-supervised: first and last frame not scored, objects of the first frame, mean over objects",
    "preliminary": "PRELIMINARY: all frames after the first one scored and pooled over objects; not comparable with published numbers",
}


def score_one(sequence: DavisSequence, folder: Path, *, protocol: Protocol = "official") -> tuple[Row, ...]:
    """Scores the masks of one sequence, one frame in memory at a time.

    Args:
        sequence: with annotations of every frame.
        folder: with ``<frame>.png`` for every frame.
        protocol: decides which frames are scored.

    Returns:
        One row an object, by ascending id, with the values `MEASURES`.

    Raises:
        DatasetError: as in `DavisBenchmark.score`.
    """
    _require_truth(sequence)
    missing = missing_frames(sequence, folder)
    if missing:
        raise DatasetError(
            f"{folder / missing[0]} is missing ({len(missing)} of {len(sequence)} frames are); "
            "write a mask for every frame of the sequence, the first and the last included"
        )
    scored = range(1, len(sequence) - 1) if protocol == "official" else range(1, len(sequence))
    values = []
    for index in range(len(sequence)):
        predicted = read_prediction(sequence, index, folder)
        if index in scored:
            values.append(score_frame(sequence.read_mask(index), predicted, sequence.object_ids))
    regions, contours = np.array(values).transpose(1, 2, 0)
    unscored = (None,) * (len(sequence) - scored.stop)
    return tuple(
        Row(
            sequence=sequence.name,
            object=str(object_id),
            frames=len(scored),
            values=_measures(j, f),
            curve=(None, *j.tolist(), *unscored),
        )
        for object_id, j, f in zip(sequence.object_ids, regions, contours, strict=True)
    )


def score_task(task: tuple[DavisSequence, Path], *, protocol: Protocol) -> tuple[Row, ...]:
    """`score_one` of one argument, as processes call it."""
    sequence, folder = task
    return score_one(sequence, folder, protocol=protocol)


def global_scores(rows: Sequence[Row], *, protocol: Protocol) -> dict[str, float]:
    """The global numbers by their official names, as fractions.

    Official: means over objects, each object weighing the same. Preliminary: means over frames of all objects.

    Args:
        rows: of `score_one`, of all sequences; at least one.
        protocol: which.
    """
    weights = [row.frames if protocol == "preliminary" else 1 for row in rows]

    def mean(name: str) -> float:
        return sum(weight * row.values[name] for weight, row in zip(weights, rows, strict=True)) / sum(weights)

    means = {name: mean(name) for name in MEASURES}
    return means | {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2}


def official_files(rows: Sequence[Row], *, split: str, protocol: Protocol) -> dict[str, str]:
    """The two CSV files of davis2017-evaluation: their names, columns and three decimals.

    Preliminary numbers are called ``preliminary_...`` so that nobody takes them for official ones.
    """
    prefix = "" if protocol == "official" else f"{protocol}_"
    scores = global_scores(rows, protocol=protocol)
    together = ",".join(MEASURES) + "\n" + ",".join(f"{scores[name]:.3f}" for name in MEASURES) + "\n"
    lines = [f"{row.sequence}_{row.object},{row.values['J-Mean']:.3f},{row.values['F-Mean']:.3f}" for row in rows]
    return {
        f"{prefix}global_results-{split}.csv": together,
        f"{prefix}per-sequence_results-{split}.csv": "\n".join(["Sequence,J-Mean,F-Mean", *lines]) + "\n",
    }


def missing_frames(sequence: DavisSequence, folder: Path) -> list[str]:
    """File names of the masks that a folder lacks."""
    return [f"{name}.png" for name in sequence.frame_names if not (folder / f"{name}.png").is_file()]


def read_prediction(sequence: DavisSequence, index: int, folder: Path) -> NDArray[np.uint8]:
    """The predicted ids ``(H, W)`` of one frame.

    Raises:
        DatasetError: the mask is missing, unreadable, of another size than the frame, or holds ids that are not in the first annotation.
    """
    path = folder / f"{sequence.frame_names[index]}.png"
    ids = read_ids(path)
    expected = sequence.image_size(index)
    if ids.shape != expected:
        got, wanted = (f"{width}x{height}" for height, width in (ids.shape, expected))
        raise DatasetError(f"{path} is {got} but the frame is {wanted}; write masks in the size of the frames")
    if sequence.single_object:
        return (ids > 0).astype(np.uint8)
    extra = sorted(set(np.flatnonzero(np.bincount(ids.ravel())).tolist()) - {0, *sequence.object_ids})
    if extra:
        known = ", ".join(map(str, sequence.object_ids))
        raise DatasetError(f"{path} holds ids {extra} that are not in the first annotation (ids {known}); write only those, 0 elsewhere")
    return ids


def _measures(j: NDArray[np.float64], f: NDArray[np.float64]) -> dict[str, float]:
    """The row of an object by name, from J and F of its scored frames."""
    region, contour = summarize(j), summarize(f)
    parts = [(region.mean + contour.mean) / 2, region.mean, region.recall, region.decay, contour.mean, contour.recall, contour.decay]
    return dict(zip(MEASURES, parts, strict=True))


def _require_truth(sequence: DavisSequence) -> None:
    """Refuse a sequence that cannot be scored."""
    if len(sequence) < 3:
        raise DatasetError(
            f"{sequence.image_folder} has {len(sequence)} frames, expected at least 3; the first and the last are not scored"
        )
    hidden = [name for name in sequence.frame_names if name not in sequence.annotated]
    if hidden:
        raise DatasetError(
            f"{sequence.mask_folder / hidden[0]}.png is missing ({len(hidden)} annotations are), so {sequence.name!r} can be run "
            "but not scored; choose a split with annotations, or send the masks to the benchmark's server"
        )
