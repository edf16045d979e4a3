"""Recipes: those that are shipped, their text form, and single changes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.datasets.augment import CropSettings
from followspot.datasets.clips import ClipPattern
from followspot.datasets.jitter import JitterSettings
from followspot.datasets.replay import ReplaySettings
from followspot.errors import EncoderError, SettingError
from followspot.models.layers import BatchRenorm2d
from followspot.objectives.base import ClipBatch
from followspot.objectives.dense_contrast import DenseContrastSettings
from followspot.objectives.mixture import Mixture
from followspot.objectives.random_walk import RandomWalk, RandomWalkSettings
from followspot.ops.schedule import Schedule
from followspot.training.optimiser import OptimizerSettings, build_optimizer
from followspot.training.recipe import (
    DataSettings,
    EncoderSettings,
    Recipe,
    RenormSettings,
    Term,
    parse_recipe,
    read_recipe,
    recipe_names,
)
from followspot.training.run_settings import LogSettings

SHIPPED = recipe_names()
MINE = {"name": "mine", "objectives": {"random_walk": {"frames": 3}}, "data": {"pattern": {"frames": 3}}, "steps": 5, "batch_size": 2}


def save(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_published_systems_are_shipped_with_their_small_twins():
    published = {"colorization", "correspondence_flow", "cycle_time", "dense_contrast", "random_walk", "single_image_colorization"}
    assert {"default", "correspondence_flow-oxuva", *published, *(f"{name}-small" for name in published)} <= set(SHIPPED)


def test_the_page_on_recipes_lists_what_is_shipped():
    page = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_f098_a_shipped_recipe_reads_back_equal(name, tmp_path):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert read_recipe(save(tmp_path, recipe.to_yaml())) == recipe


# Sides that keep every grid legal and the clock short.
TINY = {"cycle_time": ("objectives.cycle_time.image_size=48", "data.crop.size=48")}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_takes_a_finite_step(name):
    term = read_recipe(name).objectives[0].name
    recipe = read_recipe(name, changes=TINY.get(term, ["data.crop.size=48"]))
    encoder = recipe.build_encoder()
    objective = recipe.build_objective(dim=encoder.dim)
    module = torch.nn.ModuleDict({"encoder": encoder, "objective": objective})
    optimizer = build_optimizer(module, recipe.optimizer)
    objective.advance(0, recipe.steps)
    torch.manual_seed(0)
    count, side = recipe.data.pattern.frames, recipe.data.crop.size
    # A scene that stays, since there is no flow to believe in noise, and noise of each frame's own.
    frames = 0.9 * torch.rand(2, 1, 3, side, side) + 0.1 * torch.rand(2, count, 3, side, side)
    output = objective(ClipBatch(frames=frames, clean=frames), encoder)
    output.loss.backward()
    gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None]
    assert output.loss.isfinite()
    assert output.per_sample.shape == (2,)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.norm()) for gradient in gradients) > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_names_and_numbers_of_a_shipped_recipe_fit_each_other(name):
    recipe = read_recipe(name)
    encoder = recipe.build_encoder()
    assert recipe.data.crop.size % encoder.stride == 0
    assert recipe.optimizer.lr.at(recipe.steps // 2, recipe.steps) > 0
    if recipe.replay is not None:
        assert recipe.batch_size <= recipe.replay.min_size <= recipe.replay.capacity


def test_published_numbers_are_those_of_the_papers():
    color, flow, cycle = (read_recipe(name) for name in ("colorization", "correspondence_flow", "cycle_time"))
    renorm = color.encoder.renorm
    assert [renorm.rmax.at(step, color.steps) for step in (2000, 37000)] == [1, 3]
    assert [renorm.dmax.at(step, color.steps) for step in (2000, 22000)] == [0, 5]
    assert (color.batch_size, color.replay.capacity, color.replay.min_size) == (8, 10000, 3000)
    rates = [flow.optimizer.lr.at(samples // 6 + 1, flow.steps) for samples in (0, 400_000, 600_000, 800_000, 1_000_000)]
    assert rates == pytest.approx([2e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5])
    assert (cycle.batch_size, cycle.optimizer.clip, cycle.optimizer.betas) == (36, 10, (0.5, 0.999))


def test_changes_go_anywhere():
    changes = [
        "steps=7",
        "optimizer.lr=cosine 1e-3 0 warmup 5",
        "objectives.random_walk.temperature=0.1",
        "objectives.random_walk.weight=2e-1",
        "data.jitter.hue=0.1",
        "replay.initial=2",
        "data.pattern.gaps=[1, 2, 3]",
        "optimizer.multipliers={encoder.layer1: 0.1}",
        "encoder.init=none",
    ]
    recipe = read_recipe("random_walk", changes=changes)
    assert recipe.steps == 7
    assert recipe.optimizer.lr == Schedule.parse("cosine 1e-3 0 warmup 5")
    assert recipe.objectives[0] == Term(name="random_walk", weight=0.2, settings=RandomWalkSettings(temperature=0.1, cell_stride=2))
    assert recipe.data.jitter == JitterSettings(hue=0.1)
    assert recipe.replay == ReplaySettings(initial=2.0)
    assert recipe.data.pattern.gaps == (1, 2, 3)
    assert recipe.optimizer.multipliers == {"encoder.layer1": 0.1}
    assert recipe.encoder.init is None
    assert read_recipe("colorization", changes=["replay=none"]).replay is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stpes=3", "no setting 'stpes'; did you mean 'steps'"),
        ("data.crop.sise=3", "no setting 'data.crop.sise'; did you mean 'data.crop.size'"),
        ("objectives.random_walk.temprature=1", "did you mean 'objectives.random_walk.temperature'"),
        ("objectives.random_wlk.frames=1", "no objective is called 'random_wlk'; did you mean 'random_walk'"),
        ("objectives.random_walk=3", "objectives.random_walk must be a mapping of settings, got 3"),
        ("objectives.random_walk.weight=0", "objectives.random_walk.weight = 0 must be a positive number"),
        ("objectives.random_walk.weight=.nan", "must be a positive number"),
        ("objectives.random_walk.weight=yes", "objectives.random_walk.weight = True is not a number"),
        ("objectives=3", "objectives must be settings by name"),
        ("steps", "write a.b=value"),
        ("=3", "write a.b=value"),
        ("steps.x=3", "'steps' holds 300000, which has no settings inside"),
        ("steps=0", "steps = 0 and batch_size = 20 must be 1 or more"),
        ("average=1", "average = 1.0 must lie between 0 and 1"),
        ("source={", "has no value in YAML"),
        ("optimizer.lr=linaer 0:1", "optimizer.lr: .*linear"),
        ("data.crop.size=0", "data.crop: size 0 must be 1 or more"),
        ("encoder.renorm.momentum=2", "encoder.renorm: momenta 2.0 and 0.01"),
    ],
)
def test_f098_a_change_that_does_not_fit_says_what_does(change, message):
    with pytest.raises(SettingError, match=message) as caught:
        read_recipe("random_walk", changes=[change])
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(SettingError, match="no recipe 'random_wlk'; did you mean 'random_walk'"):
        read_recipe("random_wlk")
    with pytest.raises(SettingError, match="no recipe"):
        read_recipe(str(tmp_path / "absent.yaml"))
    with pytest.raises(SettingError, match="is not YAML"):
        read_recipe(save(tmp_path, "a: [1"))
    with pytest.raises(SettingError, match="expected settings by name, got list"):
        read_recipe(save(tmp_path, "- 1"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SettingError, match="cannot be read as a recipe"):
        read_recipe(str(tmp_path / "binary.yaml"))
    with pytest.raises(SettingError, match="objectives must be settings by name"):
        parse_recipe({"name": "x", "steps": 1, "batch_size": 1})
    with pytest.raises(SettingError, match="needs at least one objective"):
        parse_recipe(MINE | {"objectives": {}})
    with pytest.raises(SettingError, match="setting 'steps' is missing"):
        parse_recipe({key: value for key, value in MINE.items() if key != "steps"})


def test_one_objective_stands_alone_and_several_are_mixed():
    one = parse_recipe(MINE).build_objective(dim=8)
    assert isinstance(one, RandomWalk)
    scaled = parse_recipe(MINE | {"objectives": {"random_walk": {"frames": 3, "weight": 2}}}).build_objective(dim=8)
    assert isinstance(scaled, Mixture)
    assert scaled.weights == (2.0,)
    both = {"objectives": {"random_walk": {"frames": 3, "weight": 0.25}, "dense_contrast": {"frames": 2}}}
    mixed = parse_recipe(MINE | both).build_objective(dim=8)
    assert mixed.names == ("random_walk", "dense_contrast")
    assert mixed.weights == (0.25, 1.0)


def test_clips_of_another_length_than_the_objective_are_refused():
    with pytest.raises(SettingError, match=r"data.pattern.frames = 3, but the objective looks at 4 frames"):
        parse_recipe(MINE | {"objectives": {"random_walk": {"frames": 4}}}).build_objective(dim=8)


def test_parts_of_a_fused_encoder_are_weighed():
    recipe = parse_recipe(MINE | {"encoder": {"name": "descriptor+resnet18", "weights": [1, 3]}})
    assert recipe.build_encoder().weights.tolist() == [0.25, 0.75]
    with pytest.raises(SettingError, match=r"encoder.weights is for names joined by '\+', got 'resnet18'"):
        parse_recipe(MINE | {"encoder": {"name": "resnet18", "weights": [1]}}).build_encoder()


def test_batch_renormalisation_and_channels_are_set():
    renorm = {"momentum": 0.25, "renorm_momentum": 0.5, "rmax": "linear 1:1 2:4", "dmax": 2}
    encoder = parse_recipe(MINE | {"encoder": {"name": "colorizer-resnet-v2", "dim": 32, "renorm": renorm}}).build_encoder()
    layers = [layer for layer in encoder.modules() if isinstance(layer, BatchRenorm2d)]
    assert encoder.dim == 32
    assert layers
    for layer in layers:
        layer.advance(2, 100)
        assert (layer.momentum, layer.renorm_momentum, layer.rmax, layer.dmax) == (0.25, 0.5, 4.0, 2.0)
    with pytest.raises(SettingError, match=r"encoder\.renorm is for networks with batch renormalisation, which 'resnet18' has not"):
        parse_recipe(MINE | {"encoder": {"renorm": {}}}).build_encoder()
    with pytest.raises(SettingError, match="'resnet18' has its own number of channels, got dim = 3"):
        parse_recipe(MINE | {"encoder": {"dim": 3}}).build_encoder()
    with pytest.raises(EncoderError, match="did you mean 'resnet18'"):
        parse_recipe(MINE | {"encoder": {"name": "resnet8"}}).build_encoder()


def test_built_encoders_are_in_training_mode():
    assert parse_recipe(MINE | {"encoder": {"name": "gray:resnet18"}}).build_encoder().training


shares = st.floats(0.01, 1).map(lambda share: round(share, 6))
recipes = st.builds(
    Recipe,
    name=st.sampled_from(["a", "with: colon", "7", "yes", "ä#"]),
    source=st.text("ab:#\"'\\ -", max_size=12),
    encoder=st.builds(
        EncoderSettings,
        name=st.sampled_from(["resnet18", "descriptor+resnet18"]),
        stride=st.sampled_from([None, 4, 8]),
        init=st.sampled_from([None, "default", "C:\\weights.safetensors"]),
        weights=st.none() | st.tuples(shares, shares),
        renorm=st.none() | st.builds(RenormSettings, momentum=shares, rmax=st.just(Schedule.parse("linear 1:1 2:3"))),
    ),
    objectives=st.lists(
        st.builds(Term, name=st.just("random_walk"), weight=shares, settings=st.builds(RandomWalkSettings, temperature=shares))
        | st.builds(
            Term,
            name=st.just("dense_contrast"),
            weight=shares,
            settings=st.builds(DenseContrastSettings, view_rotation=shares, jittered=st.booleans()),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda term: term.name,
    ).map(tuple),
    data=st.builds(
        DataSettings,
        pattern=st.builds(ClipPattern, gap=st.integers(1, 9), per_second=st.none() | shares),
        crop=st.builds(CropSettings, size=st.integers(1, 512), zoom=shares.map(lambda share: (share, 1.0))),
        jitter=st.none() | st.builds(JitterSettings, hue=st.floats(0, 0.5)),
        still_share=shares,
        where=st.sampled_from(["disk", "memory", "device"]),
    ),
    replay=st.none() | st.builds(ReplaySettings, initial=st.just("max") | shares, min_size=st.integers(1, 99)),
    optimizer=st.builds(
        OptimizerSettings,
        name=st.sampled_from(["adam", "adamw", "sgd"]),
        lr=st.sampled_from(["1e-3", "cosine 1e-3 1e-5 warmup 500", "step 2e-4 66667:x0.5"]).map(Schedule.parse),
        weight_decay=st.floats(0, 1),
        clip=st.none() | shares,
        multipliers=st.dictionaries(st.sampled_from(["encoder", "encoder.layer1"]), shares),
        freeze=st.dictionaries(st.sampled_from(["encoder", "encoder.layer1"]), shares),
    ),
    steps=st.integers(1, 10**7),
    batch_size=st.integers(1, 512),
    precision=st.sampled_from(["float32", "bfloat16"]),
    average=st.none() | st.floats(0.5, 0.9999),
    seed=st.integers(0, 2**63),
    log=st.builds(LogSettings, every=st.integers(1, 99)),
)


@given(recipes)
@settings(deadline=None, max_examples=60)
def test_f098_any_recipe_reads_back_equal(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert read_recipe(str(path)) == recipe


def test_a_recipe_says_all_that_decides_the_run():
    recipe = parse_recipe(MINE)
    text = recipe.to_yaml()
    for changed in (replace(recipe, seed=1), replace(recipe, steps=6), replace(recipe, average=0.9)):
        assert changed.to_yaml() != text
