"""F023: what test-dev's server takes."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks.base import Submission
from followspot.benchmarks.davis import DavisBenchmark
from followspot.errors import DatasetError
from followspot.io.masks import davis_palette
from followspot.tracking.identity import IdentityTracker


@pytest.fixture
def test_dev(davis_folder):
    """The small DAVIS with first annotations only."""
    for file in (davis_folder / "Annotations/480p").glob("*/*.png"):
        if file.stem != "00000":
            file.unlink()
    (davis_folder / "ImageSets/2017/test-dev.txt").write_text("slow\nfast\n")
    return DavisBenchmark(davis_folder, split="test-dev")


def test_f023_test_dev_is_packed_for_the_server(test_dev, tmp_path):
    assert isinstance(test_dev, Submission)
    assert test_dev.hidden
    results = tmp_path / "out"
    for name in test_dev.sequence_names:
        (results / name).mkdir(parents=True)
        test_dev.run(name, IdentityTracker(), results / name)
    test_dev.pack(results, tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        # The folders of sequences lie directly in the archive.
        assert archive.namelist() == [f"slow/{i:05d}.png" for i in range(11)] + [f"fast/{i:05d}.png" for i in range(7)]
        with Image.open(archive.open("fast/00003.png")) as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[:30] == davis_palette()[:30]
            np.testing.assert_array_equal(np.array(picture), np.array(Image.open(results / "fast/00003.png")))


def test_f023_a_missing_mask_is_named_and_leaves_no_archive(test_dev, results, tmp_path):
    (results / "fast/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"fast.00003\.png is missing"):
        test_dev.pack(results, tmp_path / "submission.zip")
    assert not (tmp_path / "submission.zip").exists()


def test_splits_with_truth_are_not_hidden(davis_folder):
    assert not DavisBenchmark(davis_folder, split="val").hidden
