"""Recipes of online trackers: shipped ones, reading and writing, what they refuse."""

import itertools
import re
from pathlib import Path

import pytest

from followspot.errors import SettingError
from followspot.jobs.train_online import read_online_recipe
from followspot.ops.schedule import Schedule
from followspot.training.online_recipe import NetworkSettings, OnlineRecipe
from followspot.training.recipe import online_recipe_names, read_recipe

SHIPPED = online_recipe_names()


def test_the_page_on_recipes_lists_what_is_shipped():
    page = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
    assert sorted(re.findall(r"^\| \*`([\w-]+)`\* \|", page.read_text(encoding="utf-8"), re.MULTILINE)) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_f127_a_shipped_recipe_reads_back_equal(name, tmp_path):
    recipe = read_online_recipe(name)
    assert recipe.name == name
    assert recipe.source
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert read_online_recipe(str(path)) == recipe
    if recipe.network.after is not None:
        assert recipe.network.after in SHIPPED


def test_f045_the_published_schedule_warms_up_and_falls_geometrically():
    """Twenty epochs: geometrically from 0.001 over five to 0.005, then over fifteen to 0.0025."""
    recipe = read_online_recipe("siammask-base")
    epochs = [recipe.optimizer.lr.at(step, 20) for step in range(21)]
    growth = 5 ** (1 / 5)
    assert epochs[:6] == pytest.approx([0.001 * growth**epoch for epoch in range(6)])
    assert [round(value, 5) for value in epochs[:6]] == [0.001, 0.00138, 0.0019, 0.00263, 0.00362, 0.005]
    assert epochs[19] == pytest.approx(0.0025)
    assert all(later / earlier == pytest.approx(0.5 ** (1 / 14)) for earlier, later in itertools.pairwise(epochs[5:20]))


def test_the_published_values_of_both_stages():
    base, sharp = read_online_recipe("siammask-base"), read_online_recipe("siammask")
    assert (base.loss.weights.score, base.loss.weights.box, base.loss.weights.mask) == (1.0, 1.2, 36.0)
    assert (sharp.loss.weights.score, sharp.loss.weights.box, sharp.loss.weights.mask) == (0.0, 0.0, 36.0)
    assert base.steps * base.batch_size == 20 * base.data.epoch == 12_000_000
    assert sharp.steps * sharp.batch_size == 20 * sharp.data.epoch
    assert (base.optimizer.momentum, base.optimizer.weight_decay, base.optimizer.clip, base.optimizer.skip_above) == (0.9, 1e-4, 10, 1e4)
    assert sharp.optimizer.lr == Schedule.parse("log 0:0.01 0.95:0.0025")
    view = base.data.search
    assert (base.data.negatives, base.data.gray, base.data.template.shift, base.data.template.scale) == (0.2, 0.25, 4, 0.05)
    assert (view.shift, view.scale, view.blur) == (64, 0.18, 0.18)
    s2 = read_online_recipe("s2iammask")
    assert (s2.batch_size, s2.steps * s2.batch_size, s2.optimizer.freeze) == (4, 10 * 600_000, {"network.stage1": 1.0})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("network.name=siamask", "no online network"),
        ("network.init=x.safetensors", "give one of them"),
        ("data.negatives=2", "a share in 0..1"),
        ("data.search.scale=1", "scale in 0..0.9"),
        ("data.shares={video: 0}", "all shares are 0"),
        ("loss.places=0", "must be 1 or more"),
        ("loss.enlarge=[0.4, 0.1]", "the smaller first"),
        ("workers=0", "must be 1 or more"),
        ("data.blurr=1", "did you mean"),
    ],
)
def test_wrong_values_are_told(change, said):
    with pytest.raises(SettingError, match=said):
        read_online_recipe("siammask-lite-base", changes=(change,))


def test_jobs_that_train_encoders_send_such_a_recipe_away():
    with pytest.raises(SettingError, match="online tracker"):
        read_recipe("siammask-lite")


def test_a_recipe_says_what_its_network_is():
    recipe = OnlineRecipe(name="mine", steps=1, batch_size=1, network=NetworkSettings(name="siammask-lite-box"))
    assert recipe.about() == {"network": "siammask-lite-box", "recipe": recipe.to_yaml()}
    assert not recipe.replays
