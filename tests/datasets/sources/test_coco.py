"""F019, COCO instances."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from followspot.datasets.sources.coco import read_coco_instances
from followspot.errors import DatasetError

SQUARE = [10, 20, 40, 20, 40, 50, 10, 50]
IMAGES = [
    {"id": 7, "file_name": "000000000007.jpg", "height": 60, "width": 80},
    {"id": 9, "file_name": "000000000009.jpg", "height": 60, "width": 80},
]


def column_runs(mask):
    """COCO's plain run lengths, counted pixel by pixel down the columns."""
    runs, value = [0], False
    for pixel in np.asarray(mask).T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@pytest.fixture
def coco(tmp_path, put_picture):
    """Two images: polygons and a crowd, and run lengths."""
    for image in IMAGES:
        put_picture(tmp_path / "train2017" / image["file_name"])
    mask = np.zeros((60, 80), bool)
    mask[5:30, 50:75] = True
    two = [[0, 0, 5, 0, 5, 5, 0, 5], [60, 40, 80, 40, 80, 60, 60, 60]]
    put(
        tmp_path,
        [
            {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": [SQUARE], "bbox": [10, 20, 30, 30]},
            {"id": 2, "image_id": 7, "category_id": 1, "iscrowd": 1, "segmentation": {"size": [60, 80], "counts": [0, 4800]}},
            {"id": 3, "image_id": 7, "category_id": 2, "iscrowd": 0, "segmentation": two, "bbox": [0, 0, 80, 60]},
            {"id": 4, "image_id": 9, "category_id": 2, "segmentation": {"size": [60, 80], "counts": column_runs(mask)}},
            {"id": 5, "image_id": 9, "category_id": 2, "segmentation": [], "bbox": [1, 2, 30, 40]},
        ],
    )
    return tmp_path


def put(root, annotations, *, images=IMAGES, name="instances_train2017"):
    path = root / f"annotations/{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}))
    return path


def test_f019_polygons_run_lengths_and_crowds(coco, boxes_of):
    source = read_coco_instances([coco])
    assert (source.card.dataset, source.card.frame_range, source.card.still) == ("coco", 1, True)
    shown, left_out = boxes_of(source)
    assert shown == {
        ("000000000007", 0, 0): (10, 20, 40, 50),
        ("000000000007", 1, 0): (0, 0, 80, 60),
        ("000000000009", 0, 0): (50, 5, 75, 30),
        ("000000000009", 1, 0): (1, 2, 31, 42),
    }
    assert left_out == {"crowds": 1}
    masks = [thing.mask for video in source.videos for found in list(video.read())[-1:] for thing in found.objects]
    assert [None if mask is None else int(mask.sum()) for mask in masks] == [900, 25 + 400, 625, None]
    assert masks[0][20:50, 10:40].all()
    assert masks[2][5:30, 50:75].all()


def test_f019_the_file_and_its_images_may_lie_anywhere(coco, boxes_of):
    listing = coco / "annotations/instances_train2017.json"
    shown, _ = boxes_of(read_coco_instances([listing]))
    (coco / "images").mkdir()
    (coco / "train2017").rename(coco / "images/train2017")
    assert boxes_of(read_coco_instances([listing]))[0] == shown
    (coco / "images/train2017").rename(coco / "elsewhere")
    assert boxes_of(read_coco_instances([listing, coco / "elsewhere"]))[0] == shown
    with pytest.raises(DatasetError, match=r"000000000007.jpg, the first image of .* is neither in .*; give its folder after the file"):
        read_coco_instances([listing])


def test_empty_polygons_are_counted(coco, boxes_of):
    empty = [[], [[]], [[1, 2, 3, 4]], [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]]
    put(coco, [{"image_id": 7, "segmentation": value} for value in empty] + [{"image_id": 7, "segmentation": [SQUARE]}])
    assert boxes_of(read_coco_instances([coco])) == ({("000000000007", 4, 0): (10, 20, 40, 50)}, {"empty polygons": 4})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_id": 8}, "image 8 is not among the file's images"),
        ({"segmentation": {"size": [50, 80], "counts": [0, 4000]}}, "the mask is 80x50, but its image 80x60"),
        ({"segmentation": {"size": [60, 80], "counts": [0, 4000]}}, "run lengths cover 4000 pixels"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "a polygon is x1,y1,x2,y2"),
        ({"segmentation": "x"}, "expected a list"),
        ({"bbox": [1, 2, 3]}, "has 3 numbers, expected 4"),
    ],
)
def test_wrong_annotations_are_told(coco, boxes_of, change, told):
    put(coco, [{"image_id": 7, "segmentation": [SQUARE], "bbox": [10, 20, 30, 30]} | change])
    with pytest.raises(DatasetError, match=told):
        boxes_of(read_coco_instances([coco]))


def test_wrong_files_are_told(coco, boxes_of, put_picture):
    put_picture(coco / "train2017/000000000009.jpg", height=50)
    with pytest.raises(DatasetError, match=r"000000000009.jpg is 80x50, but annotated as 80x60"):
        boxes_of(read_coco_instances([coco]))
    (coco / "train2017/000000000009.jpg").unlink()
    with pytest.raises(DatasetError, match=r"000000000009.jpg is missing, though it is annotated"):
        boxes_of(read_coco_instances([coco]))
    put(coco, [], images=[*IMAGES, IMAGES[0] | {"id": 3}])
    with pytest.raises(DatasetError, match="several images are called 000000000007"):
        read_coco_instances([coco])
    put(coco, [], images=[{"id": 1, "file_name": "../a.jpg"}])
    with pytest.raises(DatasetError, match="leads out of the folder"):
        read_coco_instances([coco])
    put(coco, [])
    with pytest.raises(DatasetError, match="annotates none of its 2 images"):
        read_coco_instances([coco])
    put(coco, [], name="instances_val2017")
    with pytest.raises(DatasetError, match=r"holds instances_train2017.json, instances_val2017.json; give one"):
        read_coco_instances([coco])
    with pytest.raises(DatasetError, match=r"annotations holds no instances"):
        read_coco_instances([coco / "train2017"])
    with pytest.raises(DatasetError, match="does not exist"):
        read_coco_instances([coco / "nothing.json"])
    with pytest.raises(DatasetError, match="expected one instances"):
        read_coco_instances([coco, coco, coco])
    (coco / "annotations/instances_train2017.json").write_text("[]")
    with pytest.raises(DatasetError, match="expected an object"):
        read_coco_instances([coco / "annotations/instances_train2017.json"])


def test_pictures_that_cameras_note_as_turned(coco, boxes_of):
    turned = Image.Exif()
    turned[0x0112] = 6
    path = coco / "train2017/000000000009.jpg"
    Image.open(path).save(path, exif=turned)
    assert ("000000000009", 0, 0) in boxes_of(read_coco_instances([coco]))[0]


@given(st.integers(0, 2**63), st.integers(1, 12), st.integers(1, 12))
def test_runs_are_read_as_they_were_counted(bits, height, width):
    from followspot.io.coco import decode_region

    mask = np.array([(bits >> place) & 1 for place in range(height * width)], bool).reshape(height, width)
    coded = {"size": [height, width], "counts": column_runs(mask)}
    np.testing.assert_array_equal(decode_region(coded, (height, width), "a.json"), mask)
