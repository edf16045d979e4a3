import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops import views
from followspot.ops.views import ViewRange

STRONG = ViewRange(extent=(0.6, 1.3), aspect=(0.8, 1.25), rotation=0.5, flip=0.5)


def drawn(count, *, ranges=STRONG, ratio=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return views.random_views(torch.rand(count, views.DRAWS, generator=generator, dtype=torch.float64), ranges, ratio=ratio)


@given(seed=st.integers(0, 1000), ratio=st.floats(0.4, 2.5))
@settings(deadline=None, max_examples=20)
def test_there_and_back_is_where_one_was(seed, ratio):
    view, other = drawn(3, ratio=ratio, seed=seed), drawn(3, ratio=ratio, seed=seed + 1)
    points = torch.rand(3, 7, 2, dtype=torch.float64) * 2 - 1
    assert torch.allclose(views.move(views.move(points, view), views.invert(view)), points)
    assert torch.allclose(views.move(points, views.compose(view, other)), views.move(views.move(points, other), view))


def test_a_view_is_the_formula():
    uniform = torch.tensor([[0.25, 0.75, 0.9, 0.1, 0.6, 0.3]], dtype=torch.float64)
    (view,) = views.random_views(uniform, STRONG, ratio=2.0)
    extent, aspect = 0.6 * (1.3 / 0.6) ** 0.25, 0.8 * (1.25 / 0.8) ** 0.75
    angle = 0.8 * 0.5
    # One step of the view to the right, in pixels of a picture 2 wide and 1 high, is mirrored, stretched and turned.
    across, down = -extent * math.sqrt(aspect), extent / math.sqrt(aspect)
    for step, turned in (
        ((1.0, 0.0), (2 * across * math.cos(angle), 2 * across * math.sin(angle))),
        ((0.0, 1.0), (-down * math.sin(angle), down * math.cos(angle))),
    ):
        x, y = view[:, :2] @ torch.tensor(step, dtype=torch.float64)
        assert (float(x) * 2, float(y)) == pytest.approx(turned)
    rooms = [max(0.0, 1 - sum(abs(float(v)) for v in row[:2])) for row in view]
    assert view[:, 2].tolist() == pytest.approx([0.2 * rooms[0], -0.4 * rooms[1]])


def test_views_that_fit_stay_inside_and_fill_their_range():
    view = drawn(500, ranges=ViewRange(extent=(0.5, 1.0), aspect=(1.0, 1.0), rotation=0.0, flip=0.5))
    corners = torch.tensor([[-1.0, -1], [1, 1]], dtype=torch.float64).expand(500, -1, -1)
    assert views.move(corners, view).abs().max() <= 1 + 1e-9
    sides = view[:, 1, 1]
    assert sides.min() < 0.51
    assert sides.max() > 0.98
    assert 0.4 < (view[:, 0, 0] < 0).double().mean() < 0.6
    assert view[:, :, 2].abs().max() > 0.4


def test_a_still_range_shows_the_picture_itself():
    still = ViewRange(extent=(1.0, 1.0), flip=0.0)
    assert still.still
    assert not STRONG.still
    assert torch.equal(drawn(2, ranges=still), torch.eye(2, 3, dtype=torch.float64).expand(2, -1, -1))
    frames = torch.rand(2, 2, 3, 6, 8, dtype=torch.float64)
    assert torch.allclose(views.warp(frames, drawn(2, ranges=still)), frames)


def test_a_warped_frame_shows_what_the_map_says():
    # A picture that rises evenly is read exactly by bilinear sampling, wherever the view lies at least half a pixel inside.
    height, width = 20, 32
    centers = views.cell_centers(height, width, like=torch.zeros(0, dtype=torch.float64))
    ramp = (centers @ torch.tensor([0.3, -0.7], dtype=torch.float64)).view(height, width)
    frames = torch.stack([ramp, -ramp])[None, :, None].expand(6, 2, 3, height, width)
    view = drawn(6, ratio=width / height)
    places = views.move(centers.expand(6, -1, -1), view)
    seen = views.warp(frames, view).flatten(3)
    expected = places @ torch.tensor([0.3, -0.7], dtype=torch.float64)
    within = (places.abs() < 1 - torch.tensor([1 / width, 1 / height])).all(-1)
    assert 0.5 < within.double().mean() < 1
    for sign, frame in ((1, 0), (-1, 1)):
        for channel in range(3):
            assert torch.allclose(seen[:, frame, channel][within], sign * expected[within])


def test_outside_is_mirrored_in():
    frames = torch.arange(4.0).view(1, 1, 1, 1, 4)
    shifted = torch.tensor([[[1.0, 0, 1.0], [0, 1, 0]]])
    assert views.warp(frames, shifted).flatten().tolist() == pytest.approx([2, 3, 3, 2], abs=1e-5)


def test_sampling_at_cells_gives_the_cells():
    features = torch.rand(2, 5, 4, 6)
    centers = views.cell_centers(4, 6, like=features).expand(2, -1, -1)
    assert torch.allclose(views.sample(features, centers), features.flatten(2).transpose(1, 2), atol=1e-6)
    assert torch.equal(views.nearest_cells(centers, 4, 6), torch.arange(24).expand(2, -1))


def test_nearest_cells_outside_go_to_the_border():
    points = torch.tensor([[[-1.5, -3.0], [1.0, 1.0], [9.0, -0.99], [-0.01, 0.01]]])
    assert views.nearest_cells(points, 2, 4).tolist() == [[0, 7, 3, 5]]
    assert views.inside(points).tolist() == [[False, True, False, True]]


def test_an_offset_grid_moves_as_a_whole():
    (grid,) = views.offset_grid(torch.tensor([[0.0, 0.5]]), 4)
    expected = [(2 * i / 4 - 1, 2 * (j + 0.5) / 4 - 1) for j in range(4) for i in range(4)]
    assert grid.tolist() == [pytest.approx(point) for point in expected]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"extent": (0.0, 1.0)}, r"extent = \(0.0, 1.0\)"),
        ({"aspect": (2.0, 1.0)}, r"aspect = \(2.0, 1.0\)"),
        ({"rotation": 4.0}, "rotation = 4.0"),
        ({"rotation": -0.1}, "rotation = -0.1"),
        ({"flip": 1.5}, "flip = 1.5"),
    ],
)
def test_impossible_views_are_refused(wrong, said):
    with pytest.raises(SettingError, match=said):
        ViewRange(**wrong)
