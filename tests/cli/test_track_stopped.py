"""``followspot track`` stopped by kill -9 or a full disk goes on, and the result is the same bit for bit."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from followspot.datasets.davis import read_ids

MAIN = "import sys; from followspot.cli.main import main; main(sys.argv[1:])"


def no_partial_files(folder):
    return not [path for path in folder.rglob("*") if "partial" in path.name]


DIES = """
import os, signal, sys
import followspot.cli.progress as progress
from followspot.jobs import folder
stage, done, *arguments = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
show = progress.Stages.__call__
def call(self, now, count, total):
    show(self, now, count, total)
    if (now, count) == (stage, int(done)):
        die()
progress.Stages.__call__ = call
if stage == "finish":
    folder.shutil.rmtree = die
elif stage == "replace":
    replace, left = os.replace, [int(done)]
    def count_down(*paths):
        left[0] -= 1
        replace(*paths) if left[0] else die()
    os.replace = count_down
from followspot.cli.main import main
main(arguments)
"""


@pytest.mark.parametrize(
    ("run", "stage", "done", "computed"),
    [
        ("two", "backward", 11, 24),
        ("two", "tracking", 21, 8),
        ("two", "overlay", 17, 8),
        ("one", "replace", 21, 8),  # in the middle of writing a mask after the first checkpoint
        ("one", "finish", 0, 0),
    ],
)
def test_killed_and_run_again(
    two_references, one_reference, whole, followspot, fresh_process, tmp_path, contents, run, stage, done, computed
):
    command = [*(one_reference if run == "one" else two_references), "--out", tmp_path / "out"]
    killed = fresh_process(DIES, stage, done, *command)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said = followspot(*command)
    assert said.code == 0, said.err
    assert (f"24 frames, {computed} computed now" if computed else "all 24 frames are there already") in said.out
    assert contents(tmp_path / "out") == contents(whole / run)


def test_killed_from_outside(two_references, whole, followspot, tmp_path, contents):
    out = tmp_path / "out"
    command = [str(part) for part in (*two_references, "--out", out)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "followspot", *command], env=environment, **quiet)
    try:
        until = time.monotonic() + 100
        while not (out / "masks/00017.png").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        pytest.skip("the machine finished the run before it could be killed")
    assert not (out / "tracks.json").exists()
    said = followspot(*command)
    assert "24 frames, " in said.out
    assert "24 computed" not in said.out
    assert contents(out) == contents(whole / "two")


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False)
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small disk needs rights that this process has not")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    ("run", "free_kb", "file", "computed"),
    [
        ("two", 0, ".followspot/run.json", 24),
        ("two", 8, ".followspot/backward.npy", 24),
        ("one", 130, "masks/000", 8),
        ("one", 180, "overlay.mp4", 8),
    ],
)
def test_a_full_disk(
    two_references, one_reference, whole, small_disk, fresh_process, followspot, said, contents, run, free_kb, file, computed
):
    command = [*(one_reference if run == "one" else two_references), "--out", small_disk / "out"]
    size = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(size.f_bavail * size.f_frsize - free_kb * 1024))
    # In a process of its own: writing to mapped memory on a full disk would end this one.
    full = fresh_process(MAIN, *command)
    parts = f"no space left on the device while writing {small_disk}/out/{file}", "free some space and run the same command again"
    assert said(full.returncode, full.stdout, full.stderr).refuses(*parts)
    assert no_partial_files(small_disk)
    assert (small_disk / "out").exists() == ("followspot" not in file)
    for path in small_disk.rglob("*.png"):
        assert read_ids(path).shape == (120, 160)
    (small_disk / "ballast").unlink()
    again = followspot(*command)
    assert again.code == 0, again.err
    assert f"24 frames, {computed} computed now" in again.out
    assert contents(small_disk / "out") == contents(whole / run)


def test_files_may_not_grow(one_reference, whole, followspot, tmp_path, contents):
    """A limit on the size of files stands for a full disk where no disk can be mounted: the overlay does not fit."""
    command = [*one_reference, "--out", tmp_path / "out"]
    limit = (whole / "one" / "overlay.mp4").stat().st_size - 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        limited = followspot(*command)
    assert limited.refuses("overlay.mp4", "run the same command again")
    assert no_partial_files(tmp_path)
    assert followspot(*command).code == 0
    assert contents(tmp_path / "out") == contents(whole / "one")
