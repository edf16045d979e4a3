"""Runs a tracker over a DAVIS sequence: first mask in, one mask a frame out."""

from collections.abc import Callable
from pathlib import Path

from followspot.datasets.davis import DavisSequence
from followspot.errors import DatasetError
from followspot.io.masks import write_mask
from followspot.io.video import open_video
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Masks


def davis_run(
    tracker: PropagationTracker, *, on_frame: Callable[[str, int, int], None] = lambda sequence, done, total: None
) -> Callable[[DavisSequence, Path], None]:
    """What `followspot.benchmarks.davis.evaluate` calls for every sequence.

    The tracker gets the first annotation and the frames, nothing else.

    Args:
        tracker: is started anew for each sequence.
        on_frame: told the sequence, how many of its frames are done, and how many there are.

    Returns:
        A function of a sequence and the folder for its masks.
    """

    def run(sequence: DavisSequence, folder: Path) -> None:
        masks = Masks(ids=sequence.read_mask(0))
        if not masks.ids.any():
            raise DatasetError(f"{sequence.mask_path(0)} has no object in it, so there is nothing to follow; restore the file")
        with open_video(sequence.image_folder) as video:
            for answer in tracker.stream(video, {0: [masks]}):
                if answer.masks is not None:
                    write_mask(folder / f"{answer.name}.png", answer.masks)
                on_frame(sequence.name, answer.index + 1, len(sequence))

    return run
