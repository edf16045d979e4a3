"""``followspot prepare``: any videos to a store of small clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from followspot.cli.progress import Stages
from followspot.errors import SettingError

_CLIPS = Group("Clips: what they are made to be", sort_key=1)
_CHOICE = Group("Choice: what is left out", sort_key=2)


@Parameter(name="*", group=_CLIPS)
@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """What clips are made to be."""

    short_side: int | Literal["native"] = 256
    """Pixels of the shorter side; smaller videos are not enlarged. native keeps every size."""
    fps_limit: float | None = None
    """Frames per second at most; default: the source's own rate."""
    max_seconds: float = 20.0
    """Longer videos are cut into equal pieces of at most this length."""
    min_frames: int = 4
    """Shorter clips are skipped."""
    split_cuts: bool = False
    """Begin a new clip where the picture jumps."""
    crf: int = 23
    """Quality of what is encoded anew: 0 (best) to 51."""


@Parameter(name="*", group=_CHOICE)
@dataclass(frozen=True, kw_only=True)
class ChoiceOptions:
    """What is left out."""

    only: str | None = None
    """Pattern that the path must fit, as in "main/*"."""
    without: str | None = None
    """Pattern that the path must not fit, as in "*davis*"."""
    drop_duplicates: bool = False
    """Keep one of several clips with the same pictures."""
    drop_static: bool = False
    """Leave out clips in which nothing moves."""
    static_below: float | None = None
    """Grey levels a frame that count as nothing (with --drop-static; default 0.1)."""
    retry_skipped: bool = False
    """Try again what was skipped in an earlier run."""


def prepare(
    source: Annotated[list[Path], Parameter(help="Folders of videos or frames, video files, lists of them.", negative="")],
    /,
    *,
    out: Path | None = None,
    list_file: Annotated[Path | None, Parameter(name="--list")] = None,
    licence: str = "",
    workers: int | None = None,
    clips: ClipOptions = ClipOptions(),
    choice: ChoiceOptions = ChoiceOptions(),
) -> None:
    """Make a store of small clips, which training reads quickly.

    Writes index.parquet, clips/, report.csv and report.json. Whatever cannot be used is named with its reason. A stopped run
    goes on when the same command is given again, and a second run only does what is new.

    Args:
        out: Folder of the store; more may be added to one that is there.
        list_file: Write the frame folders and their numbers of frames: FILE.csv for CorrFlow's index, FILE.txt for VLOG's.
        licence: Licence of sources whose list names none.
        workers: Processes; default one a core.
    """
    if out is None and list_file is None:
        raise SettingError("nothing to write: add --out STORE, or --list FILE.csv for the index alone")
    if list_file is not None:
        _write_list(source, list_file, choice=choice)
    if out is not None:
        _prepare(source, out, licence=licence, workers=workers, clips=clips, choice=choice)


def _write_list(given: list[Path], path: Path, *, choice: ChoiceOptions) -> None:
    from followspot.io.clip_lists import write_list
    from followspot.io.clip_sources import find_sources

    sources = find_sources(given, only=choice.only, without=choice.without)
    folders = [(found.path, found.frames or 0) for found in sources if found.kind == "frames"]
    if not folders:
        raise SettingError(f"--list {path} would be empty: there are no frame folders, and only these are listed; leave it out")
    write_list(path, folders)
    print(f"{path}: {len(folders)} frame folders, {sum(count for _, count in folders)} frames")


def _prepare(given: list[Path], out: Path, *, licence: str, workers: int | None, clips: ClipOptions, choice: ChoiceOptions) -> None:
    from followspot.io.clip_format import TranscodeSettings
    from followspot.jobs.prepare import STATIC_BELOW, PrepareSettings, prepare

    if choice.static_below is not None and not choice.drop_static:
        raise SettingError(f"--static-below {choice.static_below} does nothing alone; add --drop-static")
    limit = STATIC_BELOW if choice.static_below is None else choice.static_below
    shape = TranscodeSettings(
        short_side=None if clips.short_side == "native" else clips.short_side,
        fps_limit=clips.fps_limit,
        max_seconds=clips.max_seconds,
        min_frames=clips.min_frames,
        split_cuts=clips.split_cuts,
        crf=clips.crf,
    )
    settings = PrepareSettings(
        clips=shape,
        drop_duplicates=choice.drop_duplicates,
        static_below=limit if choice.drop_static else None,
        licence=licence,
        retry_skipped=choice.retry_skipped,
    )
    with Stages("videos") as progress:
        report = prepare(given, out, settings=settings, workers=workers, only=choice.only, without=choice.without, progress=progress)
    print(report.table())
    print(
        f"{out}: {report.clips} clips, {report.size / 1e6:.1f} MB, {report.worked} of {len(report.rows)} sources in {report.seconds:.1f} s"
    )
