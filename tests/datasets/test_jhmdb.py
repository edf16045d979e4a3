"""JHMDB in its documented layout, whole and broken (F025)."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from followspot.datasets.jhmdb import JOINTS, LIMBS, JhmdbDataset, _entry
from followspot.errors import DatasetError, FollowspotError

_spec = importlib.util.spec_from_file_location("point_trees", Path(__file__).parents[1] / "point_trees.py")
point_trees = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(point_trees)
ONE, TWO = point_trees.CLIPS[0], "jump/two_(1)!"


@pytest.fixture
def root(tmp_path):
    point_trees.jhmdb(tmp_path)
    return tmp_path


def line(name, *, mat_first, prefix="/data/JHMDB/"):
    mat, folder = f"{prefix}joint_positions/{name}/joint_positions.mat", f"{prefix}Rename_Images/{name}/"
    return f"{mat} {folder}" if mat_first else f"{folder} {mat}"


def test_f025_positions_are_counted_from_0(tmp_path):
    truth = point_trees.jhmdb(tmp_path)
    dataset = JhmdbDataset(tmp_path)
    assert [clip.name for clip in dataset.clips] == list(point_trees.CLIPS)
    for clip in dataset.clips:
        np.testing.assert_allclose(clip.joints, truth[clip.name], atol=1e-9)
        assert clip.joints.shape == (len(clip), len(JOINTS), 2)
        with clip.open() as video:
            assert [frame.name for frame in video] == [f"{number:05d}" for number in range(1, len(clip) + 1)]
            assert (video.height, video.width) == point_trees.SIZE
    assert max(end for limb in LIMBS for end in limb) == len(JOINTS) - 1


def test_f025_both_orders_of_columns_give_the_same_clips(root):
    for name, mat_first in (("mat_dir", True), ("dir_mat", False)):
        (root / f"{name}.txt").write_text(f"{line(ONE, mat_first=mat_first)}\n\n")
    mixed = "\n".join([line(ONE, mat_first=True, prefix=""), ""])
    (root / "testlist_own.txt").write_text(mixed)
    found = [JhmdbDataset(root, split=split) for split in ("mat_dir", "dir_mat", "own", str(root / "mat_dir.txt"))]
    for dataset in found[1:]:
        assert dataset.clips == found[0].clips
        np.testing.assert_array_equal(dataset.clips[0].joints, found[0].clips[0].joints)
        assert dataset.clips[0].image_files == found[0].clips[0].image_files


@given(
    action=st.text("abc_", min_size=1, max_size=5),
    clip=st.text("xyz+#&!()_-", min_size=1, max_size=9),
    prefix=st.sampled_from(["", "/data/", "../JHMDB/"]),
    mat_first=st.booleans(),
)
def test_lines_of_any_names(action, clip, prefix, mat_first):
    name = f"{action}/{clip}"
    assert _entry(line(name, mat_first=mat_first, prefix=prefix), "list:1") == name


def test_all_clips_and_those_of_the_datasets_own_lists(root):
    assert [clip.name for clip in JhmdbDataset(root, split="all").clips] == list(point_trees.CLIPS)
    assert pickle.loads(pickle.dumps(JhmdbDataset(root)))[ONE].name == ONE
    with pytest.raises(DatasetError, match="did you mean 'brush_hair/one'"):
        JhmdbDataset(root)["brush_hair/on"]


def read_all(root):
    (clip,) = JhmdbDataset(root, split="mine").clips
    return list(clip.open())


def put(root, text):
    (root / "mine.txt").write_text(text + "\n")


def drop(path):
    path.unlink()


def mat(root, **fields):
    savemat(root / "joint_positions" / ONE / "joint_positions.mat", fields)


IMAGES, JOINTS_OF = f"Rename_Images/{ONE}", f"joint_positions/{ONE}/joint_positions.mat"
GOOD = line(ONE, mat_first=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: drop(root / IMAGES / "00003.png"), r"00003\.png is missing \(1 of 8 annotated frames are\); unpack the clip again"),
        (
            lambda root: point_trees.save(root / IMAGES / "00009.png", np.zeros((48, 64, 3), np.uint8)),
            r"00009\.png is not annotated: .* has 8 frames",
        ),
        (lambda root: point_trees.save(root / IMAGES / "00002.png", np.zeros((9, 9, 3), np.uint8)), r"00002\.png of .* is 9x9.*resize"),
        (lambda root: (root / IMAGES / "00002.png").write_bytes(b"no"), r"00002\.png cannot be read as an image"),
        (lambda root: drop(root / JOINTS_OF), r"joint_positions\.mat is missing but mine lists 'brush_hair/one'; unpack joint_positions"),
        (
            lambda root: (root / JOINTS_OF).write_bytes(b"MATLAB 5.0" + bytes(300)),
            r"joint_positions\.mat cannot be read .*; unpack it again",
        ),
        (lambda root: (root / JOINTS_OF).write_bytes(b""), r"joint_positions\.mat cannot be read .*; unpack it again"),
        (lambda root: mat(root, pos_world=np.zeros(3)), "holds no pos_img"),
        (lambda root: mat(root, pos_img=np.zeros((2, 14, 8))), r"pos_img is \(2, 14, 8\), expected \(2, 15, frames\)"),
        (lambda root: mat(root, pos_img=np.full((2, 15, 8), np.nan)), "finite numbers"),
        (lambda root: put(root, GOOD + "\nonly_one_entry"), r"mine\.txt:2: expected a joint_positions\.mat and a folder.*'only_one_entry'"),
        (lambda root: put(root, f"{GOOD} more"), r"mine\.txt:1: expected"),
        (lambda root: put(root, "a/b/c.mat d/e/f.mat"), r"mine\.txt:1: expected"),
        (lambda root: put(root, f"x/{ONE}/j.mat y/jump/other"), r"mine\.txt:1 joins two clips, brush_hair/one and jump/other"),
        (lambda root: put(root, f"{GOOD}\n{GOOD}"), r"mine\.txt:2: clip 'brush_hair/one' is listed twice"),
        (lambda root: put(root, line("jump/three", mat_first=False)), r"jump/three is missing but mine lists 'jump/three'"),
        (lambda root: put(root, ""), "names no clip"),
        (lambda root: drop(root / "mine.txt"), "no list 'mine' in .*: there are split1, all"),
    ],
)
def test_a_broken_tree_gives_one_error(root, spoil, message):
    put(root, GOOD)
    spoil(root)
    with pytest.raises(FollowspotError, match=message) as told:
        read_all(root)
    assert "\n" not in str(told.value)


def test_bad_lines_of_the_datasets_own_lists(root):
    (root / "splits" / "jump_test_split1.txt").write_text("two (1)!.avi 2\nfoo 7\n")
    with pytest.raises(DatasetError, match=r'jump_test_split1\.txt:2: expected "<clip>\.avi 1"'):
        JhmdbDataset(root)
    with pytest.raises(DatasetError, match="has no folder Rename_Images"):
        JhmdbDataset(root / "splits")
