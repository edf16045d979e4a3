"""``followspot targets``: labelled images and videos to a store of targets, which siamese trackers are trained on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from followspot.cli.progress import Stages

if TYPE_CHECKING:
    from followspot.datasets.sources.base import LabelledSource

Format = Literal["coco", "youtube-vos", "davis", "vid", "det", "yolo", "video"]
_KINDS = (
    "What SOURCE is. coco: instances_*.json and its images. youtube-vos: train/ with JPEGImages, Annotations, meta.json. "
    "davis: JPEGImages and Annotations, indexed PNGs. vid, det: Data and Annotations of ImageNet, XML. "
    "yolo: images and labels, polygons as text. "
    "video: a store of followspot prepare; nothing is labelled, what moves is found and followed."
)
_CHOICE = Group("Choice: what is left out", sort_key=1)
_CARD = Group("Card: what is noted about the dataset", sort_key=2)


@Parameter(name="*", group=_CHOICE)
@dataclass(frozen=True, kw_only=True)
class TargetChoice:
    """What is left out."""

    only: str | None = None
    """Pattern that the name of a video or photograph must fit, as in "train/*"."""
    without: str | None = None
    """Pattern that it must not fit."""
    list_file: Annotated[Path | None, Parameter(name="--list")] = None
    """Text file with the names of videos to take, one a line."""
    min_side: float | None = None
    """Pixels of the shorter side of an object's box; smaller ones are left out. Default 8."""
    min_area: float | None = None
    """Pixels of its mask, or of its box where there is no mask. Default 400; youtube-vos 1001."""


@Parameter(name="*", group=_CARD)
@dataclass(frozen=True, kw_only=True)
class TargetNotes:
    """What is noted about the dataset."""

    name: str | None = None
    """Name in the store; default one a format. Another name makes a dataset of its own."""
    licence: str = ""
    """Licence of images and annotations; default what the source says of itself."""
    origin: str | None = None
    """Where it comes from; default the format."""


def targets(
    kind: Annotated[Format, Parameter(name="FORMAT", help=_KINDS)],
    source: Annotated[
        list[Path], Parameter(help="Its folder; for coco the JSON file, with the folder of its images if that is elsewhere.", negative="")
    ],
    /,
    *,
    out: Path,
    workers: int | None = None,
    choice: TargetChoice = TargetChoice(),
    notes: TargetNotes = TargetNotes(),
) -> None:
    """Cut targets out of labelled images and videos, for training a siamese tracker.

    Writes STORE/crop511/, STORE/<name>.json and STORE/<name>.card.json. More datasets may be added to one store. A stopped run goes
    on when the same command is given again, and a second run only does what is new.

    Args:
        out: Folder of the store; datasets that are in it stay.
        workers: Threads; default one a core.
    """
    from followspot.jobs.targets import FORMATS, make_targets

    found = _chosen(FORMATS[kind](source), choice, notes)
    with Stages("photos" if found.card.still else "videos") as progress:
        report = make_targets(found, out, workers=workers, progress=progress)
    print(report.text())


def _chosen(source: "LabelledSource", choice: TargetChoice, notes: TargetNotes) -> "LabelledSource":
    from followspot.datasets.frame_files import read_names
    from followspot.datasets.sources.base import choose_videos

    names = None if choice.list_file is None else read_names(choice.list_file, {video.name for video in source.videos})
    sizes = {"side": choice.min_side, "area": choice.min_area}
    known = source.card
    card = replace(known, dataset=notes.name or known.dataset, source=notes.origin or known.source, licence=notes.licence or known.licence)
    return replace(
        source,
        videos=choose_videos(source.videos, only=choice.only, without=choice.without, names=names),
        least=replace(source.least, **{name: value for name, value in sizes.items() if value is not None}),
        card=card,
    )
