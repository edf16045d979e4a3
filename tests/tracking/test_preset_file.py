"""Presets as files: what is written is read back, and what is wrong in a file is named."""

from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from followspot.cli.options import PropagationOptions, build_preset
from followspot.errors import SettingError
from followspot.ops.propagate import Affinity
from followspot.tracking.preset_file import SETTINGS, change_preset, choose_preset, describe_preset, read_preset, write_preset
from followspot.tracking.presets import PRESETS, Preset, Resolution

cells = st.none() | st.integers(1, 99)
presets = st.builds(
    Preset,
    name=st.text(min_size=1, max_size=9),
    source=st.text(max_size=20),
    affinity=st.builds(
        Affinity,
        top_k=cells,
        temperature=st.floats(1e-6, 1e6),
        radius=cells,
        radius_first=cells,
        window=st.sampled_from(["square", "circle"]),
        normalize=st.booleans(),
        joint=st.booleans(),
        renormalize=st.booleans(),
    ),
    context_frames=st.integers(1, 50),
    keep_references=st.booleans(),
    recursion=st.sampled_from(["soft", "hard"]),
    class_normalize=st.booleans(),
    resolution=st.just(Resolution(mode="native"))
    | st.builds(Resolution, mode=st.sampled_from(["short", "square"]), pixels=st.integers(16, 8192)),
)


@given(presets)
def test_f171_what_is_written_is_read_back(preset):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        write_preset(Path(folder) / "p.yaml", preset)
        assert read_preset(Path(folder) / "p.yaml") == preset


@pytest.mark.parametrize("name", PRESETS)
def test_description_undoes_any_difference(name):
    changed = change_preset(PRESETS["default"], describe_preset(PRESETS[name]))
    assert replace(changed, name=name, source="") == replace(PRESETS[name], source="")


def test_no_setting_is_forgotten():
    inside = {field.name for field in fields(Affinity)} | {field.name for field in fields(Preset)}
    assert set(SETTINGS) == inside - {"affinity", "name", "source"}


def test_settings_that_are_left_out_are_those_of_the_default(tmp_path):
    (tmp_path / "mine.yaml").write_text("temperature: 1e-2\nradius: all\n")
    preset = read_preset(tmp_path / "mine.yaml")
    base = PRESETS["default"]
    assert preset == replace(base, name="mine", source="mine", affinity=replace(base.affinity, temperature=0.01, radius=None))


def test_commands_take_a_file_and_change_it(tmp_path):
    write_preset(tmp_path / "best.yaml", replace(PRESETS["crw"], name="best"))
    options = PropagationOptions(preset=str(tmp_path / "best.yaml"), top_k=3)
    made = build_preset(options)
    assert made.affinity == replace(PRESETS["crw"].affinity, top_k=3)
    assert made.name == "best (changed)"
    assert choose_preset("uvc") is PRESETS["uvc"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("temperatur: 0.1", "did you mean 'temperature'"),
        ("top_k: 0.5", "top_k: 0.5 is not a number of cells"),
        ("top_k: true", "top_k"),
        ("normalize: perhaps", "normalize: 'perhaps' is neither true nor false"),
        ("window: round", "window: 'round' is not one of square, circle"),
        ("temperature: hot", "temperature: 'hot' is not understood"),
        ("temperature: 0", "expected a finite number above 0"),
        ("context_frames: -1", "context_frames = -1"),
        ("resolution: huge", "resolution"),
        ("- 1", "expected settings by name"),
        ("a: [", "not YAML"),
        ("", "expected settings by name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, told):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SettingError) as error:
        read_preset(tmp_path / "bad.yaml")
    assert told in str(error.value)
    assert "bad.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_other_endings(tmp_path):
    write_preset(tmp_path / "best.yaml", PRESETS["crw"])
    with pytest.raises(SettingError, match=r"best\.yaml"):
        choose_preset(str(tmp_path / "bset.yaml"))
    with pytest.raises(SettingError, match=r"\.yaml"):
        write_preset(tmp_path / "best.json", PRESETS["crw"])


def test_the_file_is_for_people(tmp_path):
    write_preset(tmp_path / "p.yaml", PRESETS["colorization"])
    content = yaml.safe_load((tmp_path / "p.yaml").read_text())
    assert content["resolution"] == "square:256"
    assert content["top_k"] == "all"
    assert list(content)[:2] == ["name", "source"]
