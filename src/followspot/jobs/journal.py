"""One journal file that many processes write, and their turns at deciding what is written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from followspot.errors import SettingError

if TYPE_CHECKING:
    import optuna

_LOCK_SECONDS = 10
"""A lock this old belongs to a process that was killed: deciding takes milliseconds."""


def open_study(folder: Path) -> "optuna.Study":
    """The study of a folder, made if it is missing; values are better when higher.

    Raises:
        SettingError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError as error:
        raise SettingError("searching needs Optuna; install followspot[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = folder / "journal.log"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(journal):
        _mend(journal)
    backend = JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal), grace_period=_LOCK_SECONDS))
    with locked(folder / "turn"):
        return optuna.create_study(storage=JournalStorage(backend), study_name="tune", direction="maximize", load_if_exists=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time, by ``<path>.lock``; one that a killed process left is broken after some seconds."""
    from optuna.storages.journal import JournalFileOpenLock

    lock = JournalFileOpenLock(str(path), grace_period=_LOCK_SECONDS)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def runs(process: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def born(process: int) -> str:
    """When a process began, where the system says: another may have its number by now."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _mend(journal: Path) -> None:
    """Takes off a last line that was cut short, say by a full disk: the journal could not be read with it."""
    text = journal.read_bytes() if journal.is_file() else b""
    if text and not text.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)
