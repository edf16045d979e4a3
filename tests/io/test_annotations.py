import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError
from followspot.io.annotations import check_inside, parse_box, parse_colour, parse_point, read_annotation, write_mask
from followspot.types import Boxes, Keypoints, LabelMaps, Masks, Points

NAMES = st.text(min_size=1, max_size=10).map(str.strip).filter(bool)
NUMBERS = st.floats(-1e6, 1e6)


@settings(deadline=None, max_examples=60)
@given(NAMES, NUMBERS, NUMBERS)
def test_points_read_back(name, x, y):
    point = parse_point(f" {name} = {x!r} ,{y!r} ")
    assert point.names == (name,)
    assert point.xy.tolist() == [[x, y]]
    assert parse_point(f"{x!r},{y!r}", default_name="here").names == ("here",)


@settings(deadline=None, max_examples=60)
@given(NAMES, NUMBERS, NUMBERS, st.floats(0.1, 1e3), st.floats(0.1, 1e3))
def test_boxes_read_back(name, x, y, width, height):
    box = parse_box(f"{name}={x!r}, {y!r}, {x + width!r}, {y + height!r}")
    assert box.names == (name,)
    assert box.xyxy.tolist() == [[x, y, x + width, y + height]]


@settings(deadline=None, max_examples=60)
@given(NAMES, st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_read_back(name, colour):
    code = "".join(f"{channel:02x}" for channel in colour)
    assert parse_colour(f"{name}=#{code}") == parse_colour(f" {name} = {code.upper()}") == (name, colour)


def test_short_forms():
    assert parse_box("120,80,340,260").names == ("box 1",)
    assert parse_point("1e1,-2.5").xy.tolist() == [[10, -2.5]]
    assert parse_colour("a=b=#f80") == ("a=b", (255, 136, 0))


TEXTS = st.text(max_size=20) | st.text(alphabet="=,.-#0123456789abenif ", max_size=30)


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_garbage_raises_one_line_with_an_example(text):
    for parse, example in ((parse_box, "cat=120,80,340,260"), (parse_point, "nose=123,45"), (parse_colour, "cat=#ff0000")):
        try:
            parse(text)
        except AnnotationError as error:
            message = str(error)
        else:
            continue
        assert example in message
        assert len(message.splitlines()) == 1
        parse(example)


@pytest.mark.parametrize(
    "text", ["", "cat", "cat=", "=1,2,3,4", "1,2,3", "1,2,3,4,5", "cat=1,2,3,x", "1,2,nan,4", "1,2,inf,4", "1,2,1e99,4", "3,3,1,4"]
)
def test_wrong_boxes(text):
    with pytest.raises(AnnotationError, match=r"write name=left,top,right,bottom in pixels, for example cat=120,80,340,260"):
        parse_box(text)


@pytest.mark.parametrize("text", ["", "cat=red", "#ff0000", "=#ff0000", "cat=#ff00", "cat=#gg0000", "cat"])
def test_wrong_colours(text):
    with pytest.raises(AnnotationError, match="write name=#rrggbb"):
        parse_colour(text)


def inside(annotation):
    return check_inside(annotation, height=480, width=854, source="--box")


def test_boxes_are_cut_at_the_edge_or_refused():
    both = Boxes(xyxy=np.array([[-5.0, 10, 900, 500], [1, 2, 3, 4]]), names=("cat", "dog"))
    cut = inside(both)
    assert cut.xyxy.tolist() == [[0, 10, 854, 480], [1, 2, 3, 4]]
    assert cut.names == both.names
    assert both.xyxy[0, 0] == -5
    for outside in ("cat=854,0,900,10", "cat=-9,-9,0,0", "cat=0,480,10,490"):
        with pytest.raises(AnnotationError, match=r"--box: box 'cat' = .* lies outside the 854x480 image"):
            inside(parse_box(outside))


def test_points_and_joints_must_lie_inside():
    for text in ("-0.5,-0.5", "853.5,479.5", "0,0"):
        assert inside(parse_point(text)).xy.shape == (1, 2)
    for text in ("-0.6,0", "0,-1", "854,0", "0,479.6"):
        with pytest.raises(AnnotationError, match=r"point 'point 1' = .* lies outside the 854x480 image"):
            inside(parse_point(text))
    dog = Keypoints(xy=np.array([[1.0, 2], [np.nan, np.nan]]), joints=("nose", "tail"))
    assert inside(dog) is dog
    with pytest.raises(AnnotationError, match="point 'tail' = 1,999 lies outside"):
        inside(Keypoints(xy=np.array([[1.0, 2], [1, 999]]), joints=("nose", "tail")))
    with pytest.raises(AnnotationError, match="no joint is annotated"):
        inside(Keypoints(xy=np.full((2, 2), np.nan), joints=("nose", "tail")))


def test_masks_and_maps_must_have_the_size():
    assert inside(Masks(ids=np.ones((480, 854), np.uint8))).ids.shape == (480, 854)
    for wrong in (Masks(ids=np.ones((854, 480), np.uint8)), LabelMaps(weights=np.ones((1, 854, 480), np.float32), names=("a",))):
        with pytest.raises(AnnotationError, match="--box is 480x854, but the video's frames are 854x480"):
            inside(wrong)


def test_one_entry_finds_the_frame(tmp_path):
    names = ["frame_a", "frame_b", "frame_c"]
    ids = np.eye(6, 8, dtype=np.uint8)
    write_mask(tmp_path / "frame_b.png", ids)
    write_mask(tmp_path / "first.png", ids)
    np.save(tmp_path / "frame_c.npy", np.ones((6, 8)))
    assert list(read_annotation(tmp_path / "frame_b.png", size=(6, 8), frame_names=names)) == [1]
    assert list(read_annotation(tmp_path / "frame_b.png")) == [None]
    assert list(read_annotation(tmp_path / "first.png", frame_names=names)) == [None]
    assert list(read_annotation(tmp_path / "frame_c.npy", frame_names=names)) == [2]
    with pytest.raises(AnnotationError, match="is 8x6, but the video's frames are 9x6"):
        read_annotation(tmp_path / "frame_c.npy", size=(6, 9))
    with pytest.raises(AnnotationError, match="did you mean"):
        read_annotation(tmp_path / "frst.png")


def write_json(path, document):
    path.write_text(json.dumps(document))
    return path


def test_one_entry_tells_json_kinds_apart(tmp_path):
    names = ["frame_a", "frame_b"]
    drawn = {"shapes": [{"label": "c", "points": [[1, 1]], "shape_type": "point"}], "imageHeight": 6, "imageWidth": 8}
    (point,) = read_annotation(write_json(tmp_path / "frame_b.json", drawn), frame_names=names)[1]
    assert isinstance(point, Points)
    box = {"image_id": 5, "category_id": 1, "bbox": [-1, 0, 2, 2]}
    images = [{"id": 5, "file_name": "frame_b.jpg"}, {"id": 6, "file_name": "else.jpg"}]
    coco = {"images": images, "categories": [{"id": 1, "name": "c"}], "annotations": [box, box | {"image_id": 6}]}
    path = write_json(tmp_path / "coco.json", coco)
    assert list(read_annotation(path)) == ["frame_b", "else"]
    found = read_annotation(path, frame_names=names, size=(6, 8))
    assert found[1][0].xyxy.tolist() == [[0, 0, 1, 2]]
    assert list(found) == [1]
    joints = {"objects": [{"name": "d", "joints": {"n": [1, 2]}}, {"name": "e", "joints": {"n": [1, 2]}, "frame": 1}]}
    path = write_json(tmp_path / "joints.json", joints)
    assert list(read_annotation(path, frame_names=names)) == [None, 1]
    with pytest.raises(AnnotationError, match="annotates frame 1, but the video has 1 frames"):
        read_annotation(path, frame_names=names[:1])
    with pytest.raises(AnnotationError, match="lies outside the 8x2 image"):
        read_annotation(path, size=(2, 8))
    with pytest.raises(AnnotationError, match=r"no known kind \(its fields: foo\)"):
        read_annotation(write_json(tmp_path / "other.json", {"foo": 1}))


def test_real_masks_by_name(shared_data):
    folder = shared_data / "multi/schoolgirls/schoolgirls_mask"
    names = sorted(path.stem for path in folder.glob("*.png"))
    found = read_annotation(folder / f"{names[5]}.png", size=(240, 432), frame_names=names)
    assert list(found) == [5]
    assert found[5][0].ids.max() == 7


def test_importing_is_cheap():
    code = (
        "import sys, followspot.io.annotations, followspot.io.export; print([m for m in ('cv2', 'PIL', 'torch', 'av') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
