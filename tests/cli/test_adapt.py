"""``followspot adapt`` as it is typed."""

import functools
import json

import pytest
import torch
from cyclopts import App

import followspot.jobs.adapt as job
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import DatasetError, EncoderError, OutputError, SettingError
from followspot.io.video import VideoWriter
from followspot.jobs.label_free import CheckSettings
from followspot.jobs.pseudo_scenes import SceneSettings
from followspot.models.encoder import load_encoder
from followspot.models.resnet import ResNet
from followspot.models.weights import save_weights

app = App(name="followspot")
app.command("followspot.cli.adapt:adapt", name="adapt")
SMALL = ("steps=2", "data.crop.size=32", "batch_size=2", "precision=float32", "objectives.dense_contrast.anchors=2")
CHECK = CheckSettings(scenes=2, scene=SceneSettings(objects=3, frames=2, pixels=64), reach=2)


def type_in(*tokens):
    app([str(token) for token in tokens], exit_on_error=False, print_error=False, result_action="return_value")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A clip and weights."""
    folder = tmp_path_factory.mktemp("given")
    with VideoWriter(folder / "clip.mp4", height=64, width=80, fps=24) as writer:
        for frame in SyntheticVideo(2, num_frames=8, height=64, width=80):
            writer.write(frame.image)
    torch.manual_seed(0)
    save_weights(folder / "w.safetensors", ResNet(18), {"encoder": "resnet18", "stride": 8})
    return folder


def test_it_adapts_and_says_what_was_kept_and_why(given, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "AdaptSettings", functools.partial(job.AdaptSettings, check=CHECK))
    out, command = tmp_path / "out", []
    for change in SMALL:
        command += ["--set", change]
    command = ["adapt", given / "clip.mp4", "--out", out, "--weights", given / "w.safetensors", "--device", "cpu", "--workers", 1, *command]
    type_in(*command, "--minutes", 0.1)
    said = capsys.readouterr()
    report = json.loads((out / "report.json").read_text())
    assert "regions moved by a known amount" in said.out
    assert "regions that return in real frames" in said.out
    assert f"kept the {report['kept']} encoder after 2 steps: {report['reason']}" in said.out
    assert f"followspot track VIDEO ... --weights {out / 'encoder.safetensors'}" in said.out
    assert "checking" in said.err
    assert load_encoder(weights=out / "encoder.safetensors").name == "resnet18"
    type_in(*command, "--minutes", 0.1)
    assert capsys.readouterr().out == said.out
    with pytest.raises(OutputError, match=r"different: minutes"):
        type_in(*command)


def test_options_reach_the_job(given, tmp_path, monkeypatch, capsys):
    seen = {}

    class Report:
        weights = tmp_path / "encoder.safetensors"

        def table(self):
            return "table\n"

    def fake(videos, out, **options):
        seen.update(options, videos=videos, out=out)
        return Report()

    monkeypatch.setattr(job, "adapt", fake)
    monkeypatch.setattr("followspot.jobs.adapt_truth.TruthSource.open", lambda self: None)
    truth = ("--score-on", tmp_path, "--score-split", "dev", "--sequences", "a, b")
    type_in("adapt", "x.mp4", "y", "--out", "o", "--minutes", 2, "--encoder", "resnet18", "--device", "cpu", "--set", "seed=3", *truth)
    assert [path.name for path in seen["videos"]] == ["x.mp4", "y"]
    assert (seen["settings"].minutes, seen["settings"].changes, seen["encoder"]) == (2, ("seed=3",), "resnet18")
    assert (seen["truth"].split, seen["truth"].sequences) == ("dev", ("a", "b"))
    assert capsys.readouterr().out.startswith("table\n")


@pytest.mark.parametrize(
    ("tokens", "error", "problem"),
    [
        (("--encoder", "descriptor"), EncoderError, "'descriptor' has nothing to learn, so it cannot adapt"),
        (("--minutes", 0), SettingError, "minutes = 0 leaves no time"),
        (("--sequences", "a"), SettingError, "scores nothing alone; add --score-on"),
        (("--score-on", "nowhere"), DatasetError, "nowhere has no ImageSets"),
        (("--weights", "none.safetensors"), EncoderError, "there is no weight file"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(given, tmp_path, tokens, error, problem):
    with pytest.raises(error, match=problem) as caught:
        type_in("adapt", given / "clip.mp4", "--out", tmp_path / "out", *tokens)
    assert "\n" not in str(caught.value)
