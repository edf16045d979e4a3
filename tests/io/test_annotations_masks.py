import contextlib
import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from followspot.errors import AnnotationError
from followspot.io.masks import davis_palette, read_label_maps, read_mask, write_mask
from followspot.types import Masks

SHAPE = (6, 9)


def saved(tmp_path, array, *, name="mask.png", palette=None):
    picture = Image.fromarray(np.asarray(array))
    if palette is not None:
        picture.putpalette(palette)
    picture.save(tmp_path / name)
    return tmp_path / name


def ids_of(*ids):
    array = np.zeros(SHAPE, np.uint8)
    for place, object_id in enumerate(ids):
        array[place % 6, place // 6 : place // 6 + 2] = object_id
    return array


def voc_colour(index):
    """The VOC colour map as its MATLAB original has it: one index, bit by bit."""
    red = green = blue = 0
    for j in range(8):
        red |= (index & 1) << (7 - j)
        green |= ((index >> 1) & 1) << (7 - j)
        blue |= ((index >> 2) & 1) << (7 - j)
        index >>= 3
    return [red, green, blue]


def test_palette_is_the_voc_colour_map():
    palette = davis_palette()
    assert len(palette) == 768
    assert [palette[3 * index : 3 * index + 3] for index in range(256)] == [voc_colour(index) for index in range(256)]


@settings(deadline=None, max_examples=30)
@given(pixels=st.lists(st.integers(0, 255), min_size=12, max_size=12).filter(any))
@example(pixels=[*range(244, 256)])
def test_every_id_survives_writing_and_reading(tmp_path_factory, pixels):
    path = tmp_path_factory.mktemp("mask") / "m.png"
    ids = np.array(pixels, np.uint8).reshape(3, 4)
    write_mask(path, ids)
    np.testing.assert_array_equal(read_mask(path).ids, ids)
    assert os.listdir(path.parent) == ["m.png"]


def test_written_masks_are_indexed_deterministic_and_coloured_like_davis(tmp_path):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "a.png", ids)
    write_mask(tmp_path / "b.png", np.asfortranarray(ids))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:765] == davis_palette()[:765]


def test_real_davis_masks(shared_data, tmp_path):
    path = sorted((shared_data / "multi/schoolgirls/schoolgirls_mask").glob("*.png"))[0]
    masks = read_mask(path, size=(240, 432))
    assert masks.ids.shape == (240, 432)
    assert np.unique(masks.ids).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    write_mask(tmp_path / "again.png", masks.ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "again.png").ids, masks.ids)
    with Image.open(path) as picture:
        picture.convert("RGB").save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "colour.png").ids, masks.ids)
    single = sorted((shared_data / "davis/Annotations").rglob("*.png"))[0]
    assert np.unique(read_mask(single, size=(480, 854)).ids).tolist() == [0, 1]


def test_davis_colours_in_colour_pictures_with_191(tmp_path):
    colours = np.array(davis_palette(), np.uint8).reshape(-1, 3)
    ids = ids_of(1, 9, 13)
    rgb = colours[ids]
    np.testing.assert_array_equal(read_mask(saved(tmp_path, rgb)).ids, ids)
    rgb[rgb == 192] = 191
    np.testing.assert_array_equal(read_mask(saved(tmp_path, rgb)).ids, ids)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, colours[ids_of(1, 255)])).ids, ids_of(1, 0))


def test_index_255_is_void_only_in_the_void_colour(tmp_path):
    ids = ids_of(1, 255)
    void = read_mask(saved(tmp_path, ids, palette=davis_palette()))
    np.testing.assert_array_equal(void.ids, ids_of(1, 0))
    kept = read_mask(saved(tmp_path, ids, palette=[0, 0, 0] * 256))
    np.testing.assert_array_equal(kept.ids, ids)


@pytest.mark.parametrize(
    "array",
    [ids_of(255), ids_of(1), ids_of(1).astype(bool), ids_of(255)[..., None].repeat(3, 2), ids_of(255).astype(np.uint16) * 257,
     ids_of(255).astype(np.uint16)],
)  # fmt: skip
def test_black_and_white_is_one_object(tmp_path, array):
    masks = read_mask(saved(tmp_path, array))
    np.testing.assert_array_equal(masks.ids, ids_of(1))
    assert masks.ids.dtype == np.uint8
    assert masks.name_of(1) == "object 1"


@pytest.mark.parametrize("ids", [ids_of(1, 2, 3), ids_of(3, 7), ids_of(200), ids_of(*range(1, 41))])
def test_few_grey_levels_are_ids(tmp_path, ids):
    np.testing.assert_array_equal(read_mask(saved(tmp_path, ids)).ids, ids)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, ids.astype(np.uint16))).ids, ids)


def test_16_bit_ids_up_to_255(tmp_path):
    ids = ids_of(255, 3, 100)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, ids.astype(np.uint16))).ids, ids)
    with pytest.raises(AnnotationError, match="ids from 1 to 256; ids are 1 to 255"):
        read_mask(saved(tmp_path, np.array([[0, 1, 256]], np.uint16)))


@pytest.mark.parametrize("colour", [False, True])
def test_smoothed_outlines_are_refused(tmp_path, colour):
    column, row = np.meshgrid(np.arange(60), np.arange(50))
    disk = np.clip((15.5 - np.hypot(column - 30, row - 25)) * 64, 0, 255).astype(np.uint8)
    levels = len(np.unique(disk))
    array = disk[..., None].repeat(3, 2) if colour else disk
    with pytest.raises(AnnotationError, match=rf"has {levels} grey levels.*: save it without anti-aliasing, .*soft map \.npy"):
        read_mask(saved(tmp_path, array))
    with pytest.raises(AnnotationError, match="has 3 grey levels"):
        read_mask(saved(tmp_path, ids_of(90, 255)))
    with pytest.raises(AnnotationError, match="grey levels"):
        read_mask(saved(tmp_path, np.minimum(disk, 254)))
    with pytest.raises(AnnotationError, match="grey levels"):
        read_mask(saved(tmp_path, array, name="lossy.jpg"))


def test_named_colours_decide(tmp_path):
    colours = {"cat": (250, 0, 0), "dog": (0, 250, 0), "bird": (1, 2, 3)}
    rgb = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0]], np.uint8)[ids_of(1, 2)]
    masks = read_mask(saved(tmp_path, rgb), colours=colours)
    np.testing.assert_array_equal(masks.ids, ids_of(1, 2))
    assert masks.names == {1: "cat", 2: "dog"}
    indexed = saved(tmp_path, ids_of(9, 4), name="p.png", palette=[0] * 12 + [0, 250, 0] + [0] * 12 + [250, 0, 0] + [0] * 738)
    np.testing.assert_array_equal(read_mask(indexed, colours=colours).ids, ids_of(1, 2))
    grey = saved(tmp_path, ids_of(255), name="grey.png")
    assert read_mask(grey, colours={"cat": (255, 255, 255)}).names == {1: "cat"}
    with pytest.raises(AnnotationError, match="name each colour once"):
        read_mask(grey, colours={"a": (1, 1, 1), "b": (1, 1, 1)})


def test_unknown_colours_are_named(tmp_path):
    rgb = np.zeros((2, 5, 3), np.uint8)
    rgb[0, :5, 0] = [10, 11, 12, 13, 255]
    with pytest.raises(
        AnnotationError, match=r"unknown palette \(#0a0000, #0b0000, #0c0000 and 2 more\): use an indexed PNG.*--colour cat=#ff"
    ):
        read_mask(saved(tmp_path, rgb))
    with pytest.raises(AnnotationError, match=r"\(#0a0000, #0b0000, #0c0000 and 1 more\)"):
        read_mask(saved(tmp_path, rgb), colours={"cat": (255, 0, 0)})


def test_transparent_is_background(tmp_path):
    rgba = np.zeros((*SHAPE, 4), np.uint8)
    rgba[..., :3] = (128, 0, 0)
    rgba[..., 3] = np.where(ids_of(1), 255, 0)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, rgba)).ids, ids_of(1))
    rgba[..., :3] = 255
    np.testing.assert_array_equal(read_mask(saved(tmp_path, rgba)).ids, ids_of(1))
    grey_alpha = np.stack([np.full(SHAPE, 255, np.uint8), rgba[..., 3]], axis=2)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, grey_alpha)).ids, ids_of(1))


def test_files_that_are_no_masks(tmp_path):
    path = saved(tmp_path, ids_of(1, 2))
    with pytest.raises(AnnotationError, match=r"mask\.png is drawn on an image of 9x6, but the video's frames are 854x480"):
        read_mask(path, size=(480, 854))
    with pytest.raises(AnnotationError, match=r"mask\.png\?"):
        read_mask(tmp_path / "maks.png")
    with pytest.raises(AnnotationError, match="is empty; draw"):
        read_mask(saved(tmp_path, ids_of(), name="empty.png"))
    with pytest.raises(AnnotationError, match="kind F"):
        read_mask(saved(tmp_path, ids_of(1).astype(np.float32), name="float.tiff"))
    (tmp_path / "text.png").write_text("no")
    with pytest.raises(AnnotationError, match="not a picture that can be read"):
        read_mask(tmp_path / "text.png")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_pictures_raise_nothing_else(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    write_mask(folder / "m.png", ids_of(1, 2, 3))
    raw = bytearray((folder / "m.png").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[place] ^= data.draw(st.integers(1, 255))
    (folder / "m.png").write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with contextlib.suppress(AnnotationError):
        assert isinstance(read_mask(folder / "m.png"), Masks)


def saved_array(tmp_path, array):
    np.save(tmp_path / "maps.npy", array)
    return tmp_path / "maps.npy"


def test_label_maps(tmp_path):
    soft = np.linspace(0, 1, 24).reshape(2, 3, 4)
    maps = read_label_maps(saved_array(tmp_path, soft))
    assert maps.names == ("map 1", "map 2")
    assert maps.weights.dtype == np.float32
    np.testing.assert_allclose(maps.weights, soft, atol=1e-7)
    assert read_label_maps(saved_array(tmp_path, soft[1])).weights.shape == (1, 3, 4)
    eight = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_allclose(read_label_maps(saved_array(tmp_path, eight)).weights, [[[0, 0.2, 1]]], atol=1e-7)
    for binary in (np.array([[0, 1]], np.uint8), np.array([[False, True]])):
        assert read_label_maps(saved_array(tmp_path, binary)).weights.tolist() == [[[0, 1]]]


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.array([[0, 3]], np.uint8), "if they are object ids, save an indexed PNG"),
        (np.array([[0, 1.5]]), r"weights from 0 to 1\.5; scale"),
        (np.array([[0, -0.5]]), r"weights from -0\.5"),
        (np.array([[0, np.nan]]), "leave out NaN"),
        (np.array([[0, 1]], np.int64), "holds int64"),
        (np.zeros((2, 3), np.float32), "map 1 is 0 everywhere"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((0, 3)), "shape"),
        (np.array([{}], object), "no readable .npy"),
    ],
)
def test_label_maps_that_cannot_be(tmp_path, array, match):
    with pytest.raises(AnnotationError, match=match):
        read_label_maps(saved_array(tmp_path, array))


def test_label_map_files_of_other_kinds(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones((2, 2)))
    with pytest.raises(AnnotationError, match="archive"):
        read_label_maps(tmp_path / "a.npz")
    with pytest.raises(AnnotationError, match="does not exist"):
        read_label_maps(tmp_path / "b.npy")
    for raw in (b"", b"\x93NUMPY\x01\x00\x10\x00{broken", b"\x93NUMPY\x01\x00\x10\x00{'descr': (\n", b"hello"):
        (tmp_path / "c.npy").write_bytes(raw)
        with pytest.raises(AnnotationError, match="no readable"):
            read_label_maps(tmp_path / "c.npy")
