"""TAP-Vid as published and unpacked, whole and broken."""

import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from followspot.datasets.tapvid import TapvidDataset, unpack
from followspot.errors import DatasetError, FollowspotError

_spec = importlib.util.spec_from_file_location("point_trees", Path(__file__).parents[1] / "point_trees.py")
point_trees = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(point_trees)


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "tapvid_davis.pkl"
    point_trees.tapvid(path)
    return path


def test_arrays_and_jpeg_files(tmp_path):
    path = tmp_path / "davis.pkl"
    entries = point_trees.tapvid(path)
    dataset = TapvidDataset(path)
    assert dataset.names == ("goat", "car")
    for name, entry in entries.items():
        sequence = dataset[name]
        np.testing.assert_array_equal(sequence.occluded, entry["occluded"])
        np.testing.assert_allclose(sequence.points, entry["points"])
        frames = [frame.image for frame in sequence.open()]
        assert len(frames) == len(sequence) == point_trees.FRAMES
        assert all(image.flags.writeable for image in frames)
    np.testing.assert_array_equal([frame.image for frame in dataset["goat"].open()], entries["goat"]["video"])
    drawn = np.stack([frame.image for frame in point_trees.video(6, points=6)]).astype(int)
    assert np.abs(np.stack([frame.image for frame in dataset["car"].open()]) - drawn).mean() < 10


def test_pixels_are_centres(published):
    source = point_trees.video(5, points=6)
    xy, _ = point_trees.positions(source)
    sequence = TapvidDataset(published)["goat"]
    np.testing.assert_allclose(sequence.pixels(point_trees.SIZE), xy.transpose(1, 0, 2), atol=1e-4)


def test_lists_and_several_files(tmp_path):
    entry = point_trees.tapvid_entry(1)
    for name in ("0000_of_0002", "0001_of_0002"):
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps([entry, entry]))
    names = TapvidDataset(tmp_path).names
    assert names == ("0000_of_0002/00000", "0000_of_0002/00001", "0001_of_0002/00000", "0001_of_0002/00001")
    assert TapvidDataset(tmp_path / "0000_of_0002.pkl").names == ("00000", "00001")


def test_unpacked_is_the_same(published, tmp_path):
    packed, folder = TapvidDataset(published), tmp_path / "unpacked"
    assert unpack(published, folder) == 2
    unpacked = TapvidDataset(folder)
    assert sorted(unpacked.names) == sorted(packed.names)
    assert (folder / "car/00000.jpg").is_file()
    assert (folder / "goat/00000.png").is_file()
    for name in packed.names:
        np.testing.assert_array_equal(unpacked[name].points, packed[name].points)
        np.testing.assert_array_equal(unpacked[name].occluded, packed[name].occluded)
        for one, other in zip(packed[name].open(), unpacked[name].open(), strict=True):
            np.testing.assert_array_equal(one.image, other.image)
    with pytest.raises(DatasetError, match="unpacked already"):
        unpack(folder, tmp_path / "again")


def test_what_was_read_does_not_travel(published):
    dataset = TapvidDataset(published)
    assert len(dataset) == 2
    again = pickle.dumps(dataset)
    assert len(again) < 1000
    assert pickle.loads(again).names == dataset.names


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_hostile_pickles_are_refused(tmp_path):
    entry = point_trees.tapvid_entry(1) | {"points": Hostile(f"touch {tmp_path / 'run'}")}
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"goat": entry}))
    with pytest.raises(DatasetError, match=r"bad\.pkl: holds posix\.system, which is no array and is never run"):
        TapvidDataset(tmp_path / "bad.pkl")["goat"]
    assert not (tmp_path / "run").exists()


def without(entry, name):
    return {key: value for key, value in entry.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: without(e, "occluded"), "has not the three fields"),
        (lambda e: e | {"video": e["video"][:-1]}, r"points are \(6, 8, 2\) .* for 7 frames.*a frame is missing"),
        (lambda e: e | {"video": e["video"][..., 0]}, r"the video is \(8, 48, 64\), expected \(T, H, W, 3\) uint8"),
        (lambda e: e | {"video": []}, "the video is list"),
        (lambda e: e | {"points": e["points"] * 256}, "outside 0..1.*divide"),
        (lambda e: e | {"occluded": e["occluded"][:-1]}, r"occluded \(5, 8\)"),
        (lambda e: e | {"points": "none"}, "no numbers"),
        (lambda e: e | {"video": [b"no image"] * 8}, "frame 0 is no image"),
        (lambda e: e | {"video": [point_trees.as_jpeg(f) for f in e["video"][:7]] + [b"no"]}, "frame 7 is no image"),
        (lambda e: [e, e], "has not the three fields"),
    ],
)
def test_a_broken_file_gives_one_error(tmp_path, spoil, message):
    (tmp_path / "davis.pkl").write_bytes(pickle.dumps({"goat": spoil(point_trees.tapvid_entry(1))}))
    with pytest.raises(DatasetError, match=message) as told:
        list(TapvidDataset(tmp_path / "davis.pkl")["goat"].open())
    assert "davis.pkl: goat" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "00003.png").unlink(), r"points\.npz: points are \(6, 8, 2\) .* for 7 frames"),
        (lambda folder: (folder / "00003.png").write_bytes(b"no"), r"00003\.png cannot be read as an image"),
        (lambda folder: (folder / "points.npz").write_bytes(b"no"), r"points\.npz cannot be read"),
        (lambda folder: np.savez(folder / "points.npz", points=np.zeros((6, 8, 2))), "occluded"),
        (lambda folder: np.savez(folder / "points.npz", points=np.array([{}]), occluded=np.zeros(1)), r"points\.npz cannot be read"),
        (lambda folder: point_trees.save(folder / "00003.png", np.zeros((9, 9, 3), np.uint8)), r"00003\.png of goat is 9x9"),
    ],
)
def test_a_broken_folder_gives_one_error(published, tmp_path, spoil, message):
    unpack(published, tmp_path / "all")
    spoil(tmp_path / "all/goat")
    with pytest.raises(FollowspotError, match=message):
        list(TapvidDataset(tmp_path / "all")["goat"].open())


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="holds neither"):
        TapvidDataset(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(point_trees.tapvid_entry(1)))
    with pytest.raises(DatasetError, match="holds a dict, expected a dict or list of videos"):
        TapvidDataset(tmp_path).names  # noqa: B018
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"goat": point_trees.tapvid_entry(1)}))
    with pytest.raises(DatasetError, match="did you mean 'goat'"):
        TapvidDataset(tmp_path)["gota"]
