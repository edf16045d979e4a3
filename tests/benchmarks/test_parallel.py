"""F154: scoring in n processes gives what one gives."""

import math
import subprocess
import sys

import pytest

from followspot.benchmarks.parallel import score_each
from followspot.benchmarks.registry import find_entry
from followspot.errors import SettingError

# Other processes cannot import tests, so the work is that of modules which they can.


def test_f154_processes_do_not_change_results_or_their_order():
    tasks = [25, 9, 64, 1]
    told = []
    assert score_each(math.isqrt, tasks, workers=1) == [5, 3, 8, 1]
    parallel = score_each(math.isqrt, tasks, workers=2, sizes=tasks, progress=lambda done, total: told.append((done, total)))
    assert parallel == [5, 3, 8, 1]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_arrive_whole(workers):
    with pytest.raises(SettingError, match='unknown benchmark "davsi"; did you mean "davis"'):
        score_each(find_entry, ["davsi", "davsi"], workers=workers)  # entries cannot be sent, so both are wrong


def test_no_workers_are_refused():
    with pytest.raises(SettingError, match="workers is 0, expected at least 1"):
        score_each(math.isqrt, [1], workers=0)


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from followspot.benchmarks.parallel import score_each\nscore_each(abs, [1, 2], workers=2)\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'SettingError: 2 workers could not start or were killed; call this under if __name__ == "__main__":' in done.stderr
