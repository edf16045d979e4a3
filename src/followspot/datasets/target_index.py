"""What is known of a dataset of targets, as files: a card, an index of boxes, and the ledger of a conversion that goes on.

STORE/<dataset>.card.json      where it comes from, and how it may be used
STORE/<dataset>.json           {video: {track: {"%06d": [x1, y1, x2, y2]}}}, as SiamMask's training reads it
STORE/<dataset>.part.jsonl     one line a finished video while a conversion runs; merged into the index at its end
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from followspot.errors import AnnotationError, DatasetError, SettingError
from followspot.io.fields import as_count, as_mapping, as_numbers, load_json
from followspot.io.files import nearest, write_atomic

Box = tuple[float, float, float, float]
Tracks = dict[int, dict[int, Box]]
"""Track -> frame -> xyxy in pixels of the source image."""

CARD = ".card.json"
LEDGER = ".part.jsonl"
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REMEDY = "convert the dataset again"


@dataclass(frozen=True, kw_only=True)
class TargetCard:
    """What a dataset of targets is.

    Raises:
        SettingError: the name cannot be a file's, or the range is below 1.
    """

    dataset: str
    """Letters, digits, ``.``, ``_`` and ``-``."""
    labelled_by: Literal["people", "propagation"]
    """Who said where the targets are."""
    still: bool
    """Photographs: every target has one frame."""
    frame_range: int
    """How many frames the two pictures of a pair may lie apart, from 1."""
    licence: str = ""
    """As given; empty where nobody said."""
    source: str = ""
    """Where it comes from, for people."""

    def __post_init__(self) -> None:
        if not _DATASET.fullmatch(self.dataset) or self.dataset.endswith((".card", ".part")):
            raise SettingError(f"{self.dataset!r} cannot name a dataset; use letters, digits, '_' and '-'")
        if self.frame_range < 1 or self.labelled_by not in ("people", "propagation"):
            said = f"range {self.frame_range}, labelled by {self.labelled_by!r}"
            raise SettingError(f"{self.dataset}: {said}; the range is at least 1, and people or propagation labelled it")


def check_video(name: str) -> str:
    """The same name, if folders can be called so inside a store: parts joined by ``/``, none of them hidden or leading out.

    Raises:
        DatasetError: they cannot.
    """
    if not name or "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise DatasetError(f"{name!r} cannot name a video of a store; name it without '..', a leading '/' and backslashes")
    return name


def datasets_in(root: Path) -> list[str]:
    """Names of the finished datasets of a store, sorted."""
    return sorted(path.name.removesuffix(CARD) for path in root.glob(f"*{CARD}") if not path.name.startswith("."))


def has_dataset(root: Path, dataset: str) -> bool:
    """Whether a dataset is finished, and no conversion goes on with it, or was killed at it."""
    return (root / f"{dataset}{CARD}").is_file() and not (root / f"{dataset}{LEDGER}").exists()


def read_card(root: Path, dataset: str) -> TargetCard:
    """The card of a dataset.

    Raises:
        DatasetError: it is missing or damaged.
    """
    path = root / f"{dataset}{CARD}"
    try:
        content = load_json(path)
    except AnnotationError as error:
        raise DatasetError(str(error)) from error
    kinds = {"dataset": str, "labelled_by": str, "still": bool, "frame_range": int, "licence": str, "source": str}
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if wrong or content["dataset"] != dataset:
        raise DatasetError(f"{path} is no card of a dataset: {', '.join(wrong) or 'dataset'} is missing or wrong; {_REMEDY}")
    try:
        return TargetCard(**{field.name: content[field.name] for field in fields(TargetCard)})  # type: ignore[arg-type]
    except SettingError as error:
        raise DatasetError(f"{path}: {error}") from error


def write_card(root: Path, card: TargetCard) -> None:
    """Replace the card of a dataset in one step.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(root / f"{card.dataset}{CARD}", json.dumps(asdict(card), indent=1) + "\n")


def read_boxes(root: Path, dataset: str) -> dict[str, Tracks]:
    """The index of a dataset: video -> track -> frame -> box. Boxes without area, and what is empty then, are left out.

    Raises:
        DatasetError: it is missing or damaged.
    """
    path = root / f"{dataset}.json"
    try:
        return dict(_videos(load_json(path), str(path)))
    except AnnotationError as error:
        raise DatasetError(f"{error} (or {_REMEDY})") from error


def write_boxes(root: Path, dataset: str, videos: Mapping[str, Tracks]) -> None:
    """Replace the index of a dataset in one step.

    Raises:
        OutputError: it cannot be written.
    """
    lines = (f"{json.dumps(video)}: {json.dumps(_as_json(videos[video]))}" for video in sorted(videos))
    write_atomic(root / f"{dataset}.json", "{" + ",\n".join(lines) + "}\n")


def ledger_line(video: str, tracks: Tracks) -> str:
    """What a ledger says of a finished video."""
    return json.dumps({video: _as_json(tracks)}) + "\n"


def read_ledger(root: Path, dataset: str) -> dict[str, Tracks]:
    """Videos that a conversion finished before it was stopped, also those without a target; a line cut short is taken off.

    Raises:
        DatasetError: a whole line is damaged.
    """
    path = root / f"{dataset}{LEDGER}"
    data = path.read_bytes() if path.is_file() else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    videos: dict[str, Tracks] = {}
    for number, line in enumerate(data[:whole].splitlines(), 1):
        where = f"{path} line {number}"
        try:
            content = as_mapping(json.loads(line), where)
            videos |= {video: {} for video in content} | dict(_videos(content, where))
        except ValueError as error:  # AnnotationError is one
            raise DatasetError(f"{where} is damaged ({error}); delete the line and run again") from error
    return videos


def missing_dataset(root: Path) -> str:
    """Why a folder is no store, in one line."""
    if not root.is_dir():
        near = nearest(root.name, [path.name for path in root.parent.iterdir()]) if root.parent.is_dir() else None
        return f"{root} does not exist; " + (f"did you mean {root.parent / near}?" if near else _teach(root))
    unfinished = sorted(path.name.removesuffix(LEDGER) for path in root.glob(f"*{LEDGER}"))
    if unfinished:
        return f"{root} holds no finished dataset: converting {unfinished[0]} was stopped; run the same command again, it goes on"
    return f"{root} is no store of targets: it has no *{CARD}; {_teach(root)}"


def _teach(root: Path) -> str:
    return f"make one with: followspot targets FORMAT SOURCE --out {root}"


def _videos(content: Mapping[str, object], where: str) -> Iterator[tuple[str, Tracks]]:
    for video, value in content.items():
        inside = f"{where}: {video}"
        tracks = {_number(track, inside): _frames(frames, f"{inside}.{track}") for track, frames in as_mapping(value, inside).items()}
        kept = {track: frames for track, frames in tracks.items() if frames}
        if kept:
            yield check_video(video), kept


def _frames(value: object, where: str) -> dict[int, Box]:
    found: dict[int, Box] = {}
    for frame, numbers in as_mapping(value, where).items():
        left, top, right, bottom = as_numbers(numbers, f"{where}.{frame}", count=4)
        if right > left and bottom > top:
            found[_number(frame, where)] = (left, top, right, bottom)
    return found


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise AnnotationError(f"{where}: {text!r} is no number of a track or frame; correct the file")
    return as_count(int(text), where)


def _as_json(tracks: Tracks) -> dict[str, dict[str, Box]]:
    return {f"{track:02d}": {f"{frame:06d}": tracks[track][frame] for frame in sorted(tracks[track])} for track in sorted(tracks)}
