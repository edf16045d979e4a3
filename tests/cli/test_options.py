"""Options become presets and trackers; what is not given keeps the preset's value."""

from dataclasses import fields, replace

import pytest

from followspot.cli.options import EncoderOptions, PropagationOptions, build_preset, build_tracker
from followspot.errors import EncoderError, SettingError
from followspot.tracking.preset_file import parse_resolution
from followspot.tracking.presets import PRESETS, Resolution


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_nothing_changed_is_the_preset_itself(name):
    assert build_preset(PropagationOptions(preset=name)) == PRESETS[name]


CHANGES = {
    "context_frames": 3,
    "top_k": 4,
    "temperature": 0.2,
    "radius": 5,
    "radius_first": 6,
    "window": "circle",
    "normalize": False,
    "joint": False,
    "renormalize": False,
    "keep_references": False,
    "recursion": "hard",
    "class_normalize": True,
    "resolution": "square:320",
}


def test_every_option_is_covered():
    assert {field.name for field in fields(PropagationOptions)} == {*CHANGES, "preset"}


@pytest.mark.parametrize("option", CHANGES)
def test_each_option_changes_its_value_and_nothing_else(option):
    base = PRESETS["default"]
    preset = build_preset(PropagationOptions(**{option: CHANGES[option]}))
    assert preset.name == "default (changed)"
    if option == "resolution":
        expected = replace(base, resolution=Resolution(mode="square", pixels=320))
    elif hasattr(base, option):
        expected = replace(base, **{option: CHANGES[option]})
    else:
        expected = replace(base, affinity=replace(base.affinity, **{option: CHANGES[option]}))
    assert replace(preset, name="default") == expected


def test_all_means_no_limit():
    affinity = build_preset(PropagationOptions(top_k="all", radius="all", radius_first="all")).affinity
    assert (affinity.top_k, affinity.radius, affinity.radius_first) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "mode", "pixels"),
    [("480", "short", 480), ("short:240", "short", 240), ("square:320", "square", 320), ("native", "native", 480)],
)
def test_resolutions(text, mode, pixels):
    assert parse_resolution(text) == Resolution(mode=mode, pixels=pixels)


@pytest.mark.parametrize("text", ["", "big", "480p", "-480", "long:480", "square:", "square:x", "native:3", "4.5"])
def test_resolutions_that_are_none(text):
    with pytest.raises(SettingError, match="is not understood; write a short side"):
        parse_resolution(text)


@pytest.mark.parametrize("text", ["0", "15", "square:8193", "99999999999"])
def test_resolutions_out_of_range(text):
    with pytest.raises(SettingError, match=r"outside 16\.\.8192"):
        parse_resolution(text)


def test_a_tracker_is_what_the_options_say():
    tracker = build_tracker(EncoderOptions(device="cpu"), PropagationOptions(preset="crw"), confidence=False)
    assert tracker.encoder.name == "descriptor"
    assert tracker.preset == PRESETS["crw"]
    assert not tracker.confidence
    assert tracker.device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoder": "resnet81"}, EncoderError, "did you mean 'resnet18'"),
        ({"device": "gpu"}, SettingError, 'device "gpu" cannot be used here'),
        ({"device": "cuda:99"}, SettingError, 'device "cuda:99" cannot be used here'),
        ({"device": "meta"}, SettingError, 'device "meta" cannot be used here'),
    ],
)
def test_wrong_encoders_and_devices(options, error, message):
    with pytest.raises(error, match=message) as told:
        build_tracker(EncoderOptions(**options), PropagationOptions(), confidence=False)
    assert "\n" not in str(told.value)


def test_values_outside_their_range():
    with pytest.raises(SettingError, match="context_frames"):
        build_preset(PropagationOptions(context_frames=-1))
    with pytest.raises(SettingError, match="temperature"):
        build_preset(PropagationOptions(temperature=0.0))
    with pytest.raises(SettingError, match="radius"):
        build_preset(PropagationOptions(radius=-1))
