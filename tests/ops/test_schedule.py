import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.schedule import Moment, Schedule

VALUES = st.floats(-1e6, 1e6, allow_nan=False)
POSITIVE = st.floats(1e-9, 1e6, allow_nan=False)
WARMUPS = st.none() | st.builds(lambda steps: Moment(steps=steps), st.integers(0, 10**6)) | st.just(Moment(share=0.1))


def moments(count):
    steps = st.lists(st.integers(0, 10**7), min_size=count, max_size=count, unique=True)
    shares = st.lists(st.floats(0, 1, exclude_min=True), min_size=count, max_size=count, unique=True)
    return st.one_of(
        steps.map(lambda places: [Moment(steps=place) for place in sorted(places)]),
        shares.map(lambda places: [Moment(share=place) for place in sorted(places)]),
    )


@st.composite
def schedules(draw):
    kind = draw(st.sampled_from(["constant", "linear", "log", "step", "cosine"]))
    warmup = draw(WARMUPS)
    if kind == "constant":
        return Schedule("constant", ((Moment(), draw(VALUES)),), warmup)
    if kind == "cosine":
        return Schedule("cosine", ((Moment(), draw(VALUES)), (Moment(share=1.0), draw(VALUES))), warmup)
    places = draw(st.integers(1, 4).flatmap(moments))
    if kind == "step":
        places = [Moment(), *(place for place in places if place != Moment())]
    return Schedule(kind, tuple((place, draw(POSITIVE if kind == "log" else VALUES)) for place in places), warmup)


def values(text, steps, total=1_000_000):
    schedule = Schedule.parse(text)
    return [schedule.at(step, total) for step in steps]


def test_f045_limits_of_batch_renormalisation():
    assert values("linear 2000:1 37000:3", [0, 2000, 19_500, 37_000, 10**6]) == [1, 1, 2, 3, 3]
    assert values("linear 2000:0 22000:5", [0, 2000, 12_000, 22_000, 10**6]) == [0, 0, 2.5, 5, 5]


@pytest.mark.parametrize("text", ["log 0:.001 5:.005 19:.0025", "log 0.0:.001 0.25:.005 0.95:.0025"])
def test_f045_learning_rates_of_siammask(text):
    rates = values(text, range(20), total=20)
    assert rates[:6] == pytest.approx([0.001, 0.00138, 0.0019, 0.00263, 0.00363, 0.005], rel=3e-3)  # as printed there, to three digits
    assert rates[19] == pytest.approx(0.0025)
    falling = [late / early for early, late in itertools.pairwise(rates[5:])]
    assert falling == pytest.approx([0.5 ** (1 / 14)] * 14)


def test_f045_learning_rates_of_corrflow():
    text = "step 2e-4 400000:x.5 600000:x.5 800000:x.5 1000000:x.5"
    rates = values(text, [0, 399_999, 400_000, 600_000, 800_000, 1_000_000, 2_000_000])
    assert rates == pytest.approx([2e-4 * factor for factor in (1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625)])


def test_f045_cosine_starts_after_its_warmup():
    assert values("cosine 2 1 warmup 100", [0, 49, 99, 100, 550, 1000, 2000], total=1000) == pytest.approx([0.02, 1, 2, 2, 1.5, 1, 1])
    quarter = values("cosine 1", [250], total=1000)[0]
    assert quarter == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_a_constant_needs_no_word_and_shares_follow_the_total():
    assert values(0.001, [0, 10]) == [0.001, 0.001]
    assert values("1e-3 warmup 0.5", [0, 4, 5], total=10) == pytest.approx([0.0002, 0.001, 0.001])
    assert Schedule.parse("linear 0.0:0 1.0:1").at(30, 60) == 0.5
    assert Schedule.parse("linear 0.0:0 1.0:1").at(30, 120) == 0.25
    assert Schedule.constant(3) == Schedule.parse("3") == Schedule.parse(Schedule.parse(3))


def test_two_points_at_one_step_are_a_jump():
    assert values("linear 0:1 10:1 10:5 20:5", [9, 10, 15]) == [1, 5, 5]


@settings(max_examples=200, deadline=None)
@given(schedules())
def test_texts_read_back(schedule):
    assert Schedule.parse(str(schedule)) == schedule


@settings(max_examples=100, deadline=None)
@given(schedules(), st.integers(1, 10**6), st.integers(0, 10**6))
def test_values_stay_between_those_of_the_points(schedule, total, step):
    found = schedule.at(step, total)
    assert math.isfinite(found)
    if schedule.kind != "step" and schedule.warmup is None:
        ends = [value for _, value in schedule.points]
        slack = 1e-9 * max(map(abs, ends), default=0)
        assert min(ends) - slack <= found <= max(ends) + slack


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin 1", "did you mean 'cosine'"),
        ("Liner 0:1", "unknown schedule 'Liner'; did you mean 'linear'"),
        ("foo", "one of linear, log, step, cosine"),
        ("1 2", "unknown schedule '1'"),
        ("", "empty"),
        ("nan", "should be a number"),
        ("1e999", "should be a number"),
        ("step", "0 points"),
        ("step a", "number that training starts with"),
        ("step 1 5:0.1", "write for instance 0.5:x0.1"),
        ("linear 5", "'5' is no moment:number"),
        ("linear 5:", "is no moment:number"),
        ("linear 1e5:3", "steps as a whole number"),
        ("linear x:3", "'x' in a schedule should be a moment"),
        ("linear 5:1 3:2", "moment 3 after 5"),
        ("linear 0.5:1 0.2:2", "moment 0.2 after 0.5"),
        ("linear 3:1 0:2", "moment 0 after 3"),
        ("log 0:0", "geometric"),
        ("cosine 1 0 0", "3 points"),
        ("cosine 1 warmpu 3", "did you mean 'warmup'"),
        ("cosine 1 warmup", "must end with 'warmup'"),
        ("warmup 100", "unknown schedule 'warmup'"),
        (True, "got True"),
        (None, "got None"),
    ],
)
def test_bad_texts_are_explained(text, message):
    with pytest.raises(SettingError, match=message) as caught:
        Schedule.parse(text)
    assert "\n" not in str(caught.value)


def test_steps_and_shares_out_of_order_are_told_when_the_total_is_known():
    mixed = Schedule.parse("linear 2000:1 0.5:3")
    assert mixed.at(3500, 10_000) == pytest.approx(2)
    with pytest.raises(SettingError, match="out of order when training has 1000 steps"):
        mixed.at(0, 1000)


@pytest.mark.parametrize("make", [lambda: Moment(steps=-1), lambda: Moment(share=1.5), lambda: Moment(steps=1, share=0.5)])
def test_a_moment_is_one_of_two(make):
    with pytest.raises(SettingError, match="give one"):
        make()


def test_schedules_made_in_code_are_checked_too():
    with pytest.raises(SettingError, match="unknown schedule 'cube'"):
        Schedule("cube", ((Moment(), 1.0),))
    with pytest.raises(SettingError, match="not finite"):
        Schedule("linear", ((Moment(), math.inf),))
    with pytest.raises(SettingError, match="write one number"):
        Schedule("constant", ())
