"""BADJA in both layouts, whole and broken."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from followspot.datasets.badja import JOINTS, LIMBS, BadjaDataset
from followspot.errors import DatasetError, FollowspotError
from followspot.io.masks import write_mask

_spec = importlib.util.spec_from_file_location("point_trees", Path(__file__).parents[1] / "point_trees.py")
point_trees = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(point_trees)


@pytest.fixture
def ours(tmp_path):
    point_trees.badja_ours(tmp_path)
    return tmp_path


@pytest.fixture
def official(tmp_path):
    point_trees.badja_official(tmp_path)
    return tmp_path


def test_our_layout(tmp_path):
    truth = point_trees.badja_ours(tmp_path)
    dataset = BadjaDataset(tmp_path)
    assert [sequence.name for sequence in dataset.sequences] == ["bear", "dog"]
    bear = dataset["bear"]
    assert (len(bear), bear.annotated, bear.joints) == (8, (2, 4, 7), tuple(JOINTS))
    assert np.isnan(bear.xy[[0, 1, 3, 5, 6]]).all()
    np.testing.assert_array_equal(np.argwhere(np.isnan(bear.xy[[2, 4, 7], :, 0])), [[0, 5], [1, 3]])
    np.testing.assert_allclose(bear.xy[7], truth["bear"][7])
    assert np.isnan(bear.areas()[3])
    assert bear.areas()[4] == (point_trees.video(0, points=20).masks(4) > 0).sum()


def test_the_official_layout(tmp_path):
    truth = point_trees.badja_official(tmp_path)
    (cow,) = BadjaDataset(tmp_path).sequences
    assert (cow.annotated, len(cow.joints)) == ((1, 3, 6), 20)
    places = list(JOINTS.values())
    np.testing.assert_array_equal(cow.xy[3], truth[3][places])  # rows and columns became x and y
    assert np.isnan(cow.xy[6, 0]).all()
    np.testing.assert_array_equal(cow.xy[6, 1:], truth[6][places[1:]])
    assert cow.areas()[[1, 3, 6]].min() > 0


def test_withheld_frames_are_asked_for_only_by_name(official):
    for split in ("all", "cow, tiger"):
        with pytest.raises(DatasetError, match=r"extra_videos/tiger holds no frame but .*tiger\.json annotates some; .*--split"):
            BadjaDataset(official, split=split)
    with pytest.raises(DatasetError, match="did you mean 'cow'"):
        BadjaDataset(official, split="cows")


def test_limbs_join_joints():
    assert {end for limb in LIMBS for end in limb} == set(range(len(JOINTS)))


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


FRAMES, MASKS = "davis/JPEGImages/480p/bear", "davis/Annotations/480p/bear"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: [path.unlink() for path in (root / FRAMES).iterdir()], "480p/bear holds no frame"),
        (lambda root: (root / FRAMES / "00003.png").unlink(), r"bear\.json annotates 7 but .* has frames 0 to 6; unpack the frames again"),
        (lambda root: (root / MASKS / "00004.png").unlink(), r"00004\.png is missing"),
        (
            lambda root: write_mask(root / MASKS / "00004.png", np.ones((9, 9), np.uint8)),
            r"00004\.png is 9x9 but the frame is 64x48; .*pixels",
        ),
        (lambda root: write_mask(root / MASKS / "00004.png", np.zeros(point_trees.SIZE, np.uint8)), r"00004\.png is empty"),
        (lambda root: change(root / "keypoints/bear.json", lambda d: d["xy"].pop()), r"bear\.json: lists 3 frames"),
        (
            lambda root: change(root / "keypoints/bear.json", lambda d: d.update(resolution=[100, 50])),
            "100x50, but the video's frames are 64x48",
        ),
        (lambda root: (root / "keypoints/bear.json").write_text("{"), r"bear\.json is not readable JSON"),
    ],
)
def test_a_broken_tree_of_ours_gives_one_error(ours, spoil, message):
    spoil(ours)
    with pytest.raises(DatasetError, match=message) as told:
        BadjaDataset(ours)["bear"].areas()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "DAVIS/JPEGImages/Full-Resolution/cow/00003.jpg").unlink(), r"00003\.jpg is missing but .*\(1 of 3 are\)"),
        (
            lambda root: change(root / "joint_annotations/cow.json", lambda d: d[1]["joints"].pop()),
            r"cow\.json\[1\] has 36 joints and 37 flags",
        ),
        (
            lambda root: change(root / "joint_annotations/cow.json", lambda d: d[1].pop("image_path")),
            r"cow\.json\[1\]\.image_path: expected",
        ),
        (lambda root: change(root / "joint_annotations/cow.json", lambda d: d.append(d[0])), "annotates a frame twice"),
        (lambda root: change(root / "joint_annotations/cow.json", lambda d: d.clear()), "annotates no frame"),
        (lambda root: (root / "joint_annotations/cow.json").write_text("{}"), r"cow\.json: expected a list"),
        (lambda root: (root / "joint_annotations/cow.json").write_text("[["), r"cow\.json is not readable JSON"),
    ],
)
def test_a_broken_official_tree_gives_one_error(official, spoil, message):
    spoil(official)
    with pytest.raises(FollowspotError, match=message) as told:
        BadjaDataset(official)
    assert "\n" not in str(told.value)


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no joint_annotations/\*\.json"):
        BadjaDataset(tmp_path)


def test_real_footage(shared_data):
    dataset = BadjaDataset(shared_data)
    assert [(len(s), len(s.annotated), int(np.isfinite(s.xy[..., 0]).sum())) for s in dataset.sequences] == [
        (82, 17, 300),
        (25, 5, 38),
        (60, 12, 210),
    ]
    assert dataset["dog-agility"].areas()[0] > 10_000
