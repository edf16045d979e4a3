"""The public names: all there, all lazy, written down once."""

import ast
import importlib
from importlib.metadata import version
from pathlib import Path

import pytest

import followspot


def imported_for_type_checkers():
    tree = ast.parse(Path(followspot.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: statement.module for statement in block.body for alias in statement.names}


def test_every_public_name_is_its_modules_own():
    for name, module in imported_for_type_checkers().items():
        assert getattr(followspot, name) is getattr(importlib.import_module(module), name)


def test_the_three_lists_agree():
    assert set(imported_for_type_checkers()) == set(followspot.__all__) == set(followspot._HOME_OF)
    assert {name: module.removeprefix("followspot.") for name, module in imported_for_type_checkers().items()} == followspot._HOME_OF
    assert len(set(followspot.__all__)) == len(followspot.__all__)


def test_sorted_as_the_linter_sorts():
    """Constants, then classes, then functions."""

    def key(name):
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert followspot.__all__ == sorted(followspot.__all__, key=key)


def test_star_import_and_dir():
    names = {}
    exec("from followspot import *", names)
    assert set(followspot.__all__) <= set(names)
    assert dir(followspot) == sorted([*followspot.__all__, "__version__"])


def test_version():
    assert followspot.__version__ == version("followspot")


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'followspot' has no attribute 'trak'"):
        followspot.trak  # noqa: B018
