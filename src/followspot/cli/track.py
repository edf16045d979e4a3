"""``followspot track``: one video, any annotations, everything on disk."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from followspot.cli.frames import split_frame
from followspot.cli.options import EncoderOptions, PropagationOptions
from followspot.cli.progress import Stages
from followspot.cli.trackers import build_chosen
from followspot.errors import AnnotationError
from followspot.types import Annotation

if TYPE_CHECKING:
    from followspot.io.video import VideoSource
    from followspot.jobs.track import TrackResult

_WHAT = Group("What to follow (any mixture, each as often as you like)", sort_key=0)
_Many = Annotated[list[str] | None, Parameter(group=_WHAT, negative="", consume_multiple=False)]


def track(
    source: Annotated[str, Parameter(help="Video file, folder of frames, camera number or stream address.")],
    /,
    *,
    out: Path | None = None,
    tracker: str | None = None,
    mask: _Many = None,
    box: _Many = None,
    point: _Many = None,
    keypoints: _Many = None,
    labels: _Many = None,
    colour: _Many = None,
    at: Annotated[int | None, Parameter(group=_WHAT)] = None,
    both_ways: bool | None = None,
    confidence: bool = True,
    overlay: bool = True,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    encoder: EncoderOptions = EncoderOptions(),
    propagation: PropagationOptions = PropagationOptions(),
) -> None:
    """Follow what you point at through a video.

    Writes masks/ (indexed PNG, named after the frames), tracks.json, tracks.csv and overlay.mp4. A stopped run goes on when the
    same command is given again.

    Args:
        out: Output folder; default out/NAME.
        tracker: siammask-lite or another online tracker, which follows boxes and masks, forward only; or any name that evaluate takes.
            NAME@PRESET chooses a preset. Default: propagation with the options below.
        mask: Mask picture (indexed, binary, or colours): --mask first.png
        box: Left, top, right, bottom in pixels: --box cat=120,80,340,260
        point: One spot: --point nose=123,45
        keypoints: JSON file of named joints and their skeleton.
        labels: Soft label maps (.npy), LabelMe JSON or COCO JSON.
        colour: Name of a colour in a coloured mask: --colour cat=#ff0000
        at: Frame of the annotation before it, counted from 0 (default 0): --mask later.png --at 20
        both_ways: Also carry annotations to the frames before them; propagation does, unless told otherwise, and others cannot.
        confidence: Say how sure each answer is and which objects are lost; --no-confidence buys the time back.
        overlay: Write overlay.mp4.
        overwrite: Replace results of other runs in the output folder.
    """
    from followspot.io.video import open_video
    from followspot.jobs.track import track_video

    if at is not None:
        raise AnnotationError(f"--at {at} follows no annotation; write it right after the one it belongs to: --mask f.png --at {at}")
    with open_video(source) as video:
        given = list(_annotations(video, mask or [], box or [], point or [], keypoints or [], labels or [], colour or []))
        if not given:
            raise AnnotationError(
                "nothing to follow: add --mask first.png, --box cat=120,80,340,260, --point nose=123,45 or --keypoints f.json"
            )
        by_frame: dict[int, list[Annotation]] = {}
        for frame, annotation in given:
            by_frame.setdefault(frame, []).append(annotation)
        chosen = build_chosen(tracker, encoder, propagation, confidence=confidence)
        folder = out if out is not None else Path("out") / _folder_name(video.name)
        with Stages() as progress:
            result = track_video(
                video, by_frame, chosen, folder, both_ways=both_ways, overlay=overlay, overwrite=overwrite, progress=progress
            )
    report(result)


def report(result: "TrackResult") -> None:
    """Tells what a run left behind; raises if the video ended early, after all that could be done was done."""
    if result.computed:
        rate = result.computed / result.seconds if result.seconds else 0.0
        print(f"{result.out}: {result.frames} frames, {result.computed} computed now at {rate:.1f} frames/s")
        if result.pace is not None:
            print(result.pace)
    else:
        print(f"{result.out}: all {result.frames} frames are there already; add --overwrite to compute them again")
    if result.suggestion is not None:
        print(f"annotate next: {result.suggestion.reason}")
    if result.truncated is not None:
        raise result.truncated


def _folder_name(source: str) -> str:
    """A source's name as one folder: addresses of cameras and streams hold slashes."""
    return re.sub(r"[/\\:?*]+", "-", source).strip("-. ") or "video"


def _annotations(
    video: "VideoSource",
    masks: list[str],
    boxes: list[str],
    points: list[str],
    keypoints: list[str],
    labels: list[str],
    colours: list[str],
) -> Iterator[tuple[int, Annotation]]:
    """All annotations with their frames, checked against the size of the video."""
    from followspot.io.annotations import check_inside, parse_box, parse_colour, parse_point

    def checked(annotation: Annotation, source: str) -> Annotation:
        return check_inside(annotation, height=video.height, width=video.width, source=source)

    for number, value in enumerate(boxes, 1):
        text, frame = split_frame(value)
        yield frame or 0, checked(parse_box(text, default_name=f"box {number}"), f"--box {text}")
    for number, value in enumerate(points, 1):
        text, frame = split_frame(value)
        yield frame or 0, checked(parse_point(text, default_name=f"point {number}"), f"--point {text}")
    palette = dict(parse_colour(text) for text in colours)
    for value in masks + keypoints + labels:
        text, frame = split_frame(value)
        for index, annotation in _from_file(Path(text), video, frame, palette):
            yield index, checked(annotation, text)


def _from_file(
    path: Path, video: "VideoSource", at: int | None, palette: dict[str, tuple[int, int, int]]
) -> Iterator[tuple[int, Annotation]]:
    from followspot.io.annotations import read_annotation

    names = video.frame_names() if at is None else None  # --at outranks a file that is named like a frame
    found = read_annotation(path, size=(video.height, video.width), colours=palette or None, frame_names=names)
    for key, annotations in found.items():
        frame = key if isinstance(key, int) else at or 0
        for annotation in annotations:
            yield frame, annotation
