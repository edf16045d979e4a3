"""Flow over several frames, on textures that are formulas: what lies between pixels is known exactly."""

import numpy as np
import pytest

from followspot.ops.flow import chain, dis
from followspot.ops.flow_chain import chained_flow

SIZE = (80, 112)


def picture(dx, dy, seed=0, size=SIZE):
    """A smooth texture, moved by (dx, dy) pixels: waves of 8 to 40 pixels in every direction."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = 2 * np.pi / rng.uniform(8, 40, (12, 1, 1))
    angles, phases = rng.uniform(0, 2 * np.pi, (2, 12, 1, 1))
    light = np.sin(waves * (np.cos(angles) * (columns - dx) + np.sin(angles) * (rows - dy)) + phases).sum(0)
    return np.repeat((127.5 + 18 * light).clip(0, 255).round().astype(np.uint8)[..., None], 3, 2)


def constant(dx, dy, size=(9, 12)):
    return np.stack([np.full(size, dx, np.float32), np.full(size, dy, np.float32)])


def test_joined_translations_are_their_sum():
    np.testing.assert_allclose(chain(constant(1.5, -2), constant(-0.25, 3.5)), constant(1.25, 1.5))


def test_the_second_flow_is_read_where_the_first_one_leads():
    rows, columns = np.mgrid[:9, :12].astype(np.float32)
    slope = np.stack([0.5 * columns, 0.25 * rows])
    joined = chain(constant(2.5, 1), slope)
    np.testing.assert_allclose(joined[0, :, :9], 2.5 + 0.5 * (columns[:, :9] + 2.5), atol=1e-5)
    np.testing.assert_allclose(joined[1, :8], 1 + 0.25 * (rows[:8] + 1), atol=1e-5)
    np.testing.assert_allclose(joined[0, :, -1], 2.5 + 0.5 * 11)  # beyond the frame its border repeats
    turned = chain(slope, constant(2.5, 1))
    np.testing.assert_allclose(turned, slope + constant(2.5, 1))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("step", [(1.0, -2.0), (-1.3, 0.7), (2.6, 1.45)])
def test_a_shifted_texture_is_followed_to_a_twentieth_of_a_pixel_a_step(count, step):
    frames = [picture(step[0] * t, step[1] * t) for t in range(count)]
    flow, believed = chained_flow(frames, dis)
    assert flow.shape == (2, *SIZE)
    assert believed.shape == SIZE
    assert believed.dtype == bool
    whole = np.array(step) * (count - 1)
    error = np.hypot(flow[0] + whole[0], flow[1] + whole[1])
    inside = np.zeros(SIZE, bool)
    inside[16:-16, 16:-16] = True
    assert believed[inside].mean() > 0.98
    assert np.median(error[inside]) < 0.05 * (count - 1)
    assert np.percentile(error[inside & believed], 99) < 0.15 * (count - 1)


def test_two_frames_are_one_flow():
    frames = [picture(0, 0), picture(2, 1)]
    np.testing.assert_array_equal(chained_flow(frames, dis)[0], dis(frames[1], frames[0]))


def test_flows_are_asked_for_between_neighbours_only():
    frames, asked = [np.full((9, 12, 3), value, np.uint8) for value in range(4)], []

    def flow(first, second):
        asked.append((first[0, 0, 0], second[0, 0, 0]))
        return constant(2, 0) if first[0, 0, 0] < second[0, 0, 0] else constant(-2, 0)

    back, believed = chained_flow(frames, flow)
    assert sorted(asked) == [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]
    np.testing.assert_array_equal(back, constant(-6, 0))
    np.testing.assert_array_equal(believed, np.broadcast_to(np.arange(12) >= 6, (9, 12)))  # the others came from beyond the left border


@pytest.mark.parametrize(("miss", "good"), [(0.0, True), (0.7, True), (0.8, False)])
def test_a_round_trip_may_miss_by_a_little(miss, good):
    """Squared, by half a pixel and a hundredth of the ways: 0.7² < 0.5 + 0.01 · (1² + 0.3²) < 0.8²."""
    still, onward = np.zeros((9, 12, 3), np.uint8), constant(miss - 1, 0)
    flows = iter([onward, constant(1, 0)])  # asked for in this order
    _, believed = chained_flow([still, still], lambda *_: next(flows))
    assert believed[:, :-1].all() == good
    assert believed[:, :-1].any() == good
    assert not believed[:, -1].any()


def test_long_ways_may_miss_by_more():
    still, size = np.zeros((9, 40, 3), np.uint8), (9, 40)
    for miss, good in ((2.0, True), (2.7, True), (2.8, False)):  # squared, below 0.5 + 0.01 · (20² + 17.3²) = 7.5
        flows = iter([constant(miss - 20, 0, size), constant(20, 0, size)])
        _, believed = chained_flow([still, still], lambda *_, flows=flows: next(flows))
        assert believed[:, :20].all() == good


def test_what_was_hidden_is_hardly_believed():
    """A square moves over another texture: what it uncovers cannot have been in the first frame."""
    ground, frames = picture(0, 0, seed=1), []
    for t in range(4):
        frame = ground.copy()
        frame[20:60, 20 + 8 * t : 60 + 8 * t] = picture(8 * t, 0, seed=2)[20:60, 20 + 8 * t : 60 + 8 * t]
        frames.append(frame)
    flow, believed = chained_flow(frames, dis)
    assert believed[24:56, 20:44].mean() < 0.4  # uncovered since
    assert believed[24:56, 48:80].mean() > 0.95  # the square
    assert np.median(np.abs(flow[0, 24:56, 48:80] + 24)) < 0.5
    assert believed[68:, 16:-16].mean() > 0.95  # the ground below it


def test_what_came_into_the_frame_is_not_believed():
    _, believed = chained_flow([picture(-6 * t, 0) for t in range(4)], dis)
    assert not believed[:, -16:].any()
    assert believed[16:-16, 16:-32].mean() > 0.95


@pytest.mark.parametrize("level", [0, 255])
def test_a_still_and_a_blank_are_believed_and_do_not_move(level):
    for frame in (picture(0, 0), np.full((48, 64, 3), level, np.uint8)):
        flow, believed = chained_flow([frame] * 3, dis)
        assert believed.all()
        assert np.abs(flow).max() < 1e-3
