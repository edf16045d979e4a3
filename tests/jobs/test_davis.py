"""A tracker over a DAVIS sequence: it gets the frames and the first mask, and writes one mask a frame."""

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.davis import DavisDataset, read_ids
from followspot.errors import DatasetError
from followspot.io.masks import write_mask
from followspot.io.video import open_video
from followspot.jobs.davis import davis_run
from followspot.types import Masks


@pytest.fixture
def sequence(truth, tmp_path):
    root = tmp_path / "DAVIS"
    images = root / "JPEGImages/480p/drift"
    images.mkdir(parents=True)
    for index in range(4):
        Image.fromarray(truth.frame(index)).save(images / f"{index:05d}.jpg", quality=95)
    write_mask(root / "Annotations/480p/drift/00000.png", truth.masks(0))  # later ones do not exist, so nobody can look at them
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("drift\n")
    return DavisDataset(root, split="val")["drift"]


def test_one_mask_a_frame_like_the_tracker_alone(sequence, make_tracker, tmp_path):
    told = []
    davis_run(make_tracker(confidence=False), on_frame=lambda *what: told.append(what))(sequence, tmp_path / "out")
    assert told == [("drift", i, 4) for i in range(1, 5)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i:05d}.png" for i in range(4)]
    with open_video(sequence.image_folder) as video:
        answers = list(make_tracker(confidence=False).stream(video, {0: [Masks(ids=sequence.read_mask(0))]}))
    for index, answer in enumerate(answers):
        np.testing.assert_array_equal(read_ids(tmp_path / "out" / f"{index:05d}.png"), answer.masks)


def test_one_tracker_runs_many_sequences_as_if_each_were_its_first(sequence, make_tracker, tmp_path, contents):
    run = davis_run(make_tracker(confidence=False))
    run(sequence, tmp_path / "first")
    run(sequence, tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_an_annotation_without_objects(sequence, make_tracker, tmp_path):
    write_mask(sequence.mask_path(0), np.zeros((96, 128), np.uint8))
    with pytest.raises(DatasetError, match=r"drift/00000.png has no object in it"):
        davis_run(make_tracker(confidence=False))(sequence, tmp_path / "out")
    assert not (tmp_path / "out").exists()
