"""Benchmarks are cut to some sequences, however their readers list them, and the whole one stays as it was."""

from importlib import import_module
from types import SimpleNamespace

import pytest

from followspot.benchmarks.registry import NAMES, find_entry, open_benchmark
from followspot.benchmarks.selection import only
from followspot.errors import DatasetError

VIDEOS = ("a/1", "b", "c")


def listed(kind):
    things = {name: SimpleNamespace(name=name) for name in VIDEOS}
    return {"sequences": tuple(things.values()), "clips": tuple(things.values()), "videos": things, "names": VIDEOS}[kind]


def cuts_itself(name):
    entry = find_entry(name)
    return hasattr(getattr(import_module(f"followspot.benchmarks.{entry.module}"), entry.class_name), "only")


@pytest.mark.parametrize("name", [name for name in NAMES if not cuts_itself(name)])
def test_every_benchmark_can_be_cut(name):
    """The class itself, with a reader that lists its videos in one of the known ways."""
    entry = find_entry(name)
    cls = getattr(import_module(f"followspot.benchmarks.{entry.module}"), entry.class_name)
    for place in ("dataset", "_dataset"):
        for kind in ("sequences", "clips", "videos", "names"):
            for entries in (listed(kind), {video: SimpleNamespace(name=video) for video in VIDEOS}):
                benchmark = cls.__new__(cls)
                object.__setattr__(benchmark, place, SimpleNamespace(**{kind: entries}))
                for attribute, value in (("name", "n"), ("split", "all")):
                    if not isinstance(getattr(cls, attribute, None), property):
                        object.__setattr__(benchmark, attribute, value)
                try:
                    if tuple(benchmark.sequence_names) != VIDEOS:
                        continue
                except (AttributeError, TypeError):
                    continue
                part = only(benchmark, ["c", "a/1"])
                assert part.sequence_names == ("c", "a/1")
                assert tuple(benchmark.sequence_names) == VIDEOS
                return
    pytest.fail(f"{cls.__name__} lists its videos in a way that followspot.benchmarks.selection does not know")


def test_a_part_scores_its_own_sequences(tmp_path, shared_data):
    benchmark = open_benchmark("davis", shared_data / "davis", split="dev")
    names = benchmark.sequence_names
    part = only(benchmark, [names[3], names[1]])
    with pytest.raises(DatasetError, match=r"2 of 2 sequences|is missing"):
        part.score(tmp_path, workers=1)
    assert part.length(names[1]) == benchmark.length(names[1])


def test_wrong_names_are_told():
    benchmark = open_benchmark("synthetic", None)
    with pytest.raises(DatasetError, match="did you mean 'clip-1003'"):
        only(benchmark, ["clip-1003x"])
    with pytest.raises(DatasetError, match="name at least one, and each once"):
        only(benchmark, [])
    with pytest.raises(DatasetError, match="name at least one, and each once"):
        only(benchmark, ["clip-1003", "clip-1003"])
