"""Work that overlaps: what comes next is made ahead in a thread, what is finished is written behind in one.

Order is kept, a few items are in memory at a time however long the video, and an exception reaches the caller as the same object with the
traceback of the thread. Threads suffice: decoders, encoders of video and pictures, OpenCV and torch leave Python free while they compute.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")

DEPTH = 2
"""Items that wait: one for the next step, one for when a step is faster than usual."""


class Ahead(Generic[Item]):
    """The items of an iterable, made in a thread while earlier ones are used; use it in a ``with`` block, which ends the thread.

    Args:
        items: run through in the thread, and closed there if it can be.
        depth: items made and not yet asked for, at least 1.

    >>> with Ahead(range(3)) as numbers:
    ...     list(numbers)
    [0, 1, 2]
    """

    def __init__(self, items: Iterable[Item], *, depth: int = DEPTH) -> None:
        self._made: SimpleQueue[tuple[Item] | BaseException | None] = SimpleQueue()
        self._room = Semaphore(depth)
        self._wanted = True
        # A daemon, so that a source that never answers cannot keep the program alive.
        self._thread = Thread(target=self._make, args=(items,), name="followspot-ahead", daemon=True)
        self._thread.start()

    def _make(self, items: Iterable[Item]) -> None:
        end: BaseException | None = None
        try:
            self._fill(items)
        except BaseException as error:
            end = error
        self._made.put(end)

    def _fill(self, items: Iterable[Item]) -> None:
        source = iter(items)
        try:
            self._room.acquire()
            while self._wanted:
                try:
                    item = next(source)
                except StopIteration:
                    return
                self._made.put((item,))
                del item  # else it stays in memory until the next one is there
                self._room.acquire()
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        made = self._made.get()
        if isinstance(made, tuple):
            self._room.release()
            return made[0]
        self._made.put(None)  # asked again, it has ended
        if made is None:
            raise StopIteration
        raise made

    def close(self) -> None:
        """Ends the thread, after the item that it is making; safe to call twice."""
        self._wanted = False
        self._room.release()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Behind:
    """Jobs done one after another in a thread, while the caller goes on; use it in a ``with`` block.

    The block ends when all jobs are done, also after an exception in it. After a job that failed no other is done; its exception is raised
    by the next `put`, or by the end of the block, where it goes before one of the block: that came later.

    Args:
        depth: jobs that wait, at least 1.
    """

    def __init__(self, *, depth: int = DEPTH) -> None:
        self.done = 0
        """Jobs done so far."""
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._room = Semaphore(depth)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="followspot-behind", daemon=True)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is None:
                try:
                    job()
                    self.done += 1
                except BaseException as error:
                    self._error = error
            del job  # else what it holds stays in memory until the next one comes
            self._room.release()

    def put(self, job: Callable[[], None]) -> None:
        """Has a job done after those before it; waits while too many wait.

        Args:
            job: called in the thread.

        Raises:
            BaseException: what an earlier job raised.
        """
        self._room.acquire()
        if self._error is not None:
            raise self._error
        self._jobs.put(job)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._jobs.put(None)
        self._thread.join()
        if self._error is not None and self._error is not error:
            raise self._error
