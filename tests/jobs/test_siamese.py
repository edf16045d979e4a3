"""Searching the settings of the online tracker (F171, F173): the names and ranges that a search asks for, and the best as a file."""

import pickle
from dataclasses import replace

import pytest
import torch

from followspot.benchmarks.report import Report, Row
from followspot.errors import EncoderError, SettingError
from followspot.jobs.search_space import parse_range, parse_space
from followspot.jobs.siamese import SiameseSpec
from followspot.jobs.tune import Budget, Search, tune
from followspot.models.online_networks import build_online_network, save_online_network
from followspot.tracking.base import Tracker
from followspot.tracking.siamese_settings import SIAMESE_PRESETS, choose_siamese_preset, write_siamese_preset


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    save_online_network(path, build_online_network("siammask-lite-base"), {})
    return path


def test_a_spec_is_what_benchmarks_and_searches_need(weights, tmp_path):
    spec = SiameseSpec(name="siammask-lite@davis", weights=weights, preset=SIAMESE_PRESETS["davis"])
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert isinstance(spec.build(), Tracker)
    assert spec.slug == "siammask-lite-davis"
    told = spec.settings()
    assert told["network"] == "siammask-lite-base"
    assert told["preset"]["lr"] == 1.0
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(weights.read_bytes())
    assert SiameseSpec(name=spec.name, weights=moved, preset=spec.preset).settings() == told
    assert replace(spec, precision="float32").settings()["precision"] == "float32"
    assert replace(spec, precision="bfloat16").settings() == told | {"precision": "bfloat16"}
    for name, text in spec.tunable().items():
        for value in parse_range(text).ends():
            assert getattr(spec.with_settings({name: value}).preset, name) == value
    with pytest.raises(SettingError, match="did you mean 'seg_thr'"):
        spec.with_settings({"seg_th": 0.3})
    with pytest.raises(EncoderError, match="no weight file"):
        SiameseSpec(name="x", weights=tmp_path / "none.safetensors").build()


class Threshold:
    """Scores the threshold itself: a benchmark as searches see it, without frames."""

    name, split, protocol, sequence_names = "threshold", "all", "plain", ("one",)

    def only(self, sequences):
        return self

    def length(self, sequence):
        return 1

    def is_complete(self, sequence, folder):
        return (folder / "x").is_file()

    def run(self, sequence, tracker, folder, *, on_frame=None):
        (folder / "x").write_text(str(tracker.settings.seg_thr))

    def score(self, results, *, workers=None, progress=None):
        value = float((results / "one" / "x").read_text())
        rows = (Row(sequence="one", frames=1, values={"d": value}),)
        return Report(benchmark=self.name, split="all", protocol="plain", note="", scores={"score": value}, rows=rows)


def test_f173_a_search_leaves_a_preset_that_can_be_read(weights, tmp_path):
    spec = SiameseSpec(name="lite", weights=weights, preset=SIAMESE_PRESETS["davis"])
    space = parse_space(["seg_thr=0.2|0.5|0.3"], {})
    report = tune(Search(benchmark=Threshold(), tracker=spec, space=space, out=tmp_path / "t", data=None, sampler="grid"), Budget())
    assert len(report.outcomes) == 3
    best = choose_siamese_preset(str(tmp_path / "t" / "best.yaml"))
    assert best.name == "tuned"
    assert (best.seg_thr, best.lr, best.window_influence) == (0.5, 1.0, 0.4)


def test_presets_as_files(tmp_path):
    path = tmp_path / "mine.yaml"
    write_siamese_preset(path, SIAMESE_PRESETS["long"])
    assert choose_siamese_preset(str(path)) == SIAMESE_PRESETS["long"]
    assert choose_siamese_preset("vot18") is SIAMESE_PRESETS["vot18"]
    for content, message in (
        ("lr: 3\n", "outside 0..1"),
        ("speed: 3\n", "no setting 'speed'"),
        ("- 1\n", "not a preset"),
        (":\n:", "not YAML"),
    ):
        path.write_text(content)
        with pytest.raises(SettingError, match=message):
            choose_siamese_preset(str(path))
    with pytest.raises(SettingError, match="there is no preset file"):
        choose_siamese_preset(str(tmp_path / "other.yaml"))
