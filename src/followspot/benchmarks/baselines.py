"""Trackers that do nothing clever: what every method must beat, in the same benchmark (``run`` of ``davis.evaluate``)."""

from pathlib import Path

from followspot.datasets.davis import DavisSequence
from followspot.io.masks import write_mask


def identity(sequence: DavisSequence, folder: Path) -> None:
    """Nothing moves: the first annotation is the result of every frame.

    The baseline "Identity" of Vondrick et al., "Tracking Emerges by Colorizing Videos" (ECCV 2018), table 1.

    Args:
        sequence: the video.
        folder: gets an indexed PNG ``<frame>.png`` for every frame; made if it does not exist.

    Raises:
        DatasetError: the first annotation is missing or unreadable.
        OutputError: a file cannot be written.
    """
    ids = sequence.read_mask(0)
    for name in sequence.frame_names:
        write_mask(folder / f"{name}.png", ids)
