"""The experiments that train and compare, at their smallest."""

import csv
import math

import pytest

from followspot.benchmarks.selection import only
from followspot.benchmarks.synthetic import SyntheticBenchmark
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import EncoderError, SettingError
from followspot.jobs.experiments.clips import HELD_OUT, held_out_clips
from followspot.jobs.experiments.colour_classes import ColourClassesSettings, colour_classes, parse_losses
from followspot.jobs.experiments.supervision import supervision, usual_features
from followspot.models import timm
from followspot.tracking.preset_file import change_preset
from followspot.tracking.presets import PRESETS

PRESET = change_preset(PRESETS["default"], {"resolution": 32})


def benchmark():
    return only(SyntheticBenchmark(".", split="easy"), ["clip-2000"])


def test_f178_f035_classes_and_regression_are_trained_and_scored_alike(tmp_path):
    settings = ColourClassesSettings(losses=("ce", "huber"), steps=2, clips=1, crop=32, batch_size=2, preset=PRESET)
    colour_classes(tmp_path, settings, benchmark(), data=None, device="cpu")
    rows = {row["loss"]: row for row in csv.DictReader((tmp_path / "colour-classes.csv").open())}
    assert list(rows) == ["identity", "untrained", "ce", "huber"]
    assert rows["identity"]["saturation"] == "", "nothing predicts colours there"
    for loss in ("ce", "huber"):
        assert 0 < float(rows[loss]["saturation"]) < 2
        assert float(rows[loss]["colour error"]) > 0
    assert float(rows["ce"]["saturation, likeliest"]) > float(rows["ce"]["saturation"]), "a mean of colours is greyer than any of them"
    assert rows["huber"]["saturation, likeliest"] == ""
    assert (tmp_path / "colour-classes.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "ce" / "encoder.safetensors").stat().st_mtime_ns
    text = (tmp_path / "colour-classes.csv").read_text()
    colour_classes(tmp_path, settings, benchmark(), data=None, device="cpu")
    assert (tmp_path / "colour-classes.csv").read_text() == text
    assert (tmp_path / "ce" / "encoder.safetensors").stat().st_mtime_ns == before, "what is trained is not trained again"
    other = ColourClassesSettings(losses=("ce",), steps=3, clips=1, crop=32, batch_size=2, preset=PRESET)
    with pytest.raises(SettingError, match="trained with other settings"):
        colour_classes(tmp_path, other, benchmark(), data=None, device="cpu")


def test_f178_recipes_differ_in_the_loss_alone():
    settings = ColourClassesSettings()
    plain = [settings.recipe_for(loss).to_yaml().replace(f"-{loss}", "").replace(f"loss: {loss},", "") for loss in ("ce", "l1", "l2")]
    texts = [settings.recipe_for(loss).to_yaml() for loss in settings.losses]
    assert len(set(texts)) == 4
    assert [settings.recipe_for(loss).objectives[0].settings.loss for loss in settings.losses] == list(settings.losses)
    assert (
        len(
            {text.replace(" ", "").replace("\n", "").replace("loss:ce", "").replace("loss:l1", "").replace("loss:l2", "") for text in plain}
        )
        == 1
    )


def test_held_out_clips_are_not_those_of_training():
    clips = held_out_clips(1, frames=2, gap=3, size=32)
    assert clips.shape == (1, 2, 3, 32, 32)
    video = SyntheticVideo(HELD_OUT, num_frames=6, height=32, width=32)
    assert (clips[0, 1].permute(1, 2, 0).numpy() * 255).round() == pytest.approx(video.frame(3))


def test_losses():
    assert parse_losses("ce, l2") == ("ce", "l2")
    for text in ("", "ce,l3"):
        with pytest.raises(SettingError, match="ce,l1,huber,l2"):
            parse_losses(text)


def test_f178_features_of_every_origin_and_no_number_for_what_cannot_be_had(tmp_path, monkeypatch):
    def unreachable(*arguments, **keywords):
        raise EncoderError("the weights of resnet18 cannot be fetched; connect, or pass --weights FILE")

    monkeypatch.setattr(timm, "load_timm", unreachable)
    features = [it for it in usual_features(supervised=["timm:resnet18"]) if it.tracker != "followspot"]
    table = supervision(tmp_path, features, benchmark(), data=None, preset=PRESET, device="cpu")
    rows = {row["features"]: row for row in csv.DictReader((tmp_path / "supervision.csv").open())}
    assert [row["origin"] for row in rows.values()] == ["untrained", "hand-made", "supervised"]
    missing = next(row for row in rows.values() if row["origin"] == "supervised")
    assert missing["remark"] == "not available"
    assert missing["J&F-Mean"] == ""
    assert all(math.isfinite(float(row["J&F-Mean"])) for row in rows.values() if row is not missing)
    assert any("cannot be fetched" in note for note in table.notes)
    assert (tmp_path / "supervision.png").read_bytes().startswith(b"\x89PNG")


def test_weights_have_names_of_their_own():
    features = usual_features(weights=["ours=run/encoder.safetensors", "other.pth"], supervised=[])
    assert [(it.name, it.tracker) for it in features[3:]] == [("ours", "run/encoder.safetensors"), (None, "other.pth")]
    assert {it.origin for it in features[3:]} == {"self-supervised"}
    with pytest.raises(SettingError, match="have one name"):
        supervision("out", [features[0]] * 2, benchmark(), data=None, preset=PRESET)
