"""Videos of web pages, through yt-dlp; and addresses that are video files themselves."""

import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from followspot.errors import DatasetError
from followspot.io.download import DownloadError, download

if TYPE_CHECKING:
    import yt_dlp

_SUFFIXES: Final = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
# What can be fetched as one file; the others are lists of pieces that would have to be joined by an ffmpeg program.
_PROGRESSIVE: Final = ("http", "https")


class NoVideoError(DownloadError):
    """There is nothing to fetch behind an address.

    Args:
        message: one line.
        known: whether the page told about its video, but in no format that can be fetched.
        status: the HTTP status; None where there was none.
        final: whether asking again is of no use; None: what the status says.
    """

    def __init__(self, message: str, *, known: bool, status: int | None = None, final: bool | None = None) -> None:
        super().__init__(message, status=status, final=True if known else final)
        self.known = known


def require_yt_dlp() -> None:
    """Make sure that web pages can be read.

    Raises:
        DatasetError: the extra is not installed.
    """
    try:
        import yt_dlp  # noqa: F401 -- only whether it is there
    except ImportError as error:
        raise DatasetError(
            f"web pages are read by yt-dlp, which is not installed ({error}); run: pip install 'followspot[prepare]'"
        ) from error


def is_video_file(url: str) -> bool:
    """Whether an address is that of a video file, by its ending.

    >>> is_video_file("https://example.org/a/b.MP4?x=1"), is_video_file("https://www.youtube.com/watch?v=abc")
    (True, False)
    """
    return urllib.parse.urlsplit(url).path.lower().endswith(_SUFFIXES)


def fetch_video(url: str, folder: Path, *, name: str, preferred_side: int, heartbeat: Callable[[], None] | None = None) -> Path:
    """Fetch the video behind an address, once; call it again to go on where it stopped.

    Args:
        url: of a video file, or of a page that yt-dlp reads.
        folder: where the file is written; made if missing.
        name: what the file is called, without an ending.
        preferred_side: wanted pixels of the shorter side; see :func:`choose_format`. A video file is as it is.
        heartbeat: called now and then while data comes; what it raises ends the fetch.

    Returns:
        The file.

    Raises:
        NoVideoError: the page cannot be read, or has no format that can be fetched.
        DownloadError: the server refuses or fails.
        DatasetError: yt-dlp is needed and not installed.
        OutputError: the disk is full or not ours to write to.
    """
    if not is_video_file(url):
        return _fetch_page(url, folder, name=name, preferred_side=preferred_side, heartbeat=heartbeat)
    target = folder / f"{name}{Path(urllib.parse.urlsplit(url).path).suffix.lower()}"
    download(url, target, heartbeat=heartbeat)
    return target


def choose_format(formats: Sequence[Mapping[str, Any]], *, preferred_side: int) -> Mapping[str, Any] | None:
    """The smallest format that is large enough, or else the largest there is.

    Args:
        formats: as yt-dlp lists them: ``width``, ``height``, ``vcodec``, ``acodec``, ``protocol``.
        preferred_side: pixels that the shorter side should have at least.

    Returns:
        Among those that are one file with moving pictures, that whose shorter side is the smallest >= preferred, or the largest below;
        without sound where there is a choice, then of the lower bit rate. Formats of unknown size come last. None if there is none.

    >>> sizes = [{"height": h, "width": h * 16 // 9, "protocol": "https"} for h in (144, 240, 360, 720)]
    >>> choose_format(sizes, preferred_side=256)["height"]
    360
    """
    usable = [entry for entry in formats if entry.get("protocol") in _PROGRESSIVE and entry.get("vcodec") != "none"]
    return min(usable, key=lambda entry: _rank(entry, preferred_side), default=None)


def _rank(entry: Mapping[str, Any], preferred_side: int) -> tuple[float, ...]:
    known = [int(side) for side in (entry.get("width"), entry.get("height")) if side]
    side = min(known, default=0)
    # Large enough before too small before unknown; then the nearest.
    group = 2 if not known else 0 if side >= preferred_side else 1
    return (group, abs(side - preferred_side), entry.get("acodec") != "none", entry.get("ext") != "mp4", float(entry.get("tbr") or 0))


class _Silent:
    """yt-dlp's messages go nowhere: what matters comes as an exception."""

    def debug(self, message: str) -> None:
        del message

    warning = error = info = debug


class _Selector:
    """Chooses the format for yt-dlp, and remembers whether it was asked and whether there was any."""

    def __init__(self, preferred_side: int) -> None:
        self._preferred_side = preferred_side
        self.asked = False
        self.found = False

    def __call__(self, context: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        self.asked = True
        chosen = choose_format(context["formats"], preferred_side=self._preferred_side)
        if chosen is not None:
            self.found = True
            yield chosen


def _fetch_page(url: str, folder: Path, *, name: str, preferred_side: int, heartbeat: Callable[[], None] | None) -> Path:
    require_yt_dlp()
    import yt_dlp

    selector = _Selector(preferred_side)
    options = {
        "format": selector,
        "paths": {"home": str(folder.absolute())},
        "outtmpl": {"default": f"{name.replace('%', '%%')}.%(ext)s"},
        "logger": _Silent(),
        "progress_hooks": [] if heartbeat is None else [lambda _: heartbeat()],
        "quiet": True,
        "noprogress": True,
        "noplaylist": True,
        "continuedl": True,
        # Whoever calls counts the tries and knows how long to wait.
        "retries": 0,
        "extractor_retries": 0,
        "socket_timeout": 30,
        "updatetime": False,
        # Mending would need an ffmpeg program; the frames are read and written anew anyway.
        "fixup": "never",
    }
    try:
        with yt_dlp.YoutubeDL(options) as client:
            info = client.extract_info(url, download=True)
        return Path(info["requested_downloads"][0]["filepath"])
    except yt_dlp.utils.DownloadError as error:
        raise _explained(error, selector) from error
    except (LookupError, TypeError) as error:
        raise NoVideoError("the page has no single video", known=False, final=True) from error


def _explained(error: "yt_dlp.utils.DownloadError", selector: _Selector) -> DownloadError:
    from yt_dlp.networking.exceptions import TransportError

    message = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ").split())[:300]
    if selector.asked and not selector.found:
        return NoVideoError("no format is a single file with moving pictures", known=True)
    found = re.search(r"HTTP Error (\d{3})", message)
    status = int(found[1]) if found else None
    raised = error.exc_info[1] if error.exc_info else None
    # A page that was read and says "private" or "removed" will say so again; a network that fails may not.
    network = isinstance(raised, TransportError) or isinstance(getattr(raised, "cause", None), TransportError)
    final = None if status is not None else not network
    if not selector.asked:
        return NoVideoError(message, known=False, status=status, final=final)
    return DownloadError(message, status=status, final=None if status is not None else False)
