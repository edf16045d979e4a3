"""Files over HTTP: resumed where they stopped, and whole or not there."""

import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from followspot.errors import DatasetError
from followspot.io.files import output_error

_BUSY: Final = (429, 503)
# Refusals that time may heal, although their codes begin with 4: request timeout, too early, too many requests.
_PASSING: Final = (408, 425, 429)
_CHUNK: Final = 1 << 18


class DownloadError(DatasetError):
    """A file could not be fetched.

    Args:
        message: one line.
        status: the HTTP status; None where there was no answer.
        retry_after: seconds after which the server wants to be asked again.
        final: whether asking again is of no use; None: what the status says.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float = 0.0, final: bool | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.busy = status in _BUSY
        self.final = status is not None and 400 <= status < 500 and status not in _PASSING if final is None else final
        self.tries = 1
        """How often it was tried; :func:`followspot.io.patience.patiently` counts."""


def download(
    url: str, target: Path, *, sha256: str | None = None, timeout: float = 30.0, heartbeat: Callable[[], None] | None = None
) -> int:
    """Fetch a file, once; call it again to go on where it stopped.

    What is fetched lies beside the target in a hidden ``.part`` until it is whole. It is continued only if the server says that it still
    has the same file (``ETag`` or ``Last-Modified``, and the same length).

    Args:
        url: http or https.
        target: where the file should be; its folder is made. An earlier file there is replaced.
        sha256: what the file must hash to, in hex.
        timeout: seconds without a byte after which the server counts as gone.
        heartbeat: called for every piece of 256 KiB that came; what it raises ends the download, which can be resumed.

    Returns:
        The file's size in bytes.

    Raises:
        DownloadError: the server refuses, fails, or sends something else; ``final`` tells whether to try again.
        OutputError: the disk is full or not ours to write to.
    """
    part = _Part(target)
    try:
        part.prepare()
        with _opened(url, part.headers(), timeout=timeout) as answer:
            part.receive(answer, heartbeat)
    except _StaleError:
        part.clear()
        raise DownloadError(f"{_short(url)} has changed since its first half was fetched; it is fetched again") from None
    except OSError as error:
        told = output_error(error, target)
        raise told if told is not None else error from error
    return part.finish(sha256=sha256, url=url)


class _StaleError(Exception):
    """The server has another file than the one whose part lies here. Never leaves this module."""


@dataclass
class _Part:
    """The half of a file, and what the server said about the whole."""

    target: Path
    facts: Mapping[str, Any] | None = None

    @property
    def path(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part.json")

    def prepare(self) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        try:
            facts = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = None
        # A part without its note cannot be told from that of another file, and is fetched anew.
        self.facts = facts if isinstance(facts, dict) and self.size() > 0 else None

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def headers(self) -> dict[str, str]:
        if self.facts is None:
            return {}
        same = {"If-Range": str(self.facts["validator"])} if self.facts.get("validator") else {}
        return {"Range": f"bytes={self.size()}-", **same}

    def receive(self, answer: "_Answer", heartbeat: Callable[[], None] | None) -> None:
        """Append what comes, or begin anew if the server sends all of it."""
        if answer.status == 416:
            if self.facts is None or answer.total != self.size():
                raise _StaleError
            return
        goes_on = answer.status == 206
        if goes_on and (self.facts is None or answer.first != self.size() or answer.total != self.facts.get("total")):
            raise _StaleError
        if not goes_on:
            self.note.write_text(json.dumps({"validator": answer.validator, "total": answer.total}), encoding="utf-8")
        with self.path.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read():
                file.write(chunk)
                if heartbeat is not None:
                    heartbeat()
            file.flush()
            os.fsync(file.fileno())
        if answer.total is not None and self.size() < answer.total:
            raise DownloadError(f"{_short(answer.url)} broke off after {self.size()} of {answer.total} bytes; it is resumed")

    def finish(self, *, sha256: str | None, url: str) -> int:
        size = self.size()
        if sha256 is not None:
            with self.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.lower():
                self.clear()
                wanted = f"expected {sha256[:16]}..., got {found[:16]}..."
                raise DownloadError(f"{_short(url)} has another SHA-256 ({wanted}); check the address or the sum", final=True)
        os.replace(self.path, self.target)
        self.clear()
        return size

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


class _Answer:
    """A server's answer: its status, what it says of the file, and the bytes."""

    def __init__(self, url: str, response: http.client.HTTPResponse | urllib.error.HTTPError) -> None:
        self.url = url
        self.status = int(response.status or 0)
        headers = response.headers
        # Weak tags do not promise the same bytes (RFC 9110 §8.8.1), and If-Range does not take them.
        tag = headers.get("ETag", "")
        self.validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", ""))
        self.first = int(span[1]) if span and span[1] else None
        length = span[2] if span else headers.get("Content-Length", "")
        self.total = int(length) if length.isdecimal() else None
        self._response = response

    def read(self) -> bytes:
        try:
            return self._response.read(_CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise DownloadError(f"{_short(self.url)} broke off ({_reason(error)}); it is resumed") from error

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()


def _opened(url: str, headers: Mapping[str, str], *, timeout: float) -> _Answer:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{_short(url)} is no http or https address; correct the list", final=True)
    request = urllib.request.Request(url, headers={"User-Agent": "followspot", "Accept-Encoding": "identity", **headers})
    try:
        return _Answer(url, urllib.request.urlopen(request, timeout=timeout))
    except urllib.error.HTTPError as error:
        if error.code == 416 and "Range" in headers:
            return _Answer(url, error)
        error.close()
        after = error.headers.get("Retry-After", "") if error.headers else ""
        seconds = float(after) if after.isdecimal() else 0.0
        raise DownloadError(f"{_short(url)}: HTTP {error.code} {error.reason}", status=error.code, retry_after=seconds) from error
    except http.client.InvalidURL as error:
        raise DownloadError(f"{_short(url)} is no address ({_reason(error)}); correct the list", final=True) from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{_short(url)} cannot be reached ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None) or error
    return (str(cause).splitlines() or [type(cause).__name__])[0] or type(cause).__name__


def _short(url: str) -> str:
    return url if len(url) <= 100 else f"{url[:97]}..."
