"""F019: two pictures in each format become the same store: paths, keys, masks of 0 and 255."""

import json

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.targets import TargetStore
from followspot.io.masks import write_mask
from followspot.jobs.targets import FORMATS, make_targets

LEFT, TOP, RIGHT, BOTTOM = 20, 10, 60, 50
VID = "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
XML = (
    "<annotation><size><width>80</width><height>60</height></size><object><trackid>{track}</trackid><bndbox>"
    f"<xmin>{LEFT}</xmin><xmax>{RIGHT}</xmax><ymin>{TOP}</ymin><ymax>{BOTTOM}</ymax></bndbox></object></annotation>"
)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((60, 80, 3), 120, np.uint8)).save(path)


def ids(path, value):
    pixels = np.zeros((60, 80), np.uint8)
    pixels[TOP:BOTTOM, LEFT:RIGHT] = value
    write_mask(path, pixels)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def coco(root):
    square = [LEFT, TOP, RIGHT, TOP, RIGHT, BOTTOM, LEFT, BOTTOM]
    box = [LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP]
    document = {"images": [], "annotations": []}
    for number in (1, 2):
        picture(root / f"train2017/{number}.jpg")
        document["images"].append({"id": number, "file_name": f"{number}.jpg", "height": 60, "width": 80})
        document["annotations"].append({"image_id": number, "iscrowd": 0, "segmentation": [square], "bbox": box})
    text(root / "annotations/instances_train2017.json", json.dumps(document))


def youtube_vos(root):
    for frame in ("00000", "00005"):
        picture(root / f"train/JPEGImages/v/{frame}.jpg")
        ids(root / f"train/Annotations/v/{frame}.png", 2)
    objects = {"2": {"category": "cat", "frames": ["00000", "00005"]}}
    text(root / "train/meta.json", json.dumps({"videos": {"v": {"objects": objects}}}))


def davis(root):
    for frame in ("00000", "00001"):
        picture(root / f"JPEGImages/480p/v/{frame}.jpg")
        ids(root / f"Annotations/480p/v/{frame}.png", 3)


def vid(root):
    for frame in ("000000", "000007"):
        picture(root / f"Data/VID/train/{VID}/{frame}.JPEG")
        text(root / f"Annotations/VID/train/{VID}/{frame}.xml", XML.format(track=4))


def det(root):
    for name in ("n1/a", "n1/b"):
        picture(root / f"Data/DET/train/{name}.JPEG")
        text(root / f"Annotations/DET/train/{name}.xml", XML.format(track=""))


def yolo(root):
    for name in ("a", "b"):
        picture(root / f"images/{name}.jpg")
        corners = [(LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM)]
        text(root / f"labels/{name}.txt", "0 " + " ".join(f"{x / 80} {y / 60}" for x, y in corners))


TREES = {
    "coco": (coco, "coco", {"1": {"00": [0]}, "2": {"00": [0]}}),
    "youtube-vos": (youtube_vos, "ytb_vos", {"v": {"02": [0, 5]}}),
    "davis": (davis, "davis", {"v": {"03": [0, 1]}}),
    "vid": (vid, "vid", {VID: {"04": [0, 7]}}),
    "det": (det, "det", {"n1/a": {"00": [0]}, "n1/b": {"00": [0]}}),
    "yolo": (yolo, "yolo", {"a": {"00": [0]}, "b": {"00": [0]}}),
}


@pytest.mark.parametrize("name", TREES)
def test_f019_paths_keys_and_masks(tmp_path, name):
    build, dataset, expected = TREES[name]
    build(tmp_path / "source")
    out = tmp_path / "store"
    report = make_targets(FORMATS[name]([tmp_path / "source"]), out)
    assert (report.crops, report.left_out) == (2, {})
    index = json.loads((out / f"{dataset}.json").read_text())
    box = pytest.approx([LEFT, TOP, RIGHT, BOTTOM], abs=1e-3)
    assert index == {
        video: {track: {f"{frame:06d}": box for frame in frames} for track, frames in tracks.items()} for video, tracks in expected.items()
    }
    masked = name not in ("vid", "det")
    for video, tracks in expected.items():
        for track, frames in tracks.items():
            for frame in frames:
                stem = f"crop511/{dataset}/{video}/{frame:06d}.{track}"
                assert Image.open(out / f"{stem}.x.jpg").size == (511, 511)
                assert (out / f"{stem}.m.png").exists() == masked
                if masked:
                    mask = Image.open(out / f"{stem}.m.png")
                    assert (mask.mode, set(np.unique(mask))) == ("L", {0, 255})
    store = TargetStore(out)
    frame = store.targets[0].frames[0]
    left, top, right, bottom = frame.box
    assert not masked or store.mask(store.targets[0], frame).sum() == pytest.approx((right - left) * (bottom - top), rel=0.02)


def test_every_format_is_tried_that_reads_labels():
    assert set(FORMATS) - {"video"} == set(TREES)
