"""What a training run starts from, and how its encoder is scored. Whole runs are in tests/training/test_resume.py."""

import pytest
import torch

from followspot.benchmarks.davis import DavisBenchmark
from followspot.errors import EncoderError
from followspot.jobs.scoring import tracking_score
from followspot.jobs.train import initialize
from followspot.models.encoder import load_encoder
from followspot.models.networks import build_network
from followspot.models.weights import save_weights
from followspot.training.recipe import EncoderSettings, read_recipe


def test_f049_training_starts_from_random_numbers_unless_told_otherwise():
    assert EncoderSettings().init is None
    assert all(read_recipe(name).encoder.init is None for name in ("default", "dense_contrast", "random_walk", "cycle_time"))


def test_f049_weights_to_start_from_are_taken_whole(tmp_path):
    torch.manual_seed(1)
    source = build_network("resnet18")
    save_weights(tmp_path / "w.safetensors", source, {})
    torch.manual_seed(2)
    encoder = build_network("resnet18")
    assert not torch.equal(encoder.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    initialize(encoder, str(tmp_path / "w.safetensors"))
    for name, value in source.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value), name


def test_f049_missing_weights_are_reported_not_ignored(tmp_path):
    save_weights(tmp_path / "w.safetensors", build_network("resnet18").layer1, {})
    encoder = build_network("resnet18")
    before = encoder.conv1.weight.clone()
    with pytest.raises(EncoderError, match=r"w\.safetensors lacks .* belongs to another network"):
        initialize(encoder, str(tmp_path / "w.safetensors"))
    assert torch.equal(encoder.conv1.weight, before)


def test_f049_the_shipped_encoder_is_a_start_too():
    shipped = load_encoder("followspot")
    encoder = build_network("+".join(part.name for part in shipped.parts))
    initialize(encoder, "default")
    frames = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(encoder.eval()(frames), shipped(frames))
    with pytest.raises(EncoderError, match="the shipped encoder"):
        initialize(build_network("resnet18"), "default")


def test_f095_a_score_in_training_is_that_of_the_benchmark(shared_data, tmp_path):
    lists = tmp_path / "davis" / "ImageSets" / "2016"
    lists.mkdir(parents=True)
    (lists / "one.txt").write_text("dog-agility\n")
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "davis" / folder).symlink_to(shared_data / "davis" / folder)
    encoder = load_encoder("descriptor")
    encoder.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
    score = tracking_score(DavisBenchmark(tmp_path / "davis", split="one"), pixels=120, workers=1)(encoder)
    assert 0.2 < score < 0.95
    assert not encoder.training
