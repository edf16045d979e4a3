import base64
import io
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from followspot.errors import AnnotationError
from followspot.io.annotations import read_annotation
from followspot.io.coco import read_coco
from followspot.io.keypoints import read_keypoints
from followspot.io.labelme import read_labelme
from followspot.io.raster import decode_runs, fill_circle, fill_polygon, unpack_counts
from followspot.types import Boxes, Keypoints, Masks, Points


def saved(tmp_path, document, name="a.json"):
    (tmp_path / name).write_text(json.dumps(document))
    return tmp_path / name


def rectangle(x1, y1, x2, y2):
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


# --- rasterising


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.floats(-5, 25)] * 4))
def test_rectangle_covers_exactly_the_centres_inside(edges):
    x1, x2 = sorted(edges[:2])
    y1, y2 = sorted(edges[2:])
    column, row = np.arange(20) + 0.5, np.arange(15) + 0.5
    expected = ((row >= y1) & (row < y2))[:, None] & ((column >= x1) & (column < x2))[None, :]
    np.testing.assert_array_equal(fill_polygon(np.array(rectangle(x1, y1, x2, y2)), height=15, width=20), expected)


@settings(deadline=None, max_examples=40)
@example([(0.0, 1.0), (0.0, 0.5), (1.0, 0.5)])
@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=7))
def test_polygon_agrees_with_counting_crossings_pixel_by_pixel(corners):
    filled = fill_polygon(np.array(corners), height=12, width=14)
    for row in range(12):
        for column in range(14):
            x, y, inside, doubtful = column + 0.5, row + 0.5, False, False
            for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
                if (y1 > y) != (y2 > y):
                    crossing = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
                    doubtful |= abs(crossing - x) < 1e-6
                    inside ^= crossing <= x
            assert doubtful or filled[row, column] == inside


def test_neighbours_share_no_pixel_and_order_does_not_matter():
    left = fill_polygon(np.array([[0, 0], [7.3, 0], [3.1, 10], [0, 10]]), height=10, width=12)
    right = fill_polygon(np.array([[12, 10], [3.1, 10], [7.3, 0], [12, 0]]), height=10, width=12)
    assert (left ^ right).all()
    assert not (left & right).any()
    assert fill_circle((5, 5), 2, height=10, width=10).sum() == 12


# --- run lengths


def compress(counts):
    """The compressed form, written from its description: differences from the fourth on, 5 bits a character, sign in the last."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            group, value = value & 31, value >> 5
            done = value == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return text


def runs_of(region):
    flat = np.concatenate([[False], region.T.ravel()])
    changes = np.flatnonzero(np.diff(flat)) if flat.any() else np.array([], int)
    return np.diff(np.concatenate([[0], changes, [region.size]])).tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_round_trip(height, width, seed, share):
    region = np.random.default_rng(seed).random((height, width)) < share
    counts = runs_of(region)
    assert unpack_counts(compress(counts), where="x") == counts
    np.testing.assert_array_equal(decode_runs(counts, height=height, width=width, where="x"), region)


def test_string_that_coco_tools_wrote():
    # pycocotools 2.0.11 gave this for the ellipse below.
    row, column = np.mgrid[:12, :17]
    ellipse = (column - 8) ** 2 / 40 + (row - 5) ** 2 / 12 < 1
    counts = unpack_counts("l0382O0O2O000000000001N101Ne0", where="x")
    np.testing.assert_array_equal(decode_runs(counts, height=12, width=17, where="x"), ellipse)


@pytest.mark.parametrize("text", ["\x2f", "p", "ü", "P", "o" * 20])
def test_damaged_strings(text):
    with pytest.raises(AnnotationError, match="export it again"):
        unpack_counts(text, where="x")


# --- LabelMe


def labelme(*shapes, **fields):
    return {"version": "5", "shapes": list(shapes), "imagePath": "x.jpg", "imageHeight": 10, "imageWidth": 12} | fields


def shape(label, points, kind="polygon", group=None, **fields):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group} | fields


def test_labelme_objects_and_names(tmp_path):
    patch = io.BytesIO()
    Image.fromarray(np.array([[0, 255, 255], [255, 0, 0]], np.uint8)).save(patch, "PNG")
    coded = base64.b64encode(patch.getvalue()).decode()
    document = labelme(
        shape("cat", rectangle(0, 0, 3, 2), group=1),
        shape("cat", rectangle(5, 0, 6, 2), group=1),
        shape("cat", rectangle(0, 4, 2, 6)),
        shape("cat", [[6, 6], [6, 8]], "circle"),
        shape("patch", [[9.0, 8.0], [11.0, 9.0]], "mask", mask=coded),
        shape("cat", [[8, 5], [2, 1]], "rectangle"),
        shape("tip", [[3.5, 4.5]], "point"),
        shape("nose", [[1, 2]], "point", 7),
        shape("eye", [[2, 3]], "point", 7),
        shape("eye", [[4, 3]], "point", 7),
    )
    masks, boxes, points, keypoints = read_labelme(saved(tmp_path, document), size=(10, 12))
    assert masks.names == {1: "cat", 2: "cat 2", 3: "cat 3", 4: "patch"}
    expected = np.zeros((10, 12), np.uint8)
    expected[0:2, 0:3] = expected[0:2, 5] = 1
    expected[4:6, 0:2] = 2
    expected[4:8, 5:7] = expected[5:7, 4:8] = 3
    expected[8, 10:12] = expected[9, 9] = 4
    np.testing.assert_array_equal(masks.ids, expected)
    assert (boxes.xyxy.tolist(), boxes.names) == ([[2, 1, 8, 5]], ("cat 4",))
    assert (points.xy.tolist(), points.names) == ([[3, 4]], ("tip",))
    assert keypoints.xy.tolist() == [[0.5, 1.5], [1.5, 2.5], [3.5, 2.5]]
    assert (keypoints.name, keypoints.joints) == ("group 7", ("nose", "eye", "eye 2"))


def test_labelme_later_shapes_cover_earlier_ones(tmp_path):
    (masks,) = read_labelme(saved(tmp_path, labelme(shape("a", rectangle(0, 0, 2, 1)), shape("b", rectangle(1, 0, 9, 5)))))
    assert masks.ids[0, :3].tolist() == [1, 2, 2]
    with pytest.raises(AnnotationError, match="'a' is wholly covered"):
        read_labelme(saved(tmp_path, labelme(shape("a", rectangle(0, 0, 2, 1)), shape("b", rectangle(0, 0, 9, 5)))))


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (labelme(), "has no shapes"),
        (labelme(shape("a", [[0, 0], [1, 1]], "linestrip")), "'linestrip' encloses nothing"),
        (labelme(shape("a", [[0, 0], [1, 1]])), "polygon needs at least 3 points, got 2"),
        (labelme(shape("a", rectangle(20, 20, 30, 30))), "covers no pixel"),
        (labelme(shape("", [[1, 1]], "point")), r"shapes\[0\]\.label: expected a text"),
        (labelme(shape("a", [[1, None]], "point")), r"points\[1\]: expected a finite number, got None"),
        (labelme(shape("a", [[1, 1]], "point", [3])), "group_id"),
        (labelme(shape("a", [[0, 0], [1, 1]], "mask", mask="@@@")), "not a base64 PNG"),
        (labelme(shape("a", [[0, 0], [1, 1]], "mask", mask="aGFsbG8=")), "not a base64 PNG"),
        (labelme(imageHeight=None), "image height: expected a finite number"),
        (labelme(imageHeight=99999), "12x99999 cannot be"),
        (labelme(imageHeight=11), "drawn on an image of 12x11, but the video's frames are 12x10"),
        (labelme() | {"shapes": {}}, r"shapes: expected a list"),
        (labelme(*[shape("a", [[0, 0], [3, 3]], "circle")] * 256), "at most 255"),
    ],
)
def test_labelme_files_that_cannot_be(tmp_path, document, match):
    with pytest.raises(AnnotationError, match=match):
        read_labelme(saved(tmp_path, document), size=(10, 12))


def test_labelme_mask_must_lie_inside(tmp_path):
    patch = io.BytesIO()
    Image.fromarray(np.full((3, 3), 255, np.uint8)).save(patch, "PNG")
    entry = shape("a", [[10, 0], [13, 3]], "mask", mask=base64.b64encode(patch.getvalue()).decode())
    with pytest.raises(AnnotationError, match="a mask of 3x3 at 10,0 leaves the 12x10 image"):
        read_labelme(saved(tmp_path, labelme(entry)))


# --- COCO


def coco(*annotations, images=({"id": 1, "file_name": "clip/00003.jpg", "height": 6, "width": 8},)):
    categories = [
        {"id": 1, "name": "dog"},
        {"id": 2, "name": "person", "keypoints": ["nose", "hip", "foot"], "skeleton": [[1, 2], [2, 3]]},
    ]
    annotations = [{"id": place, "image_id": 1, "category_id": 1, "iscrowd": 0} | entry for place, entry in enumerate(annotations)]
    return {"images": list(images), "categories": categories, "annotations": annotations}


def test_coco_polygons_runs_boxes_and_joints(tmp_path):
    region = np.zeros((6, 8), bool)
    region[4:, 5:7] = True
    counts = runs_of(region)
    document = coco(
        {"segmentation": [[0, 0, 3, 0, 3, 2, 0, 2], [4, 0, 5, 0, 5, 1, 4, 1]], "bbox": [0, 0, 5, 2]},
        {"segmentation": {"size": [6, 8], "counts": counts}, "iscrowd": 1},
        {"segmentation": {"size": [6, 8], "counts": compress(runs_of(np.roll(region, -4, 1)))}},
        {"bbox": [1, 2, 3, 2.5], "segmentation": []},
        {"category_id": 2, "keypoints": [3, 4, 2, 0, 0, 0, 5, 5, 1], "num_keypoints": 2},
        {"category_id": 2, "keypoints": [0] * 9, "bbox": [0, 0, 2, 2]},
    )
    found = read_coco(saved(tmp_path, document), size=(6, 8))
    assert list(found) == ["00003"]
    masks, boxes, person = found["00003"]
    assert masks.names == {1: "dog", 2: "dog 2", 3: "dog 3"}
    expected = np.zeros((6, 8), np.uint8)
    expected[:2, :3] = expected[0, 4] = 1
    expected[4:, 5:7] = 2
    expected[4:, 1:3] = 3
    np.testing.assert_array_equal(masks.ids, expected)
    assert boxes.names == ("dog 4", "person 2")
    assert boxes.xyxy.tolist() == [[1, 2, 4, 4.5], [0, 0, 2, 2]]
    assert (person.name, person.joints, person.skeleton) == ("person", ("nose", "hip", "foot"), ((0, 1), (1, 2)))
    np.testing.assert_array_equal(person.xy, [[3, 4], [np.nan, np.nan], [5, 5]])


def test_coco_small_regions_stay_visible(tmp_path):
    small, large = {"segmentation": [[1, 1, 2, 1, 2, 2, 1, 2]]}, {"segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]]}
    (masks,) = read_coco(saved(tmp_path, coco(small, large)))["00003"]
    assert masks.ids[1, 1] == 1
    assert (masks.ids == 2).sum() == 47


def test_coco_images_are_chosen_by_name(tmp_path):
    images = [{"id": place, "file_name": name} for place, name in enumerate(["a/1.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"])]
    box = {"bbox": [0, 0, 1, 1]}
    document = coco(*[box | {"image_id": place} for place in (0, 1, 1, 2)], images=images)
    path = saved(tmp_path, document)
    with pytest.raises(AnnotationError, match=r"two images are called 1 \(a/1\.jpg and b/1\.jpg\); say which by file_name"):
        read_coco(path)
    assert len(read_coco(path, file_name="b/1.jpg")["1"][0].names) == 2
    assert len(read_coco(path, file_name="a/1.jpg")["1"][0].names) == 1
    for name in ("2", "2.jpg", "b/2.jpg"):
        assert list(read_coco(path, file_name=name)) == ["2"]
    assert list(read_coco(path, stems=["2", "3"])) == ["2"]
    with pytest.raises(AnnotationError, match=r"no image called 'b/4\.jpg'; did you mean b/3\.jpg"):
        read_coco(path, file_name="b/4.jpg")
    with pytest.raises(AnnotationError, match=r"like one of the video's frames; it has a/1\.jpg, b/1\.jpg, b/2\.jpg, \.\.\."):
        read_coco(path, stems=["77"])
    with pytest.raises(AnnotationError, match="annotates none"):
        read_coco(path, file_name="3")


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (coco({"bbox": [0, 0, 1]}), r"bbox: has 3 numbers, expected 4"),
        (coco({"bbox": [0, 0, 0, 1]}), "is empty"),
        (coco({}), "no keypoints, segmentation or bbox"),
        (coco({"bbox": [0, 0, 1, 1], "category_id": 9}), "category 9 is not among"),
        (coco({"bbox": [0, 0, 1, 1], "image_id": None}), "image_id: expected an id"),
        (coco({"segmentation": [[0, 0, 1, 1]]}), "a polygon is x1,y1"),
        (coco({"segmentation": {"size": [6, 7], "counts": []}}), "the mask is 7x6, but its image 8x6"),
        (coco({"segmentation": {"size": [6, 8], "counts": [5]}}), "cover 5 pixels of a 8x6 image, expected 48"),
        (coco({"segmentation": {"size": [6, 8], "counts": compress([40, 20, 8])[:-1] + "P"}}), "ends within a number"),
        (coco({"segmentation": {"size": [6, 8], "counts": [-1]}}), "whole number from 0"),
        (coco({"segmentation": {"size": [6, 8], "counts": "O1"}}), "cover 0 pixels"),
        (coco({"category_id": 2, "keypoints": [1, 2]}), "keypoints: has 2 numbers, expected 9"),
        (coco({"bbox": [0, 0, 1, 1]}, images=[]), "no image called anything; it has none"),
        (coco({"segmentation": [[0, 0, 1, 0, 1, 1]]}, images=[{"id": 1, "file_name": "a"}]), "needs the image's height and width"),
        (
            coco(*[{"segmentation": {"size": [1, n], "counts": [0, n]}} for n in (2, 3)], images=[{"id": 1, "file_name": "a"}]),
            "several sizes",
        ),
    ],
)
def test_coco_files_that_cannot_be(tmp_path, document, match):
    with pytest.raises(AnnotationError, match=match):
        read_coco(saved(tmp_path, document))


# --- keypoints


def test_own_keypoints(tmp_path):
    dog = {"name": "dog", "joints": {"nose": [1, 2.5], "tail": None, "paw": [3, 4]}, "skeleton": [["nose", "tail"], ["tail", "paw"]]}
    found = read_keypoints(saved(tmp_path, {"objects": [dog, dog | {"frame": 5, "name": "late"}]}))
    assert list(found) == [None, 5]
    (keypoints,) = found[None]
    assert (keypoints.name, keypoints.joints, keypoints.skeleton) == ("dog", ("nose", "tail", "paw"), ((0, 1), (1, 2)))
    np.testing.assert_array_equal(keypoints.xy, [[1, 2.5], [np.nan, np.nan], [3, 4]])
    assert found[5][0].name == "late"


@pytest.mark.parametrize(("name", "frames", "joints"), [("bear", 17, 20), ("dog-agility", 5, 20), ("horsejump-low", 12, 20)])
def test_badja_files(shared_data, name, frames, joints):
    path = shared_data / "keypoints" / f"{name}.json"
    document = json.loads(path.read_text())
    found = read_keypoints(path, size=(480, 854))
    assert list(found) == document["frames"]
    assert len(found) == frames
    for row, seen, (keypoints,) in zip(document["xy"], document["visible"], found.values(), strict=True):
        assert keypoints.name == name
        assert len(keypoints.joints) == joints
        assert [not missing for missing in np.isnan(keypoints.xy[:, 0])] == [
            xy is not None and v == 1 for xy, v in zip(row, seen, strict=True)
        ]
    with pytest.raises(AnnotationError, match="854x480, but the video's frames are 432x240"):
        read_keypoints(path, size=(240, 432))
    assert list(read_annotation(path, size=(480, 854))) == document["frames"]


def test_coco_keypoints_of_one_image(tmp_path):
    entry = {"category_id": 2, "keypoints": [3, 4, 2, 0, 0, 0, 5, 5, 1]}
    found = read_keypoints(saved(tmp_path, coco(entry, {"bbox": [0, 0, 1, 1]})))
    assert list(found) == [None]
    assert [keypoints.name for keypoints in found[None]] == ["person"]
    images = [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "b"}]
    with pytest.raises(AnnotationError, match="annotates 2 images; read it with read_coco"):
        read_keypoints(saved(tmp_path, coco(entry, entry | {"image_id": 2}, images=images)))
    with pytest.raises(AnnotationError, match="no annotated joints"):
        read_keypoints(saved(tmp_path, coco({"bbox": [0, 0, 1, 1]})))


SEQUENCE = {"sequence": "s", "joint_names": ["a", "b"], "frames": [0, 4], "xy": [[[1, 2], None], [[3, 4], [5, 6]]]}


def test_visible_and_resolution_may_be_left_out_and_hidden_joints_are_absent(tmp_path):
    assert np.isnan(read_keypoints(saved(tmp_path, SEQUENCE))[0][0].xy).tolist() == [[False, False], [True, True]]
    hidden = read_keypoints(saved(tmp_path, SEQUENCE | {"visible": [[1, 0], [1, 0]]}))
    np.testing.assert_array_equal(hidden[4][0].xy, [[3, 4], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({}, "neither"),
        ({"objects": []}, "objects is empty"),
        ({"objects": [{"joints": {}}]}, "no joints"),
        ({"objects": [{"joints": {"a": [1]}}]}, "has 1 numbers, expected 2"),
        ({"objects": [{"joints": {"a": [1, 2]}, "skeleton": [["a", "b"]]}]}, "a limb joins two of the joints a; got"),
        ({"objects": [{"joints": {"a": [1, 2]}, "frame": -1}]}, "whole number from 0, got -1"),
        ({"objects": [{"joints": {"a": [1, 2]}, "name": ["x" * 99]}]}, r"expected a text, got \['x+\.\.\.; correct"),
        (SEQUENCE | {"frames": [0]}, "lists 1 frames"),
        (SEQUENCE | {"frames": [0, 0]}, r"2 frames \(1 different\)"),
        (SEQUENCE | {"xy": [[[1, 2]], [[1, 2]]]}, "row 0 has 1 joints and 2 flags for 2 names"),
        (SEQUENCE | {"joint_names": ["a", "a"]}, "joint names repeat"),
    ],
)
def test_keypoint_files_that_cannot_be(tmp_path, document, match):
    with pytest.raises(AnnotationError, match=match):
        read_keypoints(saved(tmp_path, document))


# --- garbage

VALID = [
    {"objects": [{"name": "d", "joints": {"n": [1, 2]}, "skeleton": [["n", "n"]], "frame": 0}]},
    SEQUENCE | {"resolution": [8, 6], "visible": [[1, 1], [1, 1]]},
    coco({"segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]]}, {"segmentation": {"size": [6, 8], "counts": compress([40, 8])}},
         {"bbox": [0, 0, 2, 2]}, {"category_id": 2, "keypoints": [3, 4, 2, 0, 0, 0, 5, 5, 1]}),
    labelme(shape("c", rectangle(0, 0, 3, 2), group=1), shape("c", [[6, 6], [6, 8]], "circle"), shape("b", [[8, 5], [2, 1]], "rectangle"),
            shape("n", [[1, 2]], "point", 7), shape("m", [[1, 2], [3, 4]], "mask", mask="aGFsbG8=")),
]  # fmt: skip
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**30), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just([[1, 2]]),
    st.sampled_from([-1, 0, 1e300, -1e-300, 2**70, 10**400, "polygon", "O1", [0, 10**18], {"size": [9, 9], "counts": [81]}]),
)  # fmt: skip


def places_of(value):
    yield from ([key] for key in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()))
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from ([key, *rest] for rest in places_of(value[key]))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_one_wrong_value_anywhere_raises_annotation_error_or_is_harmless(tmp_path_factory, data):
    document = json.loads(json.dumps(data.draw(st.sampled_from(VALID))))
    place = data.draw(st.sampled_from(list(places_of(document))))
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = data.draw(JUNK)
    path = tmp_path_factory.getbasetemp() / "garbage.json"
    path.write_text(json.dumps(document), "utf-8", errors="surrogatepass")
    try:
        found = read_annotation(path, size=data.draw(st.sampled_from([None, (6, 8), (10, 12)])))
    except AnnotationError as error:
        message = str(error)
        complaint = "\n" in message or len(message) > 700
        assert not complaint, message
    else:
        assert all(isinstance(entry, Masks | Boxes | Points | Keypoints) for entries in found.values() for entry in entries)


@settings(deadline=None, max_examples=50)
@given(raw=st.binary(max_size=40) | st.text(alphabet='{}[]",:0e1-', max_size=30).map(lambda text: ("{" + text).encode()))
def test_garbage_files_raise_annotation_error(tmp_path_factory, raw):
    for name in ("g.json", "g.png", "g.npy"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(raw)
        with pytest.raises(AnnotationError):
            read_annotation(path)


def test_json_oddities(tmp_path):
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(VALID[0]).encode())
    assert list(read_annotation(tmp_path / "bom.json")) == [0]
    (tmp_path / "deep.json").write_text('{"objects":' + "[" * 100_000)
    with pytest.raises(AnnotationError, match="not readable JSON"):
        read_annotation(tmp_path / "deep.json")
    (tmp_path / "latin.json").write_bytes(b'{"objects": "\xe9"}')
    with pytest.raises(AnnotationError, match="not readable JSON"):
        read_annotation(tmp_path / "latin.json")
    with pytest.raises(AnnotationError, match="expected an object"):
        read_keypoints(saved(tmp_path, [1]))
    with pytest.raises(AnnotationError, match="does not exist"):
        read_keypoints(tmp_path / "none.json")
