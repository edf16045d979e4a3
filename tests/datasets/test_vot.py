"""F026: the reader of VOT in its three layouts, and one clear error for each way in which a tree can be broken."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.vot import VotDataset
from followspot.errors import DatasetError

POLYGON = "10,5,20,5,20,12,10,12"


def make_sequence(folder, *, frames=4, inner="color", line=POLYGON):
    images = folder / inner
    images.mkdir(parents=True)
    for number in range(1, frames + 1):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(images / f"{number:08d}.jpg")
    (folder / "groundtruth.txt").write_text("\n".join([line] * frames) + "\n")


@pytest.fixture
def vot(tmp_path):
    """ant (polygons, tags) and bag (rectangles, frames without ``color``) in a VOT2018 folder."""
    root = tmp_path / "VOT2018"
    make_sequence(root / "ant")
    make_sequence(root / "bag", inner="", line="1,2,10,20", frames=3)
    (root / "ant" / "occlusion.tag").write_text("0\n1\n1\n0\n")
    (root / "ant" / "camera_motion.tag").write_text("1\n")
    (root / "list.txt").write_text("bag\nant\n")
    return root


def test_f026_both_layouts_of_frames_both_kinds_of_lines_and_tags(vot):
    dataset = VotDataset(vot, year="2018")
    assert [sequence.name for sequence in dataset.sequences] == ["bag", "ant"]
    bag, ant = dataset.sequences
    assert bag.truth[2].tolist() == [1, 2, 10, 20]  # x, y, width, height
    assert ant.truth[0].tolist() == [10, 5, 20, 5, 20, 12, 10, 12]
    assert (len(bag), len(ant), ant.image_size(), ant.fps) == (3, 4, (30, 40), 30.0)
    assert bag.image_files[1] == vot / "bag" / "00000002.jpg"
    assert ant.image_files[1] == vot / "ant" / "color" / "00000002.jpg"
    assert {tag: values.tolist() for tag, values in ant.tags.items()} == {
        "camera_motion": [True, False, False, False],  # a file that stops early
        "occlusion": [False, True, True, False],
    }
    assert dict(bag.tags) == {}
    frame = ant.read_frame(2)
    assert (frame.index, frame.name, frame.image.shape, round(frame.time_seconds, 4)) == (2, "00000003", (30, 40, 3), 0.0667)
    assert abs(int(frame.image[0, 0, 0]) - 3) <= 2
    assert len(pickle.loads(pickle.dumps(dataset))["ant"]) == 4


def test_f026_metadata_json_of_pysot(vot):
    (vot / "list.txt").unlink()
    entries = {
        "ant": {
            "video_dir": "ant",
            "init_rect": [10, 5, 20, 5, 20, 12, 10, 12],
            "img_names": [f"ant/color/{number:08d}.jpg" for number in (1, 2, 3, 4)],
            "gt_rect": [[10, 5, 20, 5, 20, 12, 10, 12]] * 3 + [[float("nan")] * 8],
            "camera_motion": [],
            "occlusion": [0, 1, 1, 0],
        },
        "bag": {"img_names": [f"bag/{number:08d}.jpg" for number in (1, 2, 3)], "gt_rect": [[1, 2, 10, 20]] * 3},
    }
    for place in (vot / "VOT2018.json", vot.parent / "VOT2018.json"):
        place.write_text(json.dumps(entries))
        dataset = VotDataset(vot, year="2018")
        assert [len(sequence) for sequence in dataset.sequences] == [4, 3]
        assert dataset["ant"].truth[3] is None
        assert dataset["ant"].tags["occlusion"].tolist() == [False, True, True, False]
        assert list(dataset["ant"].tags) == ["occlusion"]
        place.unlink()


def test_the_json_says_the_same_as_the_folders(vot):
    folders = VotDataset(vot, year="2018")
    entries = {
        sequence.name: {
            "img_names": [str(file.relative_to(vot)) for file in sequence.image_files],
            "gt_rect": [region.tolist() for region in sequence.truth],
        }
        for sequence in folders.sequences
    }
    (vot / "list.txt").unlink()
    (vot / "VOT2018.json").write_text(json.dumps(entries))
    for one, other in zip(folders.sequences, VotDataset(vot, year="2018").sequences, strict=True):
        assert (one.name, one.image_files) == (other.name, other.image_files)
        np.testing.assert_array_equal(one.truth, other.truth)


def test_workspaces_of_the_toolkit_and_further_lists(vot, tmp_path):
    (vot / "ant" / "sequence").write_text("name=ant\nfps=25\nformat=default\nchannels.color=color/%08d.jpg\n")
    (vot / "short.txt").write_text("ant\n")
    assert VotDataset(vot.parent, year="2018")["ant"].fps == 25
    assert [sequence.name for sequence in VotDataset(vot, year="2018", split="short").sequences] == ["ant"]
    vot.rename(tmp_path / "sequences")
    assert len(VotDataset(tmp_path, year="2016")) == 2


def damage(vot, name, text):
    (vot / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("ant/color/00000003.jpg", None, r"ant/color/00000003\.jpg is missing \(1 of 4 frames are\); unpack the sequence again"),
        ("ant/groundtruth.txt", None, r"ant/groundtruth\.txt does not exist"),
        ("ant/groundtruth.txt", f"{POLYGON}\n" * 3, r"groundtruth\.txt has 3 lines but there is a frame 00000004\.jpg"),
        ("ant/groundtruth.txt", f"{POLYGON}\n" * 5, r"00000005\.jpg is missing \(1 of 5"),
        ("ant/groundtruth.txt", f"{POLYGON}\n1,2,3\n{POLYGON}\n{POLYGON}\n", r'groundtruth\.txt:2: "1,2,3" is no region'),
        ("ant/groundtruth.txt", "nan,nan,nan,nan\n" + f"{POLYGON}\n" * 3, "ant has no region in its first frame"),
        ("ant/occlusion.tag", "0\n1\nx\n0\n", r'occlusion\.tag:3: "x" is neither 0 nor 1'),
        ("ant/occlusion.tag", "0\n" * 5, r"occlusion\.tag has 5 lines but the sequence has 4 frames"),
        ("ant/sequence", "channels.color=color/frames.jpg\n", "is no pattern of frames"),
        ("ant/sequence", "fps=fast\n", 'fps "fast" is no frame rate'),
        ("list.txt", "ant\nbee\n", "bee is missing but listed"),
        ("list.txt", "ant\nant\n", r'list\.txt:2: "ant" is listed twice'),
        ("list.txt", "../ant\n", r'list\.txt:1: "\.\./ant" is not the name of a sequence'),
        ("list.txt", "\n", "lists no sequence"),
        ("list.txt", None, r"list\.txt is missing \(and there is no VOT2018\.json\)"),
    ],
)
def test_one_error_names_file_and_remedy(vot, name, text, told):
    (vot / name).unlink(missing_ok=True)
    if text is not None:
        damage(vot, name, text)
    with pytest.raises(DatasetError, match=told) as caught:
        VotDataset(vot, year="2018")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gt_rect": [[1, 2, 3]] * 4}, r"VOT2018\.json: ant\.gt_rect\[0\]: .* is no region"),
        ({"gt_rect": [[1, 2, 3, 4]] * 3}, r"ant: 4 img_names but 3 gt_rect"),
        ({"img_names": ["ant/color/00000009.jpg"] * 4}, r"00000009\.jpg is missing but VOT2018\.json lists it"),
        ({"img_names": 7}, r"ant\.img_names: expected a list"),
        ({"occlusion": [0, 2]}, r"ant\.occlusion: expected at most 4 times 0 or 1"),
    ],
)
def test_broken_metadata(vot, change, told):
    (vot / "list.txt").unlink()
    entry = {"img_names": [f"ant/color/{number:08d}.jpg" for number in (1, 2, 3, 4)], "gt_rect": [[1, 2, 3, 4]] * 4}
    damage(vot, "VOT2018.json", json.dumps({"ant": entry | change}))
    with pytest.raises(DatasetError, match=told):
        VotDataset(vot, year="2018")


def test_no_folder_and_no_such_sequence(vot, tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder; give the folder of VOT2019"):
        VotDataset(tmp_path / "nowhere", year="2019")
    with pytest.raises(DatasetError, match="VOT2018 has no sequence 'aunt'; did you mean 'ant'"):
        VotDataset(vot, year="2018")["aunt"]
    (vot / "ant/color/00000001.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        VotDataset(vot, year="2018")["ant"].image_size()


def test_a_frame_of_another_size_is_named(vot):
    Image.new("RGB", (9, 7)).save(vot / "ant/color/00000002.jpg")
    ant = VotDataset(vot, year="2018")["ant"]
    with pytest.raises(DatasetError, match=r"00000002\.jpg is 9x7 but the first frame of ant is 40x30; unpack the sequence again"):
        ant.read_frame(1)
