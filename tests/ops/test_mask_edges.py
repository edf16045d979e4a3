"""Outlines go to edges; contrast is what colours do not share."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError
from followspot.ops.mask_edges import color_contrast, snap_mask

SIZE = (120, 160)


def disc(radius, *, x=80, y=60):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.hypot(columns - x, rows - y) <= radius


@pytest.fixture(scope="module")
def picture():
    """An orange disc of 30 pixels on green, both grainy."""
    rng = np.random.default_rng(1)
    image = np.where(disc(30)[:, :, None], (200, 120, 40), (40, 120, 60)) + rng.normal(0, 12, (*SIZE, 3))
    return image.clip(0, 255).astype(np.uint8)


def overlap(one, two):
    return np.count_nonzero(one & two) / np.count_nonzero(one | two)


@pytest.mark.parametrize("rough", [25, 29])
def test_a_mask_too_small_grows_to_the_edge(picture, rough):
    assert overlap(snap_mask(picture, disc(rough)), disc(30)) > 0.95


def test_a_halo_goes_where_it_is_let(picture):
    assert overlap(snap_mask(picture, disc(34), inward=12), disc(30)) > 0.95
    # By default the outline moves in 4 pixels of 240, which are 2 of 120.
    kept = snap_mask(picture, disc(34))
    assert (kept >= disc(31)).all()
    assert not (kept & ~disc(34 + 7)).any()


@given(st.integers(8, 40), st.integers(-20, 20), st.floats(1, 16), st.floats(1, 16))
@settings(deadline=None, max_examples=15)
def test_nothing_changes_far_from_the_outline(picture, radius, shift, outward, inward):
    mask = disc(radius, x=80 + shift)
    found = snap_mask(picture, mask, outward=outward, inward=inward)
    assert not (found & ~disc(radius + 0.5 * outward + 2, x=80 + shift)).any()
    assert (found | ~disc(max(0, radius - 0.5 * inward - 3), x=80 + shift)).all()


def test_the_state_of_opencv_does_not_matter():
    """Of noise the colour models are whatever they began with."""
    noise = np.random.default_rng(2).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    found = []
    for seed in (5, 99, 1234):
        cv2.setRNGSeed(seed)
        found.append(snap_mask(noise, disc(26)))
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


@pytest.mark.parametrize("mask", [np.zeros(SIZE, bool), np.ones(SIZE, bool), disc(1)], ids=["nothing", "all", "a few pixels"])
def test_what_has_no_two_sides_stays(picture, mask):
    assert (snap_mask(picture, mask) == mask).all()


def test_a_mask_at_the_border_stays_there(picture):
    """The border is no outline: what is cut off there goes on behind it."""
    half = picture[:, 80:]
    found = snap_mask(np.ascontiguousarray(half), disc(26)[:, 80:])
    assert overlap(found, disc(30)[:, 80:]) > 0.95
    assert found[40:80, 0].all()


def test_masks_must_fit(picture):
    with pytest.raises(AnnotationError, match="bool"):
        snap_mask(picture, disc(9).astype(np.uint8))
    with pytest.raises(AnnotationError):
        snap_mask(picture, disc(9)[:50])


def test_contrast_by_hand():
    image = np.zeros((*SIZE, 3), np.uint8)
    assert color_contrast(image, disc(20)) == pytest.approx(0, abs=1e-9)
    image[disc(20)] = 255
    assert color_contrast(image, disc(20)) == pytest.approx(1, abs=1e-6)
    # Half of the inside is as the outside.
    image[:, :80] = 0
    share = np.count_nonzero(disc(20)[:, 80:]) / np.count_nonzero(disc(20))
    assert color_contrast(image, disc(20)) == pytest.approx(share, abs=1e-6)


def test_without_a_ring_or_an_inside_there_is_no_contrast(picture):
    assert color_contrast(picture, np.zeros(SIZE, bool)) == color_contrast(picture, np.ones(SIZE, bool)) == 0
