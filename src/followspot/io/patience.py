"""Waiting that suits a failure: a busy server is left alone for long, a broken line for seconds."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from followspot.errors import SettingError
from followspot.io.download import DownloadError

T = TypeVar("T")

FIRST_WAIT: Final = 60.0
"""Seconds that a server which says "too many requests" is left alone at first; the wait doubles each time (the downloader of
the TensorFlow colorization tracker)."""
LONGEST_WAIT: Final = 8 * 3600.0
"""Seconds beyond which the wait no longer doubles (the same source)."""


class Backoff:
    """Leaves a busy server alone: one wait for all threads that ask it, doubling while it stays busy.

    Args:
        first: seconds of the first wait.
        longest: seconds of the longest.
        wait: called with seconds; tests pass one that only notes them.

    >>> waits = []
    >>> backoff = Backoff(first=60, longest=200, wait=waits.append)
    >>> for _ in range(4):
    ...     backoff.busy(backoff.gate())
    >>> waits
    [60, 120, 200, 200]
    """

    def __init__(self, *, first: float = FIRST_WAIT, longest: float = LONGEST_WAIT, wait: Callable[[float], object] = time.sleep) -> None:
        self._first, self._longest, self._wait = first, longest, wait
        self._next = first
        self._waits = 0
        self._lock = threading.Lock()

    def gate(self) -> int:
        """Pass when nobody waits; the number tells :meth:`busy` whether somebody has waited since."""
        with self._lock:
            return self._waits

    def busy(self, ticket: int, *, at_least: float = 0.0) -> None:
        """Wait, unless another thread already waited for the answer that came to this one too.

        Args:
            ticket: what :meth:`gate` gave before the request.
            at_least: seconds that the server itself asked for.
        """
        with self._lock:
            if ticket != self._waits:
                return
            self._wait(min(max(self._next, at_least), self._longest))
            self._next = min(2 * self._next, self._longest)
            self._waits += 1

    def well(self) -> None:
        """The server answered: the next wait is a first one again."""
        self._next = self._first

    def pause(self, seconds: float) -> None:
        """Wait in this thread alone."""
        self._wait(seconds)


def patiently(attempt: Callable[[], T], *, tries: int, backoff: Backoff) -> tuple[T, int]:
    """Try until it works, with waits that suit the failure.

    Args:
        attempt: raises :class:`DownloadError`; resumes what it left.
        tries: how often at most.
        backoff: that of the server; other failures than "busy" wait 1, 2, 4 ... seconds.

    Returns:
        What the attempt gave, and how many it took.

    Raises:
        DownloadError: the last one, or the first that is final; ``tries`` says how many there were.
    """
    if tries < 1:
        raise SettingError(f"tries {tries} is no number of attempts; give 1 or more")
    for number in range(1, tries + 1):
        ticket = backoff.gate()
        try:
            result = attempt()
        except DownloadError as error:
            error.tries = number
            if error.final or number == tries:
                raise
            if error.busy:
                backoff.busy(ticket, at_least=error.retry_after)
            else:
                backoff.pause(2.0 ** (number - 1))
        else:
            backoff.well()
            return result, number
    raise AssertionError("unreachable: the last attempt returns or raises")
