"""DAVIS from its own server: fetched once, checked, unpacked."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from followspot.errors import DatasetError, SettingError
from followspot.io.download import download
from followspot.io.files import write_atomic
from followspot.io.patience import Backoff, patiently
from followspot.io.unpack import unpack

Part = Literal["trainval", "test-dev"]

ADDRESSES: Final[dict[Part, str]] = {
    "trainval": "https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",
    "test-dev": "https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-test-dev-480p.zip",
}
"""DAVIS 2017 at 480p (the links of the challenge's page). The videos of 2016 are among those of trainval."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What became of a download."""

    folder: Path
    """The folder that the files lie in."""
    files: int
    """How many files of the archive are there."""
    downloaded: int
    """Bytes of the archive that was fetched now; 0 if everything was there."""


def download_davis(
    out: Path,
    *,
    part: Part = "trainval",
    url: str | None = None,
    sha256: str | None = None,
    tries: int = 5,
    backoff: Backoff | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Fetches a part of DAVIS and unpacks it into a folder. Call it again to go on; what is complete is left alone.

    Args:
        out: folder for ``DAVIS/``, as the archive has it.
        part: which archive.
        url: another address of it.
        sha256: what the archive must hash to, in hex; None takes what comes, of which only the checksum of each file is known.
        tries: how often fetching is tried.
        backoff: how long a busy server is left alone.
        progress: told the number of files unpacked and their total.

    Returns:
        Where it is and what was done.

    Raises:
        DatasetError: the archive cannot be fetched, has another checksum, or is damaged.
        OutputError: the disk is full or not ours to write to.
        SettingError: there is no such part.
    """
    if part not in ADDRESSES:
        raise SettingError(f'DAVIS has no part "{part}"; choose from: {", ".join(ADDRESSES)}')
    address = url or ADDRESSES[part]
    note = out / f".davis-{part}.json"
    sizes = _complete(note, out, address=address)
    if sizes is not None:
        return Fetched(folder=out, files=sizes, downloaded=0)
    archive = out / f".davis-{part}.zip"
    fetched = 0
    if not archive.is_file() or (sha256 is not None and _sha256(archive) != sha256.lower()):
        fetched, _ = patiently(lambda: download(address, archive, sha256=sha256), tries=tries, backoff=backoff or Backoff())
    try:
        files = unpack(archive, out, progress=progress)
    except DatasetError:
        # Kept, it would be unpacked again by the next run, to the same end.
        archive.unlink()
        raise
    known = {file.relative_to(out).as_posix(): file.stat().st_size for file in files}
    write_atomic(note, json.dumps({"url": address, "files": known}))
    archive.unlink()
    return Fetched(folder=out, files=len(files), downloaded=fetched)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(note: Path, out: Path, *, address: str) -> int | None:
    """How many files there are, if an earlier run noted them and all are as large as then."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        files: dict[str, int] = content["files"]
        whole = content["url"] == address and all((out / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return len(files) if whole else None
