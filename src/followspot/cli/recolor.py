"""``followspot recolor``: the colours of a few frames for a whole grey video."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from followspot.cli.frames import split_frame
from followspot.cli.options import EncoderOptions, PropagationOptions, build_tracker
from followspot.cli.progress import Stages
from followspot.errors import AnnotationError


def recolor(
    source: Annotated[str, Parameter(help="Video file or folder of frames; its colours, if any, are not looked at.")],
    /,
    *,
    colors: Annotated[list[str], Parameter(negative="", consume_multiple=False)],
    at: int | None = None,
    out: Path | None = None,
    both_ways: bool = True,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Colour a grey video from frames of it that someone has coloured.

    The lightness of every frame stays; a and b of Lab are carried as masks are. An encoder that was trained on grey frames (--weights of a
    colorization run) knows best what belongs together.

    Args:
        colors: A frame of the video in colour: --colors first.png
        at: Which frame that is, counted from 0 (default 0): --colors later.png --at 20
        out: Video (.mp4, .mov, .mkv) or folder of PNG pictures; default NAME-recolored.mp4.
        both_ways: Also carry colours to the frames before them.
    """
    from followspot.io.files import missing_file
    from followspot.io.images import read_image
    from followspot.io.video import open_video
    from followspot.jobs.recolor import recolored, write_recolored

    if at is not None:
        raise AnnotationError(f"--at {at} follows no colours; write it right after the frame it belongs to: --colors f.png --at {at}")
    given = [split_frame(value) for value in colors]
    frames = [frame or 0 for _, frame in given]
    if len(set(frames)) < len(frames):
        raise AnnotationError(f"--colors for frames {sorted(frames)}: give each frame once; say which it is by --at")
    for path, _ in given:
        if wrong := missing_file(Path(path)):
            raise AnnotationError(f"--colors {wrong}")
    with open_video(source) as video, Stages() as progress:
        images = {frame or 0: read_image(Path(path)) for path, frame in given}
        tracker = build_tracker(encoder, propagation, confidence=False)
        pictures = recolored(video, images, tracker, both_ways=both_ways, progress=progress)
        target = out or Path(f"{video.name}-recolored.mp4")
        count = write_recolored(video, pictures, target)
    print(f"{target}: {count} frames, colours from {len(images)}")
