"""TraX: a client of vot-trax drives the command as vot-toolkit does."""

import io
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from followspot.benchmarks.vot_regions import answer_region, start_box
from followspot.cli.main import main
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import SettingError
from followspot.jobs.trax import load_trax
from followspot.models.online_networks import build_online_network, save_online_network
from followspot.tracking.presets import PRESETS, Resolution
from followspot.tracking.propagation import PropagationTracker
from followspot.tracking.siamese import SiameseTracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS
from followspot.types import Frame

trax = pytest.importorskip("trax")
Client = pytest.importorskip("trax.client").Client

FRAMES = 5
POLYGON = np.array([40.0, 20, 70, 24, 68, 44, 38, 40])


@pytest.fixture(scope="module")
def pictures():
    video = SyntheticVideo(1, num_frames=FRAMES, height=72, width=96)
    return [video.frame(index) for index in range(FRAMES)]


@pytest.fixture(scope="module")
def files(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for index, picture in enumerate(pictures):
        PillowImage.fromarray(picture).save(folder / f"{index}.png")
    return [str(folder / f"{index}.png") for index in range(FRAMES)]


@contextmanager
def client(*options):
    """The command as a process, and a client that talks with it."""
    command = [sys.executable, "-m", "followspot", "trax", *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        yield Client(stream=(process.stdin.fileno(), process.stdout.fileno()), timeout=60, log=lambda text: None), process
    finally:
        process.kill()
        process.communicate()


def polygon(region):
    return trax.Polygon.create([(float(x), float(y)) for x, y in region.reshape(-1, 2)])


def encoded(picture, form):
    stream = io.BytesIO()
    PillowImage.fromarray(picture).save(stream, form)
    return stream.getvalue()


def numbers(answer):
    """The one region of an answer as numbers."""
    ((region, _),) = answer[0]
    return np.array(region.bounds() if region.type == "rectangle" else list(region)).ravel()


def ours(pictures, box):
    """What the tracker says without TraX."""
    preset = replace(PRESETS["default"], resolution=Resolution(pixels=64))
    tracker = PropagationTracker("descriptor", preset, confidence=False, device="cpu")
    frames = [Frame(image=picture, index=index, time_seconds=index / 30, name=f"{index:05d}") for index, picture in enumerate(pictures)]
    return [answer_region(tracker.start(frames[0], [box])), *(answer_region(tracker.step(frame)) for frame in frames[1:])]


def test_the_same_answers_as_without_trax_from_files_and_from_memory(files, pictures):
    """The tracker is started twice over one connection: with a polygon on files, with a rectangle on pictures in memory."""
    rectangle = np.array([40.0, 20, 30, 24])
    with client("--tracker", "descriptor", "--resolution", "64", "--device", "cpu") as (talk, process):
        assert "descriptor" in talk.tracker_name
        assert set(talk.region_formats) == {"rectangle", "polygon"}
        assert set(talk.image_formats) == {"path", "memory", "buffer"}
        sent = [{"color": trax.FileImage.create(file)} for file in files]
        first = numbers(talk.initialize(sent[0], [(polygon(POLYGON), {})], {}))
        np.testing.assert_allclose(first, POLYGON, atol=1e-3)
        answers = [numbers(talk.frame(image, {}, [])) for image in sent[1:]]
        np.testing.assert_allclose(answers, ours(pictures, start_box(POLYGON))[1:], atol=1e-3)

        sent = [{"color": trax.MemoryImage.create(picture)} for picture in pictures]
        np.testing.assert_allclose(numbers(talk.initialize(sent[0], [(trax.Rectangle.create(*rectangle), {})], {})), rectangle)
        answers = [numbers(talk.frame(image, {}, [])) for image in sent[1:]]
        np.testing.assert_allclose(answers, ours(pictures, start_box(rectangle))[1:], atol=1e-3)
        talk.quit()
        assert process.wait(timeout=60) == 0


def test_pictures_as_data_and_in_grey(pictures):
    with client("--tracker", "identity") as (talk, process):
        start = {"color": trax.BufferImage.create(encoded(pictures[0], "PNG"))}
        talk.initialize(start, [(trax.Rectangle.create(10, 20, 30, 24), {})], {})
        for image in (trax.BufferImage.create(encoded(pictures[1], "JPEG")), trax.MemoryImage.create(pictures[2][..., 0].copy())):
            assert numbers(talk.frame({"color": image}, {}, [])).tolist() == [10, 20, 30, 24]
        talk.quit()
        assert process.wait(timeout=60) == 0


def test_an_online_tracker_answers_with_turned_boxes(files, pictures, tmp_path):
    torch.manual_seed(0)
    network = build_online_network("siammask-lite-base").eval()
    save_online_network(tmp_path / "lite.safetensors", network, {})
    tracker = SiameseTracker(network, SIAMESE_PRESETS["lite"])
    frames = [Frame(image=picture, index=index, time_seconds=index / 30, name=f"{index:05d}") for index, picture in enumerate(pictures)]
    tracker.start(frames[0], [start_box(POLYGON)])
    expected = [answer_region(tracker.step(frame)) for frame in frames[1:]]
    with client("--tracker", str(tmp_path / "lite.safetensors"), "--device", "cpu") as (talk, process):
        assert talk.tracker_name == "lite"
        sent = [{"color": trax.FileImage.create(file)} for file in files]
        talk.initialize(sent[0], [(polygon(POLYGON), {})], {})
        answers = [numbers(talk.frame(image, {}, [])) for image in sent[1:]]
        talk.quit()
        assert process.wait(timeout=60) == 0
    assert 8 in map(len, answers)
    for found, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_a_missing_picture_ends_the_session_with_its_reason(files):
    with client("--tracker", "identity") as (talk, process):
        talk.initialize({"color": trax.FileImage.create(files[0])}, [(trax.Rectangle.create(10, 20, 30, 24), {})], {})
        with pytest.raises(trax.TraxException):
            talk.frame({"color": trax.FileImage.create(files[0] + ".gone")}, {}, [])
        assert process.wait(timeout=60) == 2
        told = process.stderr.read().decode()
        assert "Traceback" not in told
        assert "error: " in told
        assert ".gone" in told


def test_a_client_that_goes_away_is_told():
    command = [sys.executable, "-m", "followspot", "trax", "--tracker", "identity"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=120)
    assert done.returncode == 2
    assert b"error: the TraX client went away" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trax", None)
    with pytest.raises(SettingError, match=r"pip install 'followspot\[eval\]'"):
        load_trax()
    with pytest.raises(SystemExit) as caught:
        main(["trax", "--tracker", "identity"])
    assert caught.value.code == 2
    assert "vot-trax" in capsys.readouterr().err


def test_an_unknown_tracker_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["trax", "--tracker", "identitty"])
    assert 'did you mean "identity"?' in capsys.readouterr().err
