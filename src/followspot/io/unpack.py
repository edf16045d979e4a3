"""Archives of data, unpacked into a folder and nowhere else."""

import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from followspot.errors import DatasetError
from followspot.io.files import atomic_path

_CHUNK = 1 << 20


def unpack(archive: Path, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Unpacks a ZIP file; files that are there already, with the same bytes, are left as they are.

    Every file appears under its name only when it is complete, so a killed run is gone on with by calling this again.

    Args:
        archive: the ZIP file.
        folder: made if it does not exist.
        progress: told the number of files done and their total.

    Returns:
        The files, in the order of the archive.

    Raises:
        DatasetError: the archive is damaged, or one of its names leads out of the folder or is a link; then nothing is unpacked.
        OutputError: the disk is full or not ours to write to.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            targets = [folder / _safe_name(member, archive) for member in members]
            for number, (member, target) in enumerate(zip(members, targets, strict=True), 1):
                if not _is_there(member, target):
                    with file.open(member) as source, atomic_path(target) as partial, partial.open("wb") as out:
                        while chunk := source.read(_CHUNK):
                            out.write(chunk)
                if progress is not None:
                    progress(number, len(members))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise DatasetError(f"{archive} is damaged or no ZIP file ({error}); fetch it again") from error
    return targets


def _safe_name(member: zipfile.ZipInfo, archive: Path) -> Path:
    """The member's name as a path that stays where it is put."""
    path = PurePosixPath(member.filename)
    other = PureWindowsPath(member.filename)
    if path.is_absolute() or other.anchor or ".." in (*path.parts, *other.parts) or stat.S_ISLNK(member.external_attr >> 16):
        raise DatasetError(f"{archive} holds {member.filename!r}, which leads out of the folder; do not use this archive")
    return Path(*path.parts)


def _is_there(member: zipfile.ZipInfo, target: Path) -> bool:
    try:
        if target.is_symlink() or os.stat(target).st_size != member.file_size:
            return False
        checksum = 0
        with target.open("rb") as file:
            while chunk := file.read(_CHUNK):
                checksum = zlib.crc32(chunk, checksum)
    except OSError:
        return False
    return checksum == member.CRC
