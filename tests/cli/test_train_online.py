"""``followspot train`` with recipes of online trackers."""

import yaml


def test_show_prints_the_recipe(followspot):
    said = followspot("train", "siammask-lite", "--show", "--set", "steps=7")
    assert said.code == 0
    printed = yaml.safe_load(said.out)
    assert (printed["name"], printed["steps"], printed["network"]["after"]) == ("siammask-lite", 7, "siammask-lite-base")


def test_what_is_missing_is_told(followspot, tmp_path):
    for given in ((), ("--data", tmp_path), ("--out", tmp_path / "run")):
        assert followspot("train", "siammask-lite", *given).refuses("--data STORE (made by followspot targets)", "--out FOLDER")


def test_options_for_encoders_are_refused(followspot, tmp_path):
    places = ("--data", tmp_path, "--out", tmp_path / "run")
    for option in (("--compile",), ("--score-on", tmp_path)):
        assert followspot("train", "siammask-lite", *places, *option).refuses("an online tracker is judged on", "leave these options out")


def test_changes_of_a_first_stage_need_one(followspot, tmp_path):
    places = ("--data", tmp_path, "--out", tmp_path / "run")
    for recipe in ("siammask-lite-box", "random_walk-small"):
        said = followspot("train", recipe, *places, "--set", "first.steps=3")
        assert said.refuses("first.steps=3 is for recipes that begin with another", f"{recipe} does not")
    assert followspot("train", "siammask-lite", *places, "--set", "first.stepz=3").refuses("stepz", "steps")
    assert not (tmp_path / "run").exists()


def test_a_folder_without_targets_is_told(followspot, tmp_path):
    said = followspot("train", "siammask-lite-box", "--data", tmp_path, "--out", tmp_path / "run")
    assert said.refuses(str(tmp_path), "followspot targets")
    assert not (tmp_path / "run").exists()
