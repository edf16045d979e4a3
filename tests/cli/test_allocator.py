"""Memory that is freed with every frame stays in the process."""

import sys

import pytest

from followspot.cli.allocator import keep_freed_memory

FAULTS = """
import resource, sys
import torch
from followspot.cli.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(77)
def work():  # blocks of a size that is mapped at first, more than glibc keeps of itself
    held = [torch.full((5 * 2**18,), 1.0) for _ in range(8)]
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' C libraries are left as they are")
def test_pages_are_not_fetched_again(fresh_process):
    kept, left = fresh_process(FAULTS, "keep"), fresh_process(FAULTS, "leave")
    if kept.returncode == 77:
        pytest.skip("this C library has no mallopt")
    pages = 10 * 8 * 5 * 2**20 // 4096
    assert int(kept.stdout) < pages / 50
    assert int(kept.stdout) <= int(left.stdout)  # some C libraries keep so much of themselves that none comes anew


def test_it_may_be_asked_again():
    assert keep_freed_memory() == keep_freed_memory()
