"""What experiments train on and are scored on where there is no data: drawn clips, apart from each other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from followspot.datasets.store import INDEX
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.writer import VideoWriter
from followspot.jobs.prepare import PrepareSettings, prepare

HELD_OUT = 900
"""Seeds from here to 999 are never trained on; the synthetic benchmark begins at 1000."""
_FPS = 24.0


def drawn_store(
    folder: Path, *, clips: int, num_frames: int = 24, height: int = 128, width: int = 160, progress: Callable[[int, int], None]
) -> Path:
    """A store of drawn training clips; one that is there already is kept.

    Args:
        folder: gets ``videos/`` and ``store/``.
        clips: how many, at most `HELD_OUT`.
        num_frames: of each.
        height: rows.
        width: columns.
        progress: told how many clips are drawn.

    Returns:
        The store.
    """
    store = folder / "store"
    if (store / INDEX).is_file():
        return store
    for seed in range(min(clips, HELD_OUT)):
        path = folder / "videos" / f"{seed:03d}.mp4"
        if not path.is_file():
            with VideoWriter(path, height=height, width=width, fps=_FPS) as writer:
                for frame in SyntheticVideo(seed, num_frames=num_frames, height=height, width=width):
                    writer.write(frame.image)
        progress(seed + 1, clips)
    prepare([folder / "videos"], store, settings=PrepareSettings(), workers=1)
    return store


def held_out_clips(count: int, *, frames: int, gap: int, size: int) -> Tensor:
    """Clips that no experiment trains on, ``(count, frames, 3, size, size)`` RGB in [0, 1].

    Args:
        count: how many.
        frames: of each.
        gap: frames from one to the next.
        size: side in pixels, at least 32.
    """
    videos = [SyntheticVideo(HELD_OUT + seed, num_frames=gap * frames, height=size, width=size) for seed in range(count)]
    pictures = np.stack([[video.frame(gap * index) for index in range(frames)] for video in videos])
    return torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).float() / 255
