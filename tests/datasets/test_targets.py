"""F019: crops of targets, their index, and going on after a kill."""

import json
import pickle
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from followspot.datasets.target_index import write_boxes, write_card
from followspot.datasets.targets import CROP, TargetCard, TargetStore, TargetWriter, target_window
from followspot.errors import DatasetError, OutputError, SettingError

CARD = TargetCard(dataset="toy", labelled_by="people", still=False, frame_range=20, licence="CC0", source="drawn")


def photograph(height=90, width=120, *, seed=0):
    """Smooth enough for JPEG."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def disc(height=90, width=120, *, x=60, y=45, radius=15):
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def fill_store(root, *, videos=("a",), card=CARD, mask=True):
    with TargetWriter(root, card) as writer:
        for video in videos:
            for frame in (3, 0):
                shown = disc() if mask else None
                writer.add(video, 1, frame, image=photograph(seed=frame), box=(45, 30, 75, 60), mask=shown)
            writer.finish(video)
    return TargetStore(root)


def test_f019_files_and_keys_are_those_of_siammask(tmp_path):
    fill_store(tmp_path)
    assert json.loads((tmp_path / "toy.json").read_text()) == {"a": {"01": {"000000": [45, 30, 75, 60], "000003": [45, 30, 75, 60]}}}
    assert sorted(path.name for path in (tmp_path / "crop511/toy/a").iterdir()) == [
        f"{frame:06d}.01.{kind}" for frame in (0, 3) for kind in ("m.png", "x.jpg")
    ]
    card = {"dataset": "toy", "labelled_by": "people", "still": False, "frame_range": 20, "licence": "CC0", "source": "drawn"}
    assert json.loads((tmp_path / "toy.card.json").read_text()) == card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crop511", "toy.card.json", "toy.json"]
    mask = np.array(Image.open(tmp_path / "crop511/toy/a/000000.01.m.png"))
    assert mask.shape == (511, 511)
    assert set(np.unique(mask)) == {0, 255}


def test_f019_a_target_is_127_pixels_with_its_context(tmp_path):
    store = fill_store(tmp_path)
    (target,) = store.targets
    assert (target.dataset, target.video, target.track, [frame.frame for frame in target.frames]) == ("toy", "a", 1, [0, 3])
    # By hand: 30 x 30 with context is 60 wide; 511 / 127 * 60 = 241.4 pixels are shown, so the target is 30 * 511 / 241 wide.
    box = np.array(target.frames[0].box)
    width = 30 * 511 / 241
    np.testing.assert_allclose(box[2:] - box[:2], width)
    # The window lies on whole pixels: its centre is at most half a pixel of the image, 1.06 of the crop, off.
    assert np.abs((box[2:] + box[:2]) / 2 - 255.5).max() <= 0.5 * 511 / 241 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-50, 500), min_size=4, max_size=4))
def test_f019_boxes_are_what_the_window_says(edges):
    box = (min(edges[::2]) + 0.25, min(edges[1::2]) + 0.5, max(edges[::2]) + 1.125, max(edges[1::2]) + 1.0)
    with tempfile.TemporaryDirectory() as root:
        write_boxes(Path(root), "toy", {"a": {0: {0: box}}})
        write_card(Path(root), CARD)
        (target,) = TargetStore(Path(root)).targets
    assert target.frames[0].box == tuple(target_window(box).to_crop(np.array(box), pixels=CROP))


def slow_crop(image, window):
    """The mean colour all around, then OpenCV's bilinear resize."""
    reach = 400
    canvas = np.empty((image.shape[0] + 2 * reach, image.shape[1] + 2 * reach, 3))
    canvas[:] = image.reshape(-1, 3).mean(0)
    canvas[reach:-reach, reach:-reach] = image
    left, top, side = (int(value) + reach * (place < 2) for place, value in enumerate((window.left, window.top, window.side)))
    return cv2.resize(canvas[top : top + side, left : left + side], (CROP, CROP))


def test_f019_the_picture_is_the_padded_reference_within_what_jpeg_loses(tmp_path):
    store = fill_store(tmp_path)
    (target,) = store.targets
    crop = store.crop(target, target.frames[1])
    assert crop.shape == (CROP, CROP, 3)
    assert crop.dtype == np.uint8
    reference = slow_crop(photograph(seed=3), target_window((45, 30, 75, 60)))
    assert np.abs(crop - reference).mean() < 1.5
    # The channels are RGB: the other order is far off.
    assert np.abs(crop[..., ::-1] - reference).mean() > 10


def test_f019_mask_and_box_agree(tmp_path):
    store = fill_store(tmp_path)
    (target,) = store.targets
    mask = store.mask(target, target.frames[0])
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    rows, columns = np.nonzero(mask)
    # The disc touches its box; a pixel of the image is 2.1 of the crop.
    extent = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    np.testing.assert_allclose(extent, target.frames[0].box, atol=1.5)
    assert mask.sum() == pytest.approx(np.pi * (15 * 511 / 241) ** 2, rel=0.01)


def test_f019_outside_of_the_image_no_mask_is_set(tmp_path):
    with TargetWriter(tmp_path, CARD) as writer:
        writer.add("a", 0, 0, image=photograph(), box=(0, 0, 120, 90), mask=np.ones((90, 120), np.uint8))
        writer.finish("a")
    store = TargetStore(tmp_path)
    (target,) = store.targets
    left, top, right, bottom = target.frames[0].box
    assert store.mask(target, target.frames[0]).sum() == pytest.approx((right - left) * (bottom - top), rel=0.01)


def test_a_shrunk_mask_is_as_large_as_it_should_be(tmp_path):
    large = disc(1500, 2000, x=1000, y=750, radius=700)
    with TargetWriter(tmp_path, CARD) as writer:
        writer.add("a", 0, 0, image=np.zeros((1500, 2000, 3), np.uint8), box=(300, 50, 1700, 1450), mask=large)
        writer.finish("a")
    store = TargetStore(tmp_path)
    (target,) = store.targets
    scale = 511 / target_window((300, 50, 1700, 1450)).side
    assert store.mask(target, target.frames[0]).sum() == pytest.approx(large.sum() * scale**2, rel=0.01)


def test_a_dataset_of_boxes_has_no_masks(tmp_path):
    store = fill_store(tmp_path, mask=False)
    (target,) = store.targets
    assert not target.frames[0].has_mask
    assert store.mask(target, target.frames[0]) is None
    assert store.crop(target, target.frames[0]).shape == (CROP, CROP, 3)


def test_f019_what_has_no_area_is_no_target(tmp_path):
    with TargetWriter(tmp_path, CARD) as writer:
        for track, box in enumerate([(5, 5, 5, 9), (9, 5, 5, 9), (5, 9, 8, 9)]):
            writer.add("flat", track, 0, image=photograph(), box=box)
        writer.add("flat", 3, 0, image=photograph(), box=(5, 5, 9, 9), mask=np.zeros((90, 120), bool))
        writer.finish("flat")
        writer.finish("empty")
        writer.add("full", 0, 0, image=photograph(), box=(5, 5, 9, 9))
        writer.finish("full")
    assert [target.video for target in TargetStore(tmp_path).targets] == ["full"]
    # The same in an index that others wrote.
    content = {"full": {"00": {"000000": [5, 5, 9, 9], "000001": [1, 1, 1, 2]}, "01": {}}, "none": {"00": {"000000": [0, 0, 0, 0]}}}
    (tmp_path / "toy.json").write_text(json.dumps(content))
    (target,) = TargetStore(tmp_path).targets
    assert len(target.frames) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 500), min_size=4, max_size=4))
def test_f019_boxes_of_crops_lead_back_to_the_image(edges):
    left, right = sorted(edges[::2])
    top, bottom = sorted(edges[1::2])
    box = np.array([left, top, right + 1, bottom + 1])
    window = target_window(tuple(box))
    np.testing.assert_allclose(window.to_image(window.to_crop(box, pixels=CROP), pixels=CROP), box, atol=1e-9)
    assert float(window.left).is_integer()
    assert abs(window.side - np.sqrt((box[2] - box[0] + (p := (box[2:] - box[:2]).sum() / 2)) * (box[3] - box[1] + p)) * 511 / 127) <= 0.5


def test_several_datasets_in_one_order_and_between_processes(tmp_path):
    other = TargetCard(dataset="apt", labelled_by="propagation", still=True, frame_range=1)
    fill_store(tmp_path, videos=("b", "a", "c/d"))
    store = pickle.loads(pickle.dumps(fill_store(tmp_path, card=other)))
    assert [(target.dataset, target.video) for target in store.targets] == [("apt", "a"), ("toy", "a"), ("toy", "b"), ("toy", "c/d")]
    assert store.cards == {"apt": other, "toy": CARD}
    assert store.crop(store.targets[3], store.targets[3].frames[0]).any()
    assert len(store) == 4


def convert_some_and_stop(root):
    with TargetWriter(root, CARD) as writer:
        writer.add("a", 0, 0, image=photograph(), box=(5, 5, 9, 9))
        writer.finish("a")
        writer.finish("empty")
        writer.add("b", 0, 0, image=photograph(), box=(5, 5, 9, 9))
        raise KeyboardInterrupt


def test_a_killed_conversion_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        convert_some_and_stop(tmp_path)
    with pytest.raises(DatasetError, match="converting toy was stopped; run the same command again"):
        TargetStore(tmp_path)
    with (tmp_path / "toy.part.jsonl").open("a") as ledger:  # a kill within a line
        ledger.write('{"b": {"00": {"0000')
    with TargetWriter(tmp_path, CARD) as writer:
        assert (writer.done("a"), writer.done("empty"), writer.done("b")) == (True, True, False)
        writer.add("b", 0, 7, image=photograph(), box=(5, 5, 9, 9))
        writer.finish("b")
    assert [(target.video, target.frames[0].frame) for target in TargetStore(tmp_path).targets] == [("a", 0), ("b", 7)]
    with TargetWriter(tmp_path, CARD) as writer:
        assert writer.done("b")
        writer.add("c", 0, 0, image=photograph(), box=(5, 5, 9, 9))
        writer.finish("c")
    assert len(TargetStore(tmp_path)) == 3


def test_a_conversion_that_is_killed_again_and_again_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        convert_some_and_stop(tmp_path)
    for _ in range(2):
        with (tmp_path / "toy.part.jsonl").open("a") as ledger:
            ledger.write('{"b": {"00": {"0000')
        with pytest.raises(KeyboardInterrupt):
            convert_some_and_stop(tmp_path)
    fill_store(tmp_path, videos=("c",))
    assert [target.video for target in TargetStore(tmp_path).targets] == ["a", "c"]
    (tmp_path / "toy.part.jsonl").write_text("{nonsense}\n")
    with pytest.raises(DatasetError, match=r"toy.part.jsonl line 1 is damaged .* delete the line and run again"):
        TargetWriter(tmp_path, CARD)


def test_one_writer_at_a_time(tmp_path):
    with TargetWriter(tmp_path, CARD), pytest.raises(OutputError, match="another process writes"):
        TargetWriter(tmp_path, CARD)


def test_a_mask_that_is_gone_the_next_time_leaves_no_file(tmp_path):
    fill_store(tmp_path)
    (tmp_path / "toy.json").unlink()
    assert not fill_store(tmp_path, mask=False).targets[0].frames[0].has_mask


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"box": (0, 0, float("nan"), 5)}, "is not finite"),
        ({"image": np.zeros((9, 9), np.uint8)}, "expected .H, W, 3. uint8 RGB"),
        ({"mask": np.ones((120, 90), bool)}, "the mask is 90x120, but the image 120x90"),
        ({"video": "../a"}, "cannot name a video"),
        ({"video": "/a"}, "cannot name a video"),
        ({"video": ""}, "cannot name a video"),
    ],
)
def test_what_cannot_be_cut_is_told(tmp_path, change, told):
    given = {"image": photograph(), "box": (5, 5, 9, 9), "mask": disc()} | change
    with TargetWriter(tmp_path, CARD) as writer, pytest.raises(DatasetError, match=told):
        writer.add(given.pop("video", "a"), 0, 0, **given)


def test_damaged_crops_are_told(tmp_path):
    store = fill_store(tmp_path)
    (target,) = store.targets
    picture, mask = (tmp_path / f"crop511/toy/a/000000.01.{kind}" for kind in ("x.jpg", "m.png"))
    picture.write_bytes(picture.read_bytes()[:-3000])
    with pytest.raises(DatasetError, match=r"000000.01.x.jpg cannot be read"):
        store.crop(target, target.frames[0])
    Image.new("L", (9, 9)).save(mask)
    with pytest.raises(DatasetError, match=r"000000.01.m.png is 9x9, expected 511x511"):
        store.mask(target, target.frames[0])
    picture.unlink()
    with pytest.raises(DatasetError, match=r"x.jpg is gone; convert the dataset again"):
        store.crop(target, target.frames[0])


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("toy.json", '{"a": {"01": {"000000": [1, 2, 3]}}}', "a.01.000000: has 3 numbers, expected 4"),
        ("toy.json", '{"a": {"x": {}}}', "'x' is no number"),
        ("toy.json", '{"../a": {"01": {"000000": [1, 2, 3, 4]}}}', "cannot name a video"),
        ("toy.json", "[1]", "expected an object"),
        ("toy.json", '{"a": {"01": {"0', "not readable JSON"),
        ("toy.json", "{}", "holds no target"),
        ("toy.card.json", '{"dataset": "toy"}', "labelled_by, still, frame_range, licence, source is missing or wrong"),
        ("toy.card.json", "not JSON", "not readable JSON"),
    ],
)
def test_a_damaged_index_is_told(tmp_path, file, text, told):
    fill_store(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DatasetError, match=told):
        TargetStore(tmp_path)


def test_what_is_no_store_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"has no .*card\.json; make one with: followspot targets"):
        TargetStore(tmp_path)
    (tmp_path / "store").mkdir()
    with pytest.raises(DatasetError, match=r"did you mean .*store"):
        TargetStore(tmp_path / "stoer")


@pytest.mark.parametrize("change", [{"dataset": "a/b"}, {"dataset": "a.card"}, {"frame_range": 0}, {"labelled_by": "nobody"}])
def test_a_card_that_cannot_be_is_told(change):
    with pytest.raises(SettingError):
        TargetCard(**({"dataset": "toy", "labelled_by": "people", "still": False, "frame_range": 20} | change))
