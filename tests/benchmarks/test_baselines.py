import numpy as np
import pytest
from PIL import Image

from followspot.benchmarks.baselines import identity
from followspot.benchmarks.davis import evaluate
from followspot.datasets.davis import DavisDataset


def test_identity_repeats_the_first_annotation(davis_folder, tmp_path):
    sequence = DavisDataset(davis_folder, split="val")["slow"]
    identity(sequence, tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [file.stem for file in files] == list(sequence.frame_names)
    for file in files:
        picture = Image.open(file)
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), sequence.read_mask(0))


def test_identity_scores_the_formula_of_a_moving_square(davis_folder, tmp_path):
    # Object 1 of "slow" is 25 pixels wide and moves one pixel a frame, so J of frame t is (25 - t) / (25 + t).
    report = evaluate(DavisDataset(davis_folder, split="val"), identity, tmp_path, workers=1)
    row = next(row for row in report.rows if (row.sequence, row.object_id) == ("slow", 1))
    expected = [(25 - t) / (25 + t) for t in range(1, 10)]
    assert row.frames == 9
    assert row.j.mean == pytest.approx(sum(expected) / 9, abs=1e-12)
