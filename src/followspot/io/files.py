"""Writing files so that a name either holds a whole file or nothing, and naming what is wrong with a path."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from followspot.errors import OutputError

_GOES_ON = "run the same command again, it goes on where it stopped"
_ADVICE = {
    errno.ENOSPC: ("no space left on the device", f"free some space and {_GOES_ON}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space and {_GOES_ON}"),
    errno.EFBIG: (
        "the file is larger than the file system or a limit allows",
        f"write to another place, or raise the limit and {_GOES_ON}",
    ),
    errno.EROFS: ("the file system is read-only", "choose an output folder that can be written to"),
    errno.EACCES: ("permission denied", "choose an output folder that you may write to"),
    errno.EPERM: ("permission denied", "choose an output folder that you may write to"),
    errno.EEXIST: ("a file stands where a folder is needed", "remove it, or choose another output folder"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "remove it, or choose another output folder"),
    errno.EISDIR: ("a folder stands where the file should go", "remove it, or choose another output folder"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter output name"),
    errno.EIO: ("the device reports an input/output error", "check the disk, or choose another output folder"),
}


def output_error(error: OSError, path: Path) -> OutputError | None:
    """What to tell the user about an operating system error met while writing ``path``.

    Args:
        error: what was raised.
        path: the file that was being written.

    Returns:
        The error to raise instead, or None where the error is none that a user can mend (then raise the original).

    >>> print(output_error(OSError(30, "Read-only file system"), Path("out/tracks.csv")))
    the file system is read-only while writing out/tracks.csv: choose an output folder that can be written to
    """
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    what, then = advice
    return OutputError(f"{what} while writing {path}: {then}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A place to write a file that appears under its own name only when it is complete and on the disk.

    The temporary file lies in the same folder and is called ``.<stem>.partial<suffix>``: hidden, on the same file system, and
    with the suffix from which image and video writers tell the format. The name is the same each time, so that what a killed run
    left behind is overwritten by the next. Missing folders are made.

    Args:
        path: where the file should be in the end; an earlier file there is replaced in one step.

    Yields:
        The path to write to; it does not exist yet. The body must write and close it.

    Raises:
        OutputError: the disk is full, read-only, or not ours to write to; the message says what to do.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        yield partial
        _flush_to_disk(partial)
        os.replace(partial, path)
    except OSError as error:
        _remove_quietly(partial)
        told = output_error(error, path) if _concerns(error, path) else None
        if told is None:
            raise
        raise told from error
    except BaseException:
        _remove_quietly(partial)
        raise


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a whole file at once; text is UTF-8 with line ends as given.

    Args:
        path: the file.
        data: its contents.

    Raises:
        OutputError: see :func:`atomic_path`.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def missing_file(path: Path) -> str | None:
    """Why ``path`` is no readable file, in one line with the nearest name, or None if it is one.

    >>> missing_file(Path("nowhere/first.png"))
    'nowhere/first.png does not exist: there is no folder nowhere; check the path'
    """
    try:
        if path.is_file():
            return None
        if path.is_dir():
            return f"{path} is a folder; give one file in it"
        if not path.parent.is_dir():
            return f"{path} does not exist: there is no folder {path.parent}; check the path"
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError) as error:
        return f"{str(path)!r} cannot be read ({error}); check the path"
    near = nearest(path.name, names)
    return f"{path} does not exist; did you mean {path.parent / near}?" if near else f"{path} does not exist; check the path"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, or None if none is near.

    >>> nearest("frist.png", ["first.png", "last.png"])
    'first.png'
    """
    near = difflib.get_close_matches(name, sorted(names), n=1)
    return near[0] if near else None


def _flush_to_disk(path: Path) -> None:
    # os.replace may reach the disk before the data does; without fsync a power cut could leave an empty file under the final name.
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _concerns(error: OSError, path: Path) -> bool:
    # The body may also read other files; their errors are not about this output.
    if not isinstance(error.filename, str | bytes):
        return True
    named = Path(os.fsdecode(error.filename))
    return named.parent == path.parent or named in path.parents


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # What made the writing fail (a read-only disk, a file for a folder) also stops the tidying; that first error is the one to tell.
        return
