import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from followspot.metrics.bits import PackedPair, count, covered, shifted, spread

MASKS = hnp.arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 90)))


def unpacked(pair, words):
    """``(2, rows, width)`` booleans again."""
    bits = np.unpackbits(np.ascontiguousarray(words).astype("<u8").view(np.uint8), bitorder="little")
    return bits.reshape(2, words.shape[1], -1)[:, :, : pair.width].astype(bool)


def slow_disk(mask, radius):
    """Every pixel whose distance from a set one is at most the radius, pair by pair."""
    grid = np.stack(np.indices(mask.shape), -1)
    near = np.zeros(mask.shape, bool)
    for pixel in np.argwhere(mask):
        near |= ((grid - pixel) ** 2).sum(-1) <= radius**2
    return near


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_the_window_holds_all_of_both_and_one_pixel_more(pair):
    rows, columns = covered(*pair)
    either = pair[0] | pair[1]
    assert either[rows, columns].sum() == either.sum()
    if either.any():
        ys, xs = np.nonzero(either)
        height, width = either.shape
        assert (rows.start, rows.stop) == (max(ys.min() - 1, 0), min(ys.max() + 2, height))
        assert (columns.start, columns.stop) == (max(xs.min() - 1, 0), min(xs.max() + 2, width))


def test_the_window_of_tall_masks_is_as_exact():
    # More rows than are joined at a time, and a rest.
    mask = np.zeros((75, 30), bool)
    mask[3, 4] = mask[70, 9] = True
    assert covered(mask) == (slice(2, 72), slice(3, 11))
    assert covered(np.zeros((5, 5), bool), np.zeros((5, 5), bool)) == (slice(0, 1), slice(0, 1))
    assert covered(np.asfortranarray(mask)) == covered(mask)


@settings(deadline=None, max_examples=40)
@given(MASKS, st.integers(0, 12))
def test_disks_agree_with_all_distances(pair, radius):
    packed = PackedPair(*pair, margin=radius)
    window = covered(*pair)
    grown = unpacked(packed, spread(packed.words, radius))
    for mask, disks in zip(pair, grown, strict=True):
        np.testing.assert_array_equal(disks, slow_disk(mask[window], radius))


@pytest.mark.parametrize("radius", [63, 64, 70, 200])
def test_disks_may_be_larger_than_a_word_and_than_the_picture(radius):
    first, second = np.zeros((2, 90, 150), bool)
    first[[0, 89], [0, 149]] = True
    second[45, 0] = True
    packed = PackedPair(first, second, margin=radius)
    grown = unpacked(packed, spread(packed.words, radius))
    np.testing.assert_array_equal(grown[0], slow_disk(first, radius))
    np.testing.assert_array_equal(grown[1], slow_disk(second, radius))


@settings(deadline=None, max_examples=30)
@given(MASKS, st.integers(1, 63))
def test_moves_keep_to_their_rows(pair, columns):
    packed = PackedPair(*pair, margin=63)
    expected = unpacked(packed, packed.words)
    right = np.zeros_like(expected)
    right[:, :, columns:] = expected[:, :, : max(packed.width - columns, 0)]
    np.testing.assert_array_equal(unpacked(packed, shifted(packed.words, columns)), right)
    left = np.zeros_like(expected)
    left[:, :, : max(packed.width - columns, 0)] = expected[:, :, columns:]
    np.testing.assert_array_equal(unpacked(packed, shifted(packed.words, -columns)), left)


@given(hnp.arrays(np.uint64, st.integers(0, 40)))
def test_counts_bits(words):
    assert count(words) == sum(int(word).bit_count() for word in words)
