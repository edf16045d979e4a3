"""Fetching the clips of a Kinetics list: many at a time, each whole or not there, and going on where a killed run stopped."""

import threading
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from followspot.errors import DatasetError, OutputError, SettingError, VideoError
from followspot.io.download import DownloadError
from followspot.io.files import output_error
from followspot.io.kinetics import KineticsClip, read_kinetics
from followspot.io.patience import Backoff, patiently
from followspot.io.trim import trim
from followspot.io.web_video import NoVideoError, fetch_video, is_video_file, require_yt_dlp
from followspot.jobs.kinetics_status import ClipStatus, KineticsReport, Status, StatusTable

# Hidden, so that whoever prepares the folder meanwhile does not take half videos for clips.
_SCRATCH: Final = ".fetching"


@dataclass(frozen=True, kw_only=True)
class KineticsSettings:
    """How to fetch.

    Raises:
        SettingError: a value is outside its range.
    """

    workers: int = 4
    """Clips that are fetched and cut at a time."""
    preferred_side: int = 256
    """Wanted pixels of the shorter side of the picture (the downloader of the TensorFlow colorization tracker prefers 256); see
    :func:`followspot.io.web_video.choose_format`."""
    limit: int | None = None
    """Only the first so many clips of the list; None: all."""
    tries: int = 5
    """How often a fetch is tried before the clip is given up."""
    retry_failed: bool = False
    """Whether clips that earlier runs gave up are tried again."""

    def __post_init__(self) -> None:
        for name in ("workers", "preferred_side", "tries"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name.replace('_', ' ')} {getattr(self, name)} is too small; give 1 or more")
        if self.limit is not None and self.limit < 1:
            raise SettingError(f"limit {self.limit} leaves no clip; give 1 or more, or leave it out")


class Fetch(Protocol):
    """Fetches the video behind an address, once, as :func:`followspot.io.web_video.fetch_video` does."""

    def __call__(self, url: str, folder: Path, /, *, name: str, preferred_side: int, heartbeat: Callable[[], None]) -> Path:
        """The file that was fetched, or an error."""
        ...


def download_kinetics(
    index: Path,
    out: Path,
    *,
    settings: KineticsSettings,
    fetch: Fetch = fetch_video,
    pause: Callable[[float], object] | None = None,
    on_clip: Callable[[int, int], None] | None = None,
) -> KineticsReport:
    """Fetch the clips of a list into a folder, as ``KEY.mp4``.

    Clips appear whole, so ``prepare`` and training may read the folder meanwhile. What is done is not done again: neither clips that
    are there, nor those in the archive, nor those that were given up (unless ``retry_failed``).

    Args:
        index: the JSON list; see :func:`followspot.io.kinetics.read_kinetics`.
        out: the folder for clips, ``status.csv`` and ``archive.txt``.
        settings: how to fetch.
        fetch: what fetches one video; tests pass their own.
        pause: called with the seconds to wait for a busy server; tests pass one that does not.
        on_clip: called with how many clips are settled and how many there are.

    Raises:
        DatasetError: the list cannot be read, yt-dlp is needed and missing, or in the end there is not a single clip.
        OutputError: the disk is full or the folder cannot be written to.
    """
    clips = read_kinetics(index)[: settings.limit]
    if fetch is fetch_video and not all(is_video_file(clip.url) for clip in clips):
        require_yt_dlp()
    _make_folder(out)
    table = StatusTable(out)
    table.load()
    todo = [clip for clip in clips if not _settled(clip, table, retry_failed=settings.retry_failed)]
    worker = _Worker(out, table, settings, fetch, pause)
    _run(worker, todo, total=len(clips), on_clip=on_clip)
    table.finish([clip.key for clip in clips])
    _tidy(out)
    report = KineticsReport(rows=tuple(table.rows[clip.key] for clip in clips), attempted=len(todo), table=table.path)
    if report.counts()["success"] + report.counts()["missing"] == 0:
        reason = next(row.reason for row in report.rows)
        raise DatasetError(f"none of the {len(clips)} clips of {index} could be fetched (the first: {reason}); see {table.path}")
    return report


class _StoppedError(Exception):
    """The run is being ended. Never leaves this module."""


class _Worker:
    """Fetches and cuts one clip after another; several threads call it at once."""

    def __init__(
        self, out: Path, table: StatusTable, settings: KineticsSettings, fetch: Fetch, pause: Callable[[float], object] | None
    ) -> None:
        self._out, self._table, self._settings, self._fetch = out, table, settings, fetch
        self._stopped = threading.Event()
        self._pause = pause if pause is not None else self._stopped.wait
        self._backoffs: dict[str, Backoff] = {}
        self._lock = threading.Lock()

    @property
    def threads(self) -> int:
        """How many may call at once."""
        return self._settings.workers

    def stop(self) -> None:
        """End all waits, and start nothing new."""
        self._stopped.set()

    def __call__(self, clip: KineticsClip) -> None:
        row = self._settle(clip)
        self._table.settle(row)

    def _settle(self, clip: KineticsClip) -> ClipStatus:
        folder, target = self._out / _SCRATCH, self._out / clip.file_name
        once = partial(self._once, clip, folder)
        try:
            fetched, tries = patiently(once, tries=self._settings.tries, backoff=self._backoff(clip.url))
        except NoVideoError as error:
            return ClipStatus(key=clip.key, status="no_format" if error.known else "no_info", tries=error.tries, reason=str(error))
        except DownloadError as error:
            # Of a plain file the refusal is all the information there is; anything else broke off on the way.
            status: Status = "no_info" if error.final and error.status is not None else "download_failed"
            return ClipStatus(key=clip.key, status=status, tries=error.tries, reason=str(error))
        try:
            trim(fetched, target, segment=clip.segment)
        except VideoError as error:
            fetched.unlink(missing_ok=True)
            return ClipStatus(key=clip.key, status="trim_failed", tries=tries, reason=str(error).replace(f"{folder}/", ""))
        fetched.unlink(missing_ok=True)
        return ClipStatus(key=clip.key, status="success", tries=tries, bytes=target.stat().st_size)

    def _once(self, clip: KineticsClip, folder: Path) -> Path:
        self._beat()
        return self._fetch(clip.url, folder, name=clip.key, preferred_side=self._settings.preferred_side, heartbeat=self._beat)

    def _beat(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError

    def _backoff(self, url: str) -> Backoff:
        host = urllib.parse.urlsplit(url).netloc
        with self._lock:
            return self._backoffs.setdefault(host, Backoff(wait=self._pause))


def _settled(clip: KineticsClip, table: StatusTable, *, retry_failed: bool) -> bool:
    """Whether nothing is left to do; brings the table up to date with what lies in the folder."""
    target = table.folder / clip.file_name
    row = table.rows.get(clip.key)
    if target.exists():
        if row is None or row.status != "success" or clip.key not in table.archived:
            table.settle(ClipStatus(key=clip.key, status="success", tries=row.tries if row else 0, bytes=target.stat().st_size))
        return True
    if retry_failed or (row is None and clip.key not in table.archived):
        return False
    if clip.key in table.archived or (row is not None and row.status == "success"):
        table.settle(ClipStatus(key=clip.key, status="missing", reason="fetched before, and not in the folder now"))
    return True


def _run(worker: _Worker, clips: Sequence[KineticsClip], *, total: int, on_clip: Callable[[int, int], None] | None) -> None:
    """All clips through the worker; an error that is not about one clip ends the run."""
    done, waiting = total - len(clips), iter(clips)
    with ThreadPoolExecutor(max_workers=worker.threads, thread_name_prefix="fetch") as pool:
        # Not all at once: lists have half a million clips.
        running: set[Future[None]] = {pool.submit(worker, clip) for clip in islice(waiting, worker.threads)}
        try:
            while running:
                settled, running = wait(running, return_when=FIRST_COMPLETED)
                for future in settled:
                    future.result()
                    done += 1
                    if on_clip is not None:
                        on_clip(done, total)
                running |= {pool.submit(worker, clip) for clip in islice(waiting, len(settled))}
        except BaseException:
            worker.stop()
            raise


def _make_folder(out: Path) -> None:
    try:
        (out / _SCRATCH).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = output_error(error, out)
        raise told if told is not None else OutputError(f"{out} cannot be made ({error}); choose another folder") from error


def _tidy(out: Path) -> None:
    """Remove the scratch folder, unless halves of clips that were given up lie there, from which another try can go on."""
    with suppress(OSError):
        (out / _SCRATCH).rmdir()
