"""Recolour a grey video from a few coloured frames."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.io.images import write_image
from followspot.io.source import VideoSource
from followspot.io.writer import VIDEO_SUFFIXES, VideoWriter
from followspot.jobs.track import Progress
from followspot.ops.color import recolor
from followspot.tracking.both_ways import follow
from followspot.tracking.colors import carried_ab, color_maps, gray_frame
from followspot.tracking.propagation import PropagationTracker
from followspot.types import Frame

Image = NDArray[np.uint8]


class GrayVideo(VideoSource):
    """A video without its colours.

    Args:
        video: any; it stays open.
    """

    def __init__(self, video: VideoSource) -> None:
        super().__init__(name=video.name, height=video.height, width=video.width, fps=video.fps, rewindable=video.rewindable)
        self._video = video

    @property
    def num_frames(self) -> int | None:
        """Of the video."""
        return self._video.num_frames

    def frame_names(self) -> list[str] | None:
        """Of the video."""
        return self._video.frame_names()

    def _read(self, start: int, stop: int | None) -> Iterator[Frame]:
        return map(gray_frame, self._video.frames(start, stop))


def recolored(
    video: VideoSource,
    colors: Mapping[int, Image],
    tracker: PropagationTracker,
    *,
    both_ways: bool = True,
    progress: Progress = lambda stage, done, total: None,
) -> Iterator[tuple[Frame, Image]]:
    """The frames of a video in the colours of a few of them.

    Args:
        video: grey, or of any colours, which are not looked at.
        colors: by frame index: that frame in colour, RGB ``(H, W, 3)`` of the video's size. Its lightness is not looked at.
        tracker: carries the colours; an encoder that was trained on grey frames fits best.
        both_ways: also carry colours to the frames before them.
        progress: called after every frame.

    Yields:
        Each grey frame, and its picture: the L of the video's frame, and the ab that were carried to it. Before the first coloured frame
        without `both_ways`: grey.

    Raises:
        AnnotationError: there is no coloured frame, or one has another size or is of no frame.
        SettingError: going both ways needs a video that can be rewound.
    """
    if not colors:
        raise AnnotationError("nothing to take colours from: give at least one coloured frame")
    for index, image in colors.items():
        if image.shape != (video.height, video.width, 3):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise AnnotationError(f"the colours of frame {index} are {size} but {video.name} is {video.width}x{video.height}; resize them")
    given = {index: [color_maps(image)] for index, image in colors.items()}
    gray = GrayVideo(video)
    for frame, answer in follow(tracker, gray, given, both_ways=both_ways, on_backward=lambda i, n: progress("backward", i, n)):
        progress("recolor", frame.index + 1, video.num_frames)
        yield frame, recolor(frame.image, carried_ab(answer.maps)) if answer.objects else frame.image


def write_recolored(video: VideoSource, pictures: Iterator[tuple[Frame, Image]], out: Path) -> int:
    """Writes recoloured frames as a video or as a folder of PNG pictures called like the frames.

    Args:
        video: for the size and rate.
        pictures: from `recolored`.
        out: a file that ends like a video, or a folder.

    Returns:
        How many frames were written.

    Raises:
        OutputError: it cannot be written.
    """
    count = 0
    with ExitStack() as stack:
        writer = None
        if out.suffix.lower() in VIDEO_SUFFIXES:
            writer = stack.enter_context(VideoWriter(out, height=video.height, width=video.width, fps=video.fps))
        for frame, image in pictures:
            count += 1
            if writer is None:
                write_image(out / f"{frame.name}.png", image)
            else:
                writer.write(image, time_seconds=frame.time_seconds)
    return count
