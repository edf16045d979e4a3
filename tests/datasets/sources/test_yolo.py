"""F019, photographs with polygons: YOLO's text files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from followspot.datasets.sources.yolo import parse_labels, read_yolo
from followspot.errors import DatasetError


@pytest.fixture
def folder(tmp_path, put_picture):
    """Two images of 80x60, with a quadrangle, a triangle, a box and lines that are nothing."""
    for name in ("a", "b"):
        put_picture(tmp_path / f"images/train/{name}.jpg")
    put_labels(tmp_path, "a", "45 0.25 0.5 0.5 0.5 0.5 1.0 0.25 1.0\n\n3 0.5 0 1 0 1 0.5\n")
    put_labels(tmp_path, "b", "7\n7 0.5 0.5\n0 0.5 0.5 0.25 0.5\n")
    return tmp_path


def put_labels(root, name, text):
    path = root / f"labels/train/{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_f019_polygons_and_boxes(folder, boxes_of):
    source = read_yolo([folder])
    assert (source.card.dataset, source.card.frame_range, source.card.still) == ("yolo", 1, True)
    shown, left_out = boxes_of(source)
    assert shown == {("train/a", 0, 0): (20, 30, 40, 60), ("train/a", 1, 0): (40, 0, 80, 30), ("train/b", 2, 0): (30, 15, 50, 45)}
    assert left_out == {"lines without a polygon": 2}
    square, triangle = next(iter(source.videos[0].read())).objects
    expected = np.zeros((60, 80), bool)
    expected[30:60, 20:40] = True
    np.testing.assert_array_equal(square.mask, expected)
    # Pixels whose centre lies below the diagonal from (40, 0) to (80, 30), counted one by one.
    inside = [(x, y) for y in range(60) for x in range(80) if x > 40 and (y + 0.5) < (x + 0.5 - 40) * 0.75]
    assert triangle.mask.sum() == pytest.approx(len(inside), abs=20)
    assert next(iter([*source.videos[1].read()][2:])).objects[0].mask is None


def test_images_without_labels_and_labels_without_images(folder, put_picture, boxes_of):
    put_picture(folder / "images/train/none.jpg")
    put_labels(folder, "lost", "1 0 0 1 0 1 1\n")
    source = read_yolo([folder])
    assert [video.name for video in source.videos] == ["train/a", "train/b"]
    assert boxes_of(source)[1] == {"label files without an image": 1, "lines without a polygon": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 0 0 1 x 1 1", "line 1: could not convert string to float: 'x'; expected class x1 y1"),
        ("\n1 0 0 1 1 1", "line 2 has 5 coordinates after the class, which is odd"),
        ("1 0 0 100 0 100 50", "line 1 holds coordinates outside of 0..1; divide x by the width"),
        ("1 0 0 nan 0 1 1", "outside of 0..1"),
        ("cat 0 0 1 0 1 1", "could not convert string to float: 'cat'"),
    ],
)
def test_wrong_lines_are_told(text, told):
    with pytest.raises(DatasetError, match=told):
        parse_labels(text, "a.txt")


@given(st.text(alphabet=" 0123456789.-ena\n\t", max_size=80))
def test_any_text_is_read_or_refused(text):
    told = ""
    try:
        shapes = parse_labels(text, "a.txt")
    except DatasetError as error:
        told = str(error)
    if told:
        assert told.startswith("a.txt line ")
    else:
        assert len(shapes) == sum(bool(line.strip()) for line in text.splitlines())
        assert all(shape.shape[1] == 2 and len(shape) != 1 and ((shape >= 0) & (shape <= 1)).all() for shape in shapes)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=20))
def test_polygons_are_read_as_they_were_written(corners):
    line = "3 " + " ".join(f"{x!r} {y!r}" for x, y in corners)
    np.testing.assert_array_equal(parse_labels(line, "a.txt")[0], corners)


def test_folders_that_cannot_be_read_are_told(folder, tmp_path):
    with pytest.raises(DatasetError, match="has no folder images"):
        read_yolo([folder / "images"])
    with pytest.raises(DatasetError, match=r"is no folder, expected one with images and labels; did you mean .*images"):
        read_yolo([folder / "imagse"])
    with pytest.raises(DatasetError, match="2 sources were given"):
        read_yolo([folder, folder])
    for file in (folder / "labels/train").iterdir():
        file.rename(file.with_name(f"other_{file.name}"))
    with pytest.raises(DatasetError, match="2 images and 2 label files, but no two of one name"):
        read_yolo([folder])


def test_a_damaged_image_is_told(folder, boxes_of):
    (folder / "images/train/a.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a.jpg cannot be read as an image"):
        boxes_of(read_yolo([folder]))


def test_labels_that_are_no_text_are_told(folder, boxes_of):
    (folder / "labels/train/a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"a.txt cannot be read as text"):
        boxes_of(read_yolo([folder]))


def test_f019_real_photographs(shared_data, boxes_of):
    folder = shared_data / "instances" / "coco128-seg"
    if not folder.is_dir():
        pytest.skip("coco128-seg is not on this machine")
    source = read_yolo([folder])
    assert len(source.videos) == 126
    assert source.left_out == {"label files without an image": 2}
    for found in source.videos[0].read():
        for thing in found.objects:
            rows, columns = np.nonzero(thing.mask)
            left, top, right, bottom = thing.box
            assert np.abs([columns.min() - left, rows.min() - top, columns.max() + 1 - right, rows.max() + 1 - bottom]).max() < 1.5
