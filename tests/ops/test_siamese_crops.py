"""F121: crops with context and mean padding, and their exact inverse."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.siamese_crops import Window, context_side, cut, put_back

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
MEAN = IMAGE.reshape(-1, 3).mean(0)


def padded_and_resized(image, left, top, side, pixels):
    """The reference: a canvas of the mean colour, the picture pasted into it, and OpenCV's bilinear resize."""
    reach = 200
    canvas = np.empty((image.shape[0] + 2 * reach, image.shape[1] + 2 * reach, 3))
    canvas[:] = image.reshape(-1, 3).mean(0)
    canvas[reach:-reach, reach:-reach] = image
    part = canvas[top + reach : top + reach + side, left + reach : left + reach + side]
    return cv2.resize(part, (pixels, pixels), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize(
    "window",
    [(10, 5, 40), (-20, -15, 45), (50, 30, 60), (-30, 10, 130), (20, -40, 127), (-100, -100, 60), (69, 49, 3), (0, 0, 1)],
    ids=["inside", "top left", "bottom right", "wider than the image", "no scaling", "outside", "last pixel", "one pixel"],
)
@pytest.mark.parametrize("pixels", [127, 255])
def test_f121_a_crop_equals_the_padded_reference_within_a_grey_level(window, pixels):
    left, top, side = window
    got = cut(IMAGE, Window(left=left, top=top, side=side), pixels=pixels, fill=MEAN)
    assert got.shape == (pixels, pixels, 3)
    assert np.abs(got.astype(float) - padded_and_resized(IMAGE, left, top, side, pixels)).max() <= 1


def test_f121_a_window_of_the_side_of_the_crop_shows_the_very_pixels():
    np.testing.assert_array_equal(cut(IMAGE, Window.around(32, 20, 24), pixels=24, fill=MEAN), IMAGE[8:32, 20:44])


def test_f121_context():
    # By hand: w = 40, h = 20, context 30 to both: sqrt(70 * 50).
    assert context_side(40, 20) == pytest.approx(59.1608, abs=1e-4)
    assert context_side(40, 20, context=0) == pytest.approx(28.2843, abs=1e-4)
    # The exemplar of a square target shows it at half of its side.
    assert 127 * 30 / context_side(30, 30) == 63.5


def test_windows_of_whole_pixels_lie_around_their_centre():
    assert Window.around(15, 15, 10.4) == Window(left=10, top=10, side=10)
    assert Window.around(15, 15, 11) == Window(left=10, top=10, side=11)
    assert Window.around(3.2, -4, 0.2) == Window(left=3, top=-4, side=1)
    with pytest.raises(SettingError, match="side must be above 0"):
        Window(left=0, top=0, side=0)
    with pytest.raises(SettingError, match="is none"):
        Window(left=float("nan"), top=0, side=1)


edges = st.floats(-500, 500)


@given(left=edges, top=edges, side=st.floats(1, 900), box=st.tuples(edges, edges, edges, edges), pixels=st.sampled_from([127, 255]))
def test_f121_the_way_back_is_exact(left, top, side, box, pixels):
    window = Window(left=left, top=top, side=side)
    there = window.to_image(np.array(box), pixels=pixels)
    np.testing.assert_allclose(window.to_crop(there, pixels=pixels), box, atol=1e-7 * pixels)
    np.testing.assert_allclose(window.to_crop(window.box, pixels=pixels), [0, 0, pixels, pixels], atol=1e-7 * pixels)


def test_f121_a_mask_that_was_cut_comes_back_where_it_was():
    mask = np.zeros((50, 70, 3), np.uint8)
    cv2.ellipse(mask, (40, 25), (18, 9), 30, 0, 360, (200,) * 3, -1)
    window = Window.around(38, 24, 61)
    crop = cut(mask, window, pixels=255, fill=np.zeros(3))[:, :, 0].astype(np.float32)
    whole = np.zeros((50, 70), np.float32)
    patch = put_back(crop, window.box, (50, 70))
    whole[patch.area] = patch.values
    np.testing.assert_array_equal(whole > 100, mask[:, :, 0] > 0)


def test_f121_values_come_back_between_pixels_as_the_formula_says():
    """A plane is what bilinear interpolation keeps; its value at the centre of each pixel is known."""
    box = np.array([3.3, -2.6, 25.0, 18.6])
    columns, rows = 3.3 + (np.arange(63) + 0.5) * 21.7 / 63, -2.6 + (np.arange(50) + 0.5) * 21.2 / 50
    patch = put_back((2 * columns[None] + 3 * rows[:, None]).astype(np.float32), box, (30, 40))
    rows, columns = np.mgrid[patch.area] + 0.5
    inside = (columns > 4) & (columns < 24) & (rows < 18)
    np.testing.assert_allclose(patch.values[inside], (2 * columns + 3 * rows)[inside], atol=0.06)
    assert inside.sum() > 300


def test_put_back_fills_no_more_than_the_box():
    patch = put_back(np.ones((4, 4), np.float32), np.array([-2.0, 3, 6, 11]), (8, 9))
    assert patch.area == (slice(3, 8), slice(0, 7))
    np.testing.assert_allclose(patch.values[2:, :3], 1)
    assert patch.values[:, 6].max() < 0.5
    assert put_back(np.ones((4, 4), np.float32), np.array([100.0, 0, 108, 8]), (8, 9)).values.size == 0


def test_huge_windows_need_no_huge_memory():
    smooth = np.stack([np.add.outer(np.arange(500), np.arange(600)) // 5] * 3, -1).astype(np.uint8)
    got = cut(smooth, Window(left=-2000, top=-2100, side=5000), pixels=125, fill=np.array([1.0, 2, 3]))
    # Row 60 of the crop lies 60.5 * 40 pixels below the top of the window, column 55 55.5 * 40 beside its left.
    assert abs(int(got[60, 55, 0]) - int(smooth[320, 220, 0])) <= 1
    assert got[30, 55].tolist() == [1, 2, 3]
    far = cut(IMAGE, Window(left=-1e6, top=-1e6, side=2e6), pixels=127, fill=MEAN)
    np.testing.assert_allclose(far[0, 0], MEAN, atol=1)
