"""Options and fixtures shared by all tests."""

import os
import pickle
import selectors
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does; read when torch is first imported
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd"))):  # no GPU: Triton's interpreter; read when triton is first imported
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser):
    parser.addoption("--shared-data", default=None, help="folder with real footage (davis/, boxes/ ...); default ../shared/data if there")


@pytest.fixture(scope="session")
def shared_data(pytestconfig):
    given = pytestconfig.getoption("--shared-data")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if given:
            pytest.fail(f"--shared-data {given} is not a folder")
        pytest.skip("real footage is not on this machine (pass --shared-data FOLDER)")
    return folder


@pytest.fixture(scope="session")
def draw_targets():
    """Fills a store of targets: in each video one rectangle of a colour of its own that moves over noise; returns the folder."""

    def draw(root, *, dataset="drawn", videos=4, frames=3, masks=True, reach=20):
        from followspot.datasets.targets import TargetCard, TargetWriter

        card = TargetCard(dataset=dataset, labelled_by="people", still=False, frame_range=reach, licence="CC0", source="drawn")
        with TargetWriter(root, card) as writer:
            for video in range(videos):
                rng = np.random.default_rng(video)
                noise, colour = rng.integers(0, 90, (120, 160, 3), np.uint8), rng.integers(120, 256, 3)
                width, height = (int(side) for side in rng.integers(24, 40, 2))
                for frame in range(frames):
                    left, top = 50 + 4 * frame, 40 + 2 * frame
                    mask = np.zeros((120, 160), bool)
                    mask[top : top + height, left : left + width] = True
                    image = np.where(mask[..., None], colour, noise).astype(np.uint8)
                    box = (left, top, left + width, top + height)
                    writer.add(f"video-{video:02d}", 0, frame, image=image, box=box, mask=mask if masks else None)
                writer.finish(f"video-{video:02d}")
        return root

    return draw


class Pair:
    """Two processes that torchrun might have started; they live on, since torch and Lightning take seconds to import."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("one_of_two.py"))]
        self.processes = [
            subprocess.Popen(
                command, env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for rank in ("0", "1")
        ]

    def start(self, file, name, arguments):
        for process in self.processes:
            pickle.dump((file, name, arguments), process.stdin)
            process.stdin.flush()

    def answers(self):
        """Of both; the first that fails ends both, as the other may wait for it for ever."""
        found = {}
        with selectors.DefaultSelector() as selector:
            for rank, process in enumerate(self.processes):
                selector.register(process.stdout, selectors.EVENT_READ, rank)
            while len(found) < 2:
                for key, _ in selector.select():
                    try:
                        good, found[key.data] = pickle.load(key.fileobj)
                    except EOFError:
                        good, found[key.data] = False, "it died"
                    selector.unregister(key.fileobj)
                    assert good, f"process {key.data} of 2: {found[key.data]}"
        return found[0], found[1]

    def end(self):
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def in_two_processes():
    """Runs ``file.name(*arguments)`` in two processes at once; returns a function that waits for what the two return."""
    pairs = []

    def start(file, name, *arguments):
        if not pairs:
            pairs.append(Pair())
        pairs[0].start(str(file), name, arguments)

        def wait():
            try:
                return pairs[0].answers()
            except BaseException:
                pairs.pop().end()
                raise

        return wait

    yield start
    for pair in pairs:
        pair.end()
