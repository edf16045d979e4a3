"""Steps that overlap: order, a bound on what waits, exceptions with their traceback, and threads that end."""

import gc
import threading
import time
import traceback
import weakref
from functools import partial
from itertools import chain, repeat

import pytest

from followspot.jobs.overlap import Ahead, Behind


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    own = ("followspot-ahead", "followspot-behind")  # other tests of the process may have left others
    assert [thread.name for thread in threading.enumerate() if thread.name in own] == []


def wait_until(true):
    until = time.monotonic() + 20
    while not true() and time.monotonic() < until:
        time.sleep(0.001)
    assert true()


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_items_come_in_order_and_few_wait(depth):
    made = []

    def source():
        for index in range(40):
            made.append(index)
            yield index

    with Ahead(source(), depth=depth) as items:
        for taken, item in enumerate(items):
            assert item == taken
            wait_until(lambda: len(made) >= min(40, taken + 1 + depth))  # it does not wait to be asked  # noqa: B023
            assert len(made) <= taken + 1 + depth
        assert list(items) == []  # asked again, it has still ended
    assert made == list(range(40))


def test_they_are_made_while_the_last_one_is_used():
    """Each side waits for the other to have begun the next step: one after the other, this would never end."""
    begun = [threading.Event() for _ in range(5)]

    def source():
        for event in begun:
            event.set()
            yield event

    with Ahead(source(), depth=1) as items:
        for index, _ in enumerate(items):
            if index + 1 < len(begun):
                assert begun[index + 1].wait(20)


def breaks_after(count):
    yield from range(count)
    raise ValueError("the source broke")


@pytest.mark.parametrize("count", [0, 1, 6])
def test_an_exception_comes_after_the_good_items_with_its_traceback(count):
    seen = []
    items = Ahead(breaks_after(count))
    with pytest.raises(ValueError, match="the source broke") as caught, items:
        seen.extend(items)
    assert seen == list(range(count))
    assert "breaks_after" in [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert list(items) == []


def test_leaving_early_closes_the_source_in_its_own_thread():
    where = []

    def source():
        try:
            yield from range(1000)
        finally:
            where.append(threading.current_thread().name)

    with Ahead(source()) as inner, Ahead(item + 1 for item in inner) as items:
        assert next(items) == 1
    assert where == ["followspot-ahead"]
    inner.close()  # once more does no harm


def test_items_are_let_go_of():
    class Big:
        pass

    def source():
        while True:
            yield Big()

    with Ahead((big for big in source()), depth=1) as items:
        held = [weakref.ref(next(items)) for _ in range(10)]
        gc.collect()
        assert sum(ref() is not None for ref in held) <= 1  # the generator of this test may hold the last one


def test_jobs_are_done_in_order_and_few_wait():
    done, gate = [], threading.Semaphore(0)

    def job(index):
        def work():
            gate.acquire()
            done.append(index)

        return work

    with Behind(depth=3) as jobs:
        for index in range(3):
            jobs.put(job(index))
        blocked = threading.Thread(target=lambda: [jobs.put(job(index)) for index in range(3, 6)])
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive()
        assert (done, jobs.done) == ([], 0)
        for _ in range(6):
            gate.release()
        blocked.join(20)
    assert done == list(range(6))
    assert jobs.done == 6


def fails():
    raise OSError("the disk broke")


def do(jobs, work, error=None):
    with jobs:
        for job in work:
            jobs.put(job)
        if error is not None:
            raise error


def test_after_a_job_that_failed_no_other_is_done():
    done = []
    jobs = Behind(depth=2)
    with pytest.raises(OSError, match="the disk broke") as caught:
        do(jobs, chain([lambda: done.append(1), fails], repeat(lambda: done.append(2))))  # without an end
    assert (done, jobs.done) == ([1], 1)
    assert "fails" in [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_jobs_are_done_also_after_an_exception_of_the_block(error):
    done = []
    with pytest.raises(error):
        do(Behind(depth=9), [partial(done.append, index) for index in range(5)], error)
    assert done == list(range(5))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_failed_first_is_told(error):
    """Of one after the other, the job would have failed before the block came that far."""
    with pytest.raises(OSError, match="the disk broke") as caught:
        do(Behind(depth=9), [fails], error)
    assert isinstance(caught.value.__context__, error)
