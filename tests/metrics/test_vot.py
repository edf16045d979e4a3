"""F144: accuracy, robustness and expected average overlap by hand, by a slow reference, and as vot-toolkit and pysot average them."""

import math

import numpy as np
import pytest

from followspot.errors import AnnotationError
from followspot.metrics.vot import INTERVALS, Run, accuracy, counted, expected_average_overlap, expected_overlap, robustness

NAN = float("nan")


def make_run(frames, failures, *, level=0.5, rng=None):
    """A run whose overlap is `level`, or random; started anew 5 frames after each failure, if the sequence is that long."""
    overlaps = np.full(frames, level) if rng is None else rng.uniform(0.05, 1, frames)
    starts = [0, *(at + 5 for at in failures if at + 5 < frames)]
    for start in starts:
        overlaps[start] = NAN
    for at in failures:
        overlaps[at : at + 5] = NAN
    return Run(overlaps=overlaps, starts=tuple(starts), failures=tuple(failures))


def random_runs(seed):
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(5):
        frames = int(rng.integers(30, 90))
        failures, at = [], 0
        while True:
            at += int(rng.integers(3, 60))
            if at >= frames:
                break
            failures.append(at)
            at += 5
            if at >= frames:
                break
        runs.append([make_run(frames, failures, rng=rng)])
    return runs


def test_f144_burn_in_of_ten_frames_from_each_start():
    run = make_run(40, [20])
    expected = [index in range(10, 20) or index in range(35, 40) for index in range(40)]
    assert (~np.isnan(counted(run))).tolist() == expected
    assert (~np.isnan(counted(run, burn_in=1))).sum() == 19 + 14


def test_f144_accuracy_by_hand():
    good, bad = make_run(100, [], level=0.8), make_run(50, [20], level=0.4)
    assert accuracy([[good]], convention="pysot") == pytest.approx(0.8)
    # 90 frames of 0.8; frames 10 to 19 and 35 to 49 of 0.4
    assert accuracy([[good], [bad]], convention="pysot") == pytest.approx((90 * 0.8 + 25 * 0.4) / 115)
    assert accuracy([[good], [bad]], convention="toolkit") == pytest.approx((100 * 0.8 + 50 * 0.4) / 150)
    never = make_run(30, [4, 12, 20])
    assert accuracy([[never], [good]], convention="toolkit") == pytest.approx(100 * 0.8 / 130)
    assert accuracy([[never], [good]], convention="pysot") == pytest.approx(0.8)
    assert math.isnan(accuracy([[never]], convention="pysot"))


def test_f144_robustness_in_both_conventions():
    runs = [[make_run(100, [])], [make_run(50, [10, 30])]]
    assert robustness(runs, convention="toolkit") == pytest.approx(2 * 50 / 150)
    assert robustness(runs, convention="pysot") == pytest.approx(100 * 2 / 150)


def test_f144_expected_overlap_by_hand():
    """0.6 until frame 3, where it fails; started in frame 8, 0.9 until the end in frame 11."""
    overlaps = np.array([NAN, 0.6, 0.6, NAN, NAN, NAN, NAN, NAN, NAN, 0.9, 0.9, 0.9])
    run = Run(overlaps=overlaps, starts=(0, 8), failures=(3,))
    curve = expected_overlap([[run]], convention="toolkit")
    assert curve == pytest.approx([0, (0.6 + 0.9) / 2, (0.6 + 0.9) / 2, (1.2 / 3 + 0.9) / 2])
    longer = expected_overlap([[run]], convention="pysot")
    assert longer[:4] == pytest.approx(curve)
    assert longer[4:] == pytest.approx([1.2 / length for length in range(4, 12)])  # only the piece that failed knows of these
    assert expected_average_overlap(curve, (1, 2), convention="toolkit") == pytest.approx(0.75)
    assert expected_average_overlap(curve, (2, 3), convention="pysot") == pytest.approx(0.75)  # the same entries: one before
    assert expected_average_overlap(curve, (3, 99), convention="toolkit") == pytest.approx(0.65)
    assert math.isnan(expected_average_overlap(curve, (4, 99), convention="toolkit"))


def slow_curve(runs, convention):
    """Frame by frame, for every length anew."""
    pieces = []
    for (run,) in runs:
        frames = len(run.overlaps)
        for number, start in enumerate(run.starts):
            failure = run.failures[number] if number < len(run.failures) else None
            piece = [run.overlaps[index] for index in range(start, frames if failure is None else failure)]
            known = None if failure is not None else len(piece)
            if convention == "pysot" and failure is not None and failure + 5 > frames:
                known = frames - start
            pieces.append((piece, known))
    longest = max(len(piece) for piece, _ in pieces) if convention == "toolkit" else max(len(run.overlaps) for (run,) in runs)
    curve = [0.0]
    for length in range(1, longest):
        means = []
        for piece, known in pieces:
            if known is None or length < known:
                means.append(sum(piece[index] if index < len(piece) else 0.0 for index in range(1, length + 1)) / length)
        curve.append(sum(means) / len(means) if means else 0.0)
    return curve


@pytest.mark.parametrize("convention", ["toolkit", "pysot"])
@pytest.mark.parametrize("seed", range(12))
def test_f144_expected_overlap_equals_a_slow_reference(seed, convention):
    runs = random_runs(seed)
    np.testing.assert_allclose(expected_overlap(runs, convention=convention), slow_curve(runs, convention), atol=1e-12)


def test_f144_a_failure_near_the_end_counts_for_longer_sequences_in_the_toolkit_only():
    runs = [[make_run(50, [48])], [make_run(80, [])]]
    assert expected_overlap(runs, convention="toolkit")[60] == pytest.approx((0.5 * 47 / 60 + 0.5) / 2)
    assert expected_overlap(runs, convention="pysot")[60] == pytest.approx(0.5)
    at_the_last_moment = [[make_run(50, [45])], [make_run(80, [])]]  # 45 + 5 is the end: pysot begins an empty piece there
    assert expected_overlap(at_the_last_moment, convention="pysot")[60] == pytest.approx((0.5 * 44 / 60 + 0.5) / 2)


def test_numbers_of_vot_toolkit_on_constant_trajectories():
    """Two sequences of 130 and 120 frames with overlap 24/35 where followed; what `vot analysis` of 0.7.4 printed, interval 100 to 356."""
    for failures, expected in (
        (([], []), (0.6857142857, 0.0, 0.6857143859)),
        (([60], []), (0.6857142857, 0.52, 0.5281078637)),
        (([127], [119]), (0.6857142857, 1.0, 0.6820168561)),
        (([124], [115]), (0.6857142857, 1.0, 0.6803702463)),
        (([125], [114]), (0.6857142857, 1.0, 0.6782094145)),
    ):
        runs = [[make_run(frames, lost, level=24 / 35)] for frames, lost in zip((130, 120), failures, strict=True)]
        curve = expected_overlap(runs, convention="toolkit")
        found = accuracy(runs, convention="toolkit"), expected_average_overlap(curve, (100, 356), convention="toolkit")
        assert found == pytest.approx((expected[0], expected[2]), abs=1e-6)
        assert robustness(runs, convention="toolkit") == pytest.approx(expected[1])


@pytest.mark.parametrize("convention", ["toolkit", "pysot"])
def test_repeating_a_run_changes_nothing(convention):
    once = random_runs(3)
    thrice = [repeated * 3 for repeated in once]
    for measure in (accuracy, robustness):
        assert measure(thrice, convention=convention) == pytest.approx(measure(once, convention=convention))
    np.testing.assert_allclose(expected_overlap(thrice, convention=convention), expected_overlap(once, convention=convention))


def test_frames_without_truth_are_left_out():
    run = make_run(30, [])
    overlaps = run.overlaps.copy()
    overlaps[12:17] = NAN
    hidden = Run(overlaps=overlaps, starts=(0,), failures=())
    assert accuracy([[hidden]], convention="toolkit") == pytest.approx(0.5)
    curve = expected_overlap([[hidden]], convention="toolkit")
    assert len(curve) == 25
    assert curve[1:] == pytest.approx(0.5)


def test_intervals_of_the_years():
    assert INTERVALS == {"2016": (108, 371), "2018": (100, 356), "2019": (46, 291)}


@pytest.mark.parametrize(
    ("starts", "failures"), [((), ()), ((0,), (3, 9)), ((0, 8, 20), (3,)), ((0, 3), (3,)), ((0, 2), (5,)), ((5,), (3,))]
)
def test_impossible_runs_are_refused(starts, failures):
    with pytest.raises(AnnotationError, match="cannot be"):
        Run(overlaps=np.zeros(30), starts=starts, failures=failures)
