"""F145: overlap of polygons without a C extension, against slow references, TraX's own code, and numbers of vot-toolkit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import AnnotationError
from followspot.metrics.overlap import corners, overlap

SIZE = (40, 60)
WIDE = (10_000, 10_000)

# Pairs of regions in an image of 60x40, and what vot-toolkit 0.7.4 says their overlap is (calculate_overlap with bounds).
TOOLKIT = [
    ([33.8, 21.6, 45.9, 38.2, 38.2, 43.8, 26.1, 27.2], [23.9, 23.0, 21.8, 21.3], 0.518617),
    ([28.0, 6.6, 25.6, 20.3, 10.8, 17.7, 13.1, 4.0], [22.6, 4.7, 20.3, 18.4, 5.4, 15.9, 7.7, 2.2], 0.420063),
    ([29.2, 29.6, 10.9, 9.9], [25.4, 30.4, 11.3, 9.3], 0.431507),
    ([35.9, 24.5, 36.1, 42.1, 20.8, 42.2, 20.7, 24.6], [25.3, 22.0, 10.5, 19.5], 0.553506),
    ([11.8, 33.9, 4.3, 36.9, 0.5, 27.2, 8.0, 24.3], [12.1, 29.0, 4.6, 32.0, 0.8, 22.3, 8.3, 19.4], 0.286624),
    ([30.2, 21.0, 8.6, 16.7], [30.5, 19.0, 14.6, 19.0], 0.536842),
    ([15.8, 16.6, 6.2, 22.9, 1.9, 16.2, 11.5, 9.9], [0.4, 6.5, 17.6, 17.9], 0.333333),
    ([10.5, 10.4, 19.9, 13.3, 16.0, 25.8, 6.6, 22.9], [15.1, 5.1, 24.4, 8.0, 20.5, 20.5, 11.2, 17.6], 0.265217),
    ([31.9, 5.5, 22.7, 18.9], [31.7, 9.3, 24.8, 17.9], 0.709056),
    ([45.7, 6.2, 44.2, 14.9, 21.0, 11.1, 22.5, 2.4], [24.0, -0.9, 18.5, 17.3], 0.488571),
    ([26.3, -4.8, 22.9, 17.4, 8.7, 15.3, 12.1, -7.0], [30.5, -4.9, 27.1, 17.4, 12.9, 15.3, 16.3, -7.0], 0.571429),
    ([-3.6, 8.0, 7.5, 9.2], [-9.7, 7.1, 4.8, 9.7], 0.000000),
    ([52.6, 3.4, 60.0, 18.5, 43.2, 26.7, 35.8, 11.6], [34.1, 10.0, 23.4, 9.7], 0.525333),
    ([49.0, 33.4, 42.6, 37.7, 35.2, 26.5, 41.7, 22.2], [49.8, 33.8, 43.3, 38.0, 36.0, 26.8, 42.5, 22.6], 0.853846),
    ([38.6, 13.0, 20.1, 11.1], [39.7, 6.6, 22.6, 5.8], 0.000000),
    ([58.1, 26.6, 46.5, 28.4, 44.9, 18.1, 56.6, 16.3], [43.1, 12.2, 16.3, 16.4], 0.540856),
    ([46.4, 21.4, 24.5, 26.8, 21.3, 13.9, 43.2, 8.5], [41.3, 26.4, 19.4, 31.8, 16.2, 19.0, 38.1, 13.5], 0.358974),
    ([23.6, 28.3, 11.5, 21.5], [22.6, 26.6, 11.5, 20.4], 0.785714),
    ([29.2, 14.2, 23.4, 15.7, 21.0, 6.8, 26.8, 5.2], [13.3, 2.3, 17.9, 15.6], 0.243056),
    ([31.7, 31.9, 25.8, 44.9, 9.8, 37.7, 15.7, 24.6], [28.7, 33.7, 22.8, 46.7, 6.8, 39.5, 12.7, 26.4], 0.651163),
    ([17.6, 21.7, 21.7, 20.1], [21.6, 20.2, 22.5, 20.0], 0.632812),
    ([28.3, 30.3, 34.3, 30.7, 33.9, 36.3, 28.0, 35.9], [24.8, 21.9, 10.4, 17.2], 0.252941),
    ([17.7, 30.7, 12.4, 31.7, 10.2, 20.7, 15.5, 19.7], [21.0, 34.4, 15.7, 35.4, 13.6, 24.4, 18.9, 23.4], 0.237705),
    ([31.2, 16.4, 10.4, 17.3], [32.7, 19.0, 16.1, 21.8], 0.284264),
]


def turned(cx, cy, width, height, angle):
    half = np.array([(-width, -height), (width, -height), (width, height), (-width, height)]) / 2
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return (half @ turn + (cx, cy)).ravel()


def random_pair(rng):
    """Two turned rectangles, or a turned and an upright one, that usually overlap and often leave the image."""
    centre = rng.uniform(0, 1, 2) * SIZE[::-1]
    one = turned(*centre, *rng.uniform(4, 25, 2), rng.uniform(0, np.pi))
    if rng.random() < 0.3:
        return one, np.concatenate([centre - 5, rng.uniform(4, 25, 2)])
    return one, turned(*(centre + rng.normal(0, 4, 2)), *rng.uniform(4, 25, 2), rng.uniform(0, np.pi))


def cut(polygon, frame):
    """What of a polygon lies in a convex one whose corners run clockwise on the screen: one side after the other cuts it."""
    for (x1, y1), (x2, y2) in zip(frame, frame[1:] + frame[:1], strict=True):
        depth = [(x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) for x, y in polygon]
        kept = []
        for index, (x, y) in enumerate(polygon):
            (before_x, before_y), before, now = polygon[index - 1], depth[index - 1], depth[index]
            if (before < 0) != (now < 0):
                share = before / (before - now)
                kept.append((before_x + share * (x - before_x), before_y + share * (y - before_y)))
            if now >= 0:
                kept.append((x, y))
        polygon = kept
    return polygon


def area(polygon):
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True))) / 2


def test_f145_exact_overlap_of_convex_polygons_equals_cutting_side_by_side():
    rng = np.random.default_rng(0)
    frame = [(0, 0), (SIZE[1], 0), (SIZE[1], SIZE[0]), (0, SIZE[0])]
    for _ in range(300):
        pair = random_pair(rng)
        one, other = (cut([tuple(corner) for corner in corners(region).tolist()], frame) for region in pair)
        both = area(cut(one, other)) if len(other) > 2 else 0.0
        assert overlap(*pair, size=SIZE) == pytest.approx(both / (area(one) + area(other) - both), abs=1e-9)


def inside(point, polygon):
    """Even-odd rule by counting crossings of a ray."""
    odd = False
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if (y1 > point[1]) != (y2 > point[1]) and point[0] < x1 + (point[1] - y1) * (x2 - x1) / (y2 - y1):
            odd = not odd
    return odd


def test_f145_polygons_with_dents_and_crossings_equal_counting_of_points():
    """Random hexagons, most of them neither convex nor simple, on a grid of 2.5 points a pixel."""
    rng = np.random.default_rng(1)
    steps = (np.arange(0, 24, 0.4) + 0.2).tolist()
    for _ in range(4):
        one, other = (rng.uniform(-4, 28, 12) for _ in range(2))
        counts = np.zeros(2)
        for y in steps:
            for x in steps:
                here, there = inside((x, y), corners(one)), inside((x, y), corners(other))
                counts += (here and there, here or there)
        assert overlap(one, other, size=(24, 24)) == pytest.approx(counts[0] / counts[1], abs=0.02)


def test_by_hand():
    square, moved = np.array([0.0, 0, 10, 10]), lambda *by: np.array([*by, 10.0, 10])
    diamond = np.array([5.0, 0, 10, 5, 5, 10, 0, 5])
    assert overlap(square, diamond, size=WIDE) == pytest.approx(0.5)
    assert overlap(square, moved(5, 5), size=WIDE) == pytest.approx(25 / 175)
    assert overlap(square, moved(10, 0), size=WIDE) == 0
    assert overlap(moved(-5, 0), square, size=WIDE) == pytest.approx(0.5)  # half of the first lies outside the image
    assert overlap(square, moved(2, 0), size=(10, 4)) == pytest.approx(0.5)  # cut to 4 and 2 columns
    assert overlap(moved(-20, 0), moved(-20, 0), size=WIDE) == 0  # nothing in the image
    bow = np.array([0.0, 0, 10, 10, 10, 0, 0, 10])  # two triangles that meet in the middle
    assert overlap(square, bow, size=WIDE) == pytest.approx(0.5)


shapes = st.integers(0, 10**6).map(lambda seed: random_pair(np.random.default_rng(seed)))


@settings(deadline=None)
@given(shapes, st.integers(-30, 30), st.integers(-30, 30), st.floats(0.2, 5))
def test_exact_overlap_does_not_depend_on_order_place_and_scale(pair, right, down, scale):
    one, other = (corners(region).ravel() + 100 for region in pair)
    value = overlap(one, other, size=WIDE)
    assert 0 <= value <= 1
    assert overlap(other, one, size=WIDE) == pytest.approx(value, abs=1e-9)
    assert overlap(np.roll(one, 2), corners(other)[::-1].ravel(), size=WIDE) == pytest.approx(value, abs=1e-9)
    move = np.tile([right, down], 4)
    assert overlap(one + move, other + move, size=WIDE) == pytest.approx(value, abs=1e-9)
    assert overlap(one * scale, other * scale, size=WIDE) == pytest.approx(value, abs=1e-9)
    assert overlap(one, one, size=WIDE) == pytest.approx(1)


def slow_pixels(polygon, size):
    """The rule in exact numbers, for convex polygons: rounded corners, border included, ends of rows cut off towards zero."""
    polygon = [tuple(int(value) for value in point) for point in np.round(polygon.astype(np.float32))]
    found = set()
    for y in range(min(y for _, y in polygon), max(y for _, y in polygon) + 1):
        at = []
        for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            if y1 == y2 == y:
                at += [Fraction(x1), Fraction(x2)]
            elif y1 != y2 and min(y1, y2) <= y <= max(y1, y2):
                at.append(x1 + Fraction((y - y1) * (x2 - x1), y2 - y1))
        found |= {(x, y) for x in range(int(min(at)), int(max(at)) + 1)}
    return {(x, y) for x, y in found if 0 <= x < size[1] and 0 <= y < size[0]}


def test_counted_pixels_equal_a_slow_count():
    rng = np.random.default_rng(2)
    for _ in range(150):
        one, other = random_pair(rng)
        first, second = (slow_pixels(corners(region), SIZE) for region in (one, other))
        expected = len(first & second) / len(first | second) if first | second else 0.0
        assert overlap(one, other, size=SIZE, measure="pysot") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("one", "other", "value"), TOOLKIT)
def test_f145_counted_pixels_equal_vot_toolkit(one, other, value):
    assert overlap(np.array(one), np.array(other), size=SIZE, measure="toolkit") == pytest.approx(value, abs=1e-6)


def test_f145_counted_pixels_equal_the_code_of_trax():
    """TraX counts pixels in C code of its own. It says 0 where two regions share only the outermost row of the image."""
    trax = pytest.importorskip("trax")
    from trax import _ctypes as native

    bounds = native.struct_trax_bounds()
    bounds.left, bounds.top, bounds.right, bounds.bottom = 0, 0, SIZE[1] - 1, SIZE[0] - 1
    rng, equal = np.random.default_rng(3), []
    for _ in range(300):
        pair = random_pair(rng)
        regions = [trax.Polygon.create([(float(x), float(y)) for x, y in corners(region)]) for region in pair]
        theirs = native.trax_region_overlap(regions[0].reference, regions[1].reference, bounds)
        equal.append(overlap(*pair, size=SIZE, measure="pysot") == pytest.approx(theirs, abs=1e-6))
        assert equal[-1] or theirs == 0
    assert sum(equal) >= 298


def test_borders_make_a_polygon_larger_than_its_rectangle():
    rectangle, polygon = np.array([0.0, 0, 10, 10]), np.array([0.0, 0, 10, 0, 10, 10, 0, 10])
    assert overlap(rectangle, polygon, size=SIZE, measure="toolkit") == pytest.approx(100 / 121)
    assert overlap(rectangle, polygon, size=SIZE, measure="pysot") == 1
    assert overlap(rectangle, polygon, size=SIZE) == pytest.approx(1)
    assert overlap(rectangle, np.array([0.5, 0, 10, 10]), size=SIZE, measure="toolkit") == 1  # 0.5 is rounded to 0
    assert overlap(rectangle, np.array([5.4, 0, 10, 10]), size=SIZE, measure="toolkit") == pytest.approx(1 / 3)


@pytest.mark.parametrize("bad", [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, np.nan, 4], [[1, 2], [3, 4]], [1, 2, -3, 4], []])
def test_what_is_no_region_is_refused(bad):
    with pytest.raises(AnnotationError, match="region"):
        overlap(np.array(bad, float), np.array([0.0, 0, 1, 1]), size=SIZE)
