"""A short synthetic video on disk, and the command line as a stranger meets it."""

import os
import subprocess
import sys

import pytest
import torch

from followspot.cli.main import main
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.masks import write_mask
from followspot.io.video import VideoWriter

FRAMES = 24


class Said:
    """How a command ended and what it said."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def complaints(self):
        """Lines on standard error that are not the progress bar."""
        return [line for line in self.err.splitlines() if line.strip() and "\u2501" not in line]

    def refuses(self, *parts):
        """It ended with 2 and one line that begins with error: and holds all the parts."""
        assert self.code == 2, self.err
        assert len(self.complaints) == 1, self.err
        assert "\u2501" in self.err or self.err.count("\n") == 1, self.err
        assert self.complaints[0].startswith("error: ")
        for part in parts:
            assert part in self.complaints[0]
        return True


@pytest.fixture
def said():
    """Makes a `Said` of a process that ended."""
    return Said


@pytest.fixture
def followspot(capfd):
    """Runs a command line in this process."""

    def run(*arguments):
        capfd.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture
def fresh_process():
    """Runs Python code in a process of its own; arguments arrive as ``sys.argv[1:]``."""

    def run(code, *arguments, **options):
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False, **options)

    return run


@pytest.fixture(scope="session")
def truth():
    return SyntheticVideo(1, num_frames=FRAMES, height=120, width=160)


@pytest.fixture(scope="session")
def footage(truth, tmp_path_factory):
    """A folder with clip.mp4 and its exact masks first.png (frame 0) and later.png (frame 18)."""
    folder = tmp_path_factory.mktemp("footage")
    with VideoWriter(folder / "clip.mp4", height=truth.height, width=truth.width, fps=20) as writer:
        for index in range(FRAMES):
            writer.write(truth.frame(index))
    write_mask(folder / "first.png", truth.masks(0))
    write_mask(folder / "later.png", truth.masks(18))
    return folder


@pytest.fixture(scope="session")
def contents():
    """Every file below a folder, hidden ones too, with its bytes."""

    def read(folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    return read


@pytest.fixture(scope="session")
def quick():
    """Options that make a run quick."""
    return ("--resolution", "96", "--device", "cpu", "--encoder", "descriptor")


@pytest.fixture(scope="session")
def one_reference(footage, quick):
    """A command line: the clip with its first mask."""
    return ("track", footage / "clip.mp4", "--mask", footage / "first.png", *quick)


@pytest.fixture(scope="session")
def two_references(footage, one_reference):
    """The same with a second mask later."""
    return (*one_reference, "--mask", footage / "later.png", "--at", "18")


@pytest.fixture(scope="session")
def whole(one_reference, two_references, tmp_path_factory):
    """What uninterrupted runs leave."""
    folder = tmp_path_factory.mktemp("whole")
    for name, command in (("one", one_reference), ("two", two_references)):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([*map(str, command), "--out", str(folder / name)])
    return folder
