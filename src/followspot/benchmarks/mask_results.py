"""What benchmarks of masks have in common: following them through a video, and reading what somebody wrote."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import read_ids
from followspot.errors import DatasetError, SettingError
from followspot.io.source import VideoSource
from followspot.tracking.base import Tracker
from followspot.types import Masks


def follow_masks(
    tracker: Tracker, video: VideoSource, given: Mapping[int, NDArray[np.uint8]]
) -> Iterator[tuple[int, str, NDArray[np.uint8]]]:
    """Follows masks through a video, with new objects on the way.

    Args:
        tracker: is started anew at the first of the given frames.
        video: the frames.
        given: by frame index, the ids ``(H, W)`` of the objects that begin there; at least one.

    Yields:
        Index, name and id map ``(H, W)`` of each frame, from the first of the given ones on.

    Raises:
        SettingError: the tracker gives no masks.
    """
    for answer in tracker.stream(video, {index: [Masks(ids=ids)] for index, ids in given.items()}):
        if answer.masks is None:
            raise SettingError(f"the tracker gave no mask for frame {answer.name} of {video.name}; choose one that follows masks")
        yield answer.index, answer.name, answer.masks


def read_result(path: Path, *, size: tuple[int, int], known: Collection[int]) -> NDArray[np.uint8]:
    """A mask that somebody wrote as a result.

    Args:
        path: an indexed or grey PNG.
        size: height and width of the frame.
        known: the ids that it may hold besides 0.

    Returns:
        Ids ``(H, W)``.

    Raises:
        DatasetError: the mask is missing, unreadable, of another size, or holds other ids.
    """
    ids = read_ids(path)
    if ids.shape != size:
        got, wanted = (f"{width}x{height}" for height, width in (ids.shape, size))
        raise DatasetError(f"{path} is {got} but the frame is {wanted}; write masks in the size of the frames")
    extra = sorted(set(np.flatnonzero(np.bincount(ids.ravel())).tolist()) - {0, *known})
    if extra:
        expected = ", ".join(map(str, sorted(known)))
        raise DatasetError(f"{path} holds ids {extra} that nobody asked for (known are {expected}); write only those, 0 elsewhere")
    return ids


def missing_results(folder: Path, names: Collection[str]) -> list[str]:
    """File names of the masks that a folder lacks, of frames by name."""
    return [f"{name}.png" for name in names if not (folder / f"{name}.png").is_file()]


def require_results(results: Path, sequences: Mapping[str, Collection[str]]) -> None:
    """Refuses results that are not complete, before any time is spent.

    Args:
        results: folder with ``<sequence>/<frame>.png``.
        sequences: the frames of each that must be there, by name.

    Raises:
        DatasetError: names the first mask that is missing.
    """
    if not results.is_dir():
        raise DatasetError(f"{results} is not a folder; expected the results as <sequence>/<frame>.png")
    for sequence, names in sequences.items():
        missing = missing_results(results / sequence, names)
        if missing:
            raise DatasetError(
                f"{results / sequence / missing[0]} is missing ({len(missing)} of {len(names)} masks of {sequence!r} are); "
                "run the sequence again"
            )
