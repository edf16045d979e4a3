"""The C++ backend says what brute force in float64 says, on every path that this machine can run, and what it cannot do it says."""

import importlib.util
import os
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.backends import tiled
from followspot.ops.backends.native import compile as building
from followspot.ops.backends.native import library, matching
from followspot.ops.bank import FeatureBank, pack
from followspot.ops.propagate import Affinity, propagate

_spec = importlib.util.spec_from_file_location("propagation_reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

compiled = pytest.mark.skipif(isinstance(library.load(), str), reason=f"no native backend: {library.load()}")
PATHS = [
    pytest.param(path, marks=pytest.mark.skipif(path not in library.usable(), reason=f"this machine cannot run {path}"))
    for path in library.PATHS
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def forced(path):
    return mock.patch.dict(os.environ, {library.VARIABLE: path})


def scene(*, channels=8, height=6, width=9, labels=3, references=1, ring=2, seed=0, spread=1.0):
    """A query and a bank; features differ from one vector that all share by the spread."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(channels, 1, 1, generator=generator)

    def features():
        return common + spread * torch.randn(channels, height, width, generator=generator)

    bank, frames = FeatureBank(capacity=ring), []
    for number in range(references + ring):
        frames.append((features(), torch.rand(labels, height, width, generator=generator), number < references))
        if number < references:
            bank.add_reference(*frames[-1][:2], key=number)
        else:
            bank.push(*frames[-1][:2])
    return features(), bank, frames


def check(query, bank, frames, affinity):
    """The native answer against brute force, wherever the best k are clear."""
    found = propagate(query, bank, affinity, backend="native")
    labels, entropy, gap = reference.propagate(query.numpy(), [(f.numpy(), v.numpy(), p) for f, v, p in frames], **vars(affinity))
    clear = gap > 1e-6
    assert clear.mean() > 0.5 or not clear.size > 20
    assert np.abs(found.labels.numpy() - labels)[:, clear].max() <= 1e-5
    assert np.abs(found.entropy.numpy() - entropy)[clear].max() <= 1e-4
    assert found.labels.is_contiguous()


@pytest.mark.parametrize("path", PATHS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_f104_every_path_agrees_with_brute_force(path, data):
    radii = st.sampled_from([None, 0, 1, 2, 5, 1000])
    normalize = data.draw(st.booleans())
    affinity = Affinity(
        top_k=data.draw(st.sampled_from([1, 2, 5, 13, 50, 64])),
        # Raw products are promised to be exact while score / temperature is below about 300.
        temperature=data.draw(st.sampled_from([0.05, 0.3, 1.0])) if normalize else 1.0,
        radius=data.draw(radii),
        radius_first=data.draw(radii),
        window=data.draw(st.sampled_from(["square", "circle"])),
        normalize=normalize,
        joint=data.draw(st.booleans()),
    )
    sizes = dict(height=data.draw(st.integers(1, 9)), width=data.draw(st.integers(1, 14)), channels=data.draw(st.integers(2, 37)))
    frames = dict(references=data.draw(st.integers(1, 2)), ring=data.draw(st.integers(0, 3)), labels=data.draw(st.integers(1, 5)))
    with forced(path):
        check(*scene(**sizes, **frames, seed=data.draw(st.integers(0, 1000))), affinity)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("window", ["square", "circle"])
@pytest.mark.parametrize(("radius", "height", "width"), [(13, 3, 70), (20, 30, 7), (30, 4, 107), (None, 2, 129)])
def test_windows_wider_than_a_vector(path, window, radius, height, width):
    with forced(path):
        check(*scene(height=height, width=width, references=1, ring=1), Affinity(top_k=4, radius=radius, radius_first=None, window=window))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("top_k", "labels"), [(1, 1), (5, 300), (10, 2), (20, 7), (50, 4)])
def test_twenty_one_frames_and_any_number_of_labels(path, top_k, labels):
    with forced(path):
        check(
            *scene(height=5, width=7, references=1, ring=20, labels=labels, channels=33), Affinity(top_k=top_k, radius=3, radius_first=None)
        )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("spread", [0.05, 0.03])
def test_keys_too_alike_for_rounded_scores_are_searched_again(path, spread):
    """Differences of scores are far below what 16 bits resolve; the fast path must notice and search in float32."""
    query, bank, frames = scene(height=8, width=12, channels=64, spread=spread)
    affinity = Affinity(top_k=5, radius=4, radius_first=4)
    with forced(path):
        check(query, bank, frames, affinity)
        again = matching._match(pack(query)[0], bank.entries, affinity)[2]
    assert (again > 0) == (path == "avx512vnni")


@pytest.mark.parametrize("path", PATHS)
def test_clear_scenes_are_not_searched_again(path):
    query, bank, _ = scene(height=20, width=24, channels=64, spread=3.0)
    with forced(path):
        assert matching._match(pack(query)[0], bank.entries, Affinity(top_k=5, radius=6, radius_first=6))[2] == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("window", ["square", "circle"])
def test_any_number_of_threads_gives_the_same_bits(path, window):
    query, bank, _ = scene(height=23, width=31, channels=20, spread=0.1)
    affinity = Affinity(top_k=5, radius=4, radius_first=None, window=window)
    with forced(path):
        alone = propagate(query, bank, affinity, backend="native")
        for threads in (2, 3, 4, 64):
            torch.set_num_threads(threads)
            for entry in bank.entries:
                entry.packed.clear()
            found = propagate(query, bank, affinity, backend="native")
            assert torch.equal(found.labels, alone.labels), threads
            assert torch.equal(found.entropy, alone.entropy), threads


@pytest.mark.parametrize("path", PATHS)
def test_flat_and_empty_features_stay_finite(path):
    labels = torch.rand(2, 6, 40)
    for features in (torch.ones(5, 6, 40), torch.zeros(5, 6, 40)):
        bank = FeatureBank(capacity=2)
        bank.push(features, labels)
        with forced(path):
            found = propagate(features, bank, Affinity(top_k=4, radius=2), backend="native")
        assert labels.min() <= found.labels.min() <= found.labels.max() <= labels.max()
        torch.testing.assert_close(found.entropy, torch.ones(6, 40))


@compiled
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_features_are_refused_as_by_every_backend(bad):
    query, bank, _ = scene()
    query[0, 1, 2] = bad
    with pytest.raises(SettingError, match="features hold NaN"):
        propagate(query, bank, Affinity(), backend="native")


@compiled
def test_frames_are_packed_once_and_again_only_for_another_path():
    query, bank, _ = scene()
    with forced("portable"):
        propagate(query, bank, Affinity())
        first = [entry.packed["portable", False][0] for entry in bank.entries]
        bank.map_labels(lambda labels: labels * 2)
        propagate(query, bank, Affinity())
        propagate(query, bank, Affinity(normalize=False))
    for entry, keys in zip(bank.entries, first, strict=True):
        assert entry.packed["portable", False][0] is keys
        assert set(entry.packed) == {("portable", False), ("portable", True)}


@compiled
def test_what_it_cannot_do_is_said_and_done_by_the_tiles(monkeypatch):
    query, bank, _ = scene()
    monkeypatch.delenv(library.VARIABLE, raising=False)
    for affinity, why in [
        (Affinity(top_k=None), "top_k = None, it keeps 1 to 64 keys"),
        (Affinity(top_k=65), "top_k = 65"),
        (Affinity(renormalize=False), "needs all keys of the window"),
    ]:
        with pytest.raises(SettingError, match=rf"backend = 'native' cannot do this: .*{why}"):
            propagate(query, bank, affinity, backend="native")
        assert torch.equal(propagate(query, bank, affinity).labels, tiled.match(pack(query)[0], bank.entries, affinity)[0])


@compiled
def test_the_environment_chooses(monkeypatch):
    query, bank, _ = scene()
    called = []
    real = matching.match
    monkeypatch.setattr(matching, "match", lambda *arguments: called.append(library.chosen()) or real(*arguments))
    for wish in ("auto", "", "off", "portable"):
        monkeypatch.setenv(library.VARIABLE, wish)
        propagate(query, bank, Affinity())
    assert called == [library.usable()[-1], library.usable()[-1], "portable"]
    monkeypatch.setenv(library.VARIABLE, "off")
    assert library.state().startswith("no, FOLLOWSPOT_NATIVE=off (usable: portable")
    monkeypatch.setenv(library.VARIABLE, "portable")
    assert library.state().startswith("yes, portable (usable: portable")


def test_mistaken_wishes_are_one_line(monkeypatch):
    query, bank, _ = scene()
    monkeypatch.setenv(library.VARIABLE, "sse9")
    with pytest.raises(SettingError, match="FOLLOWSPOT_NATIVE=sse9: expected auto, off, portable, avx2"):
        propagate(query, bank, Affinity())
    monkeypatch.setenv(library.VARIABLE, "avx512")
    monkeypatch.setattr(library, "usable", lambda: ("portable",))
    with pytest.raises(SettingError, match=r"FOLLOWSPOT_NATIVE=avx512 cannot run \(.*\); unset it"):
        propagate(query, bank, Affinity())


def test_without_a_library_the_tiles_do_it(monkeypatch, tmp_path):
    query, bank, _ = scene()
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setattr(building, "LIBRARY", tmp_path / "none.so")
    told = library.load.__wrapped__()
    assert told.startswith("not compiled; with a C++ compiler run python -m followspot")
    monkeypatch.setattr(library, "load", lambda: told)
    assert library.state() == f"no, {told}"
    assert torch.equal(propagate(query, bank, Affinity()).labels, tiled.match(pack(query)[0], bank.entries, Affinity())[0])
    with pytest.raises(SettingError, match="backend = 'native' cannot do this: no, not compiled"):
        propagate(query, bank, Affinity(), backend="native")


@compiled
def test_a_library_of_other_sources_is_not_taken(monkeypatch):
    monkeypatch.setattr(building, "fingerprint", lambda: "other")
    assert library.load.__wrapped__().startswith("compiled from other sources than these")


def test_a_broken_library_is_not_taken(monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(building, "LIBRARY", broken)
    assert library.load.__wrapped__().startswith("broken.so cannot be loaded")


@pytest.mark.skipif(building.compiler() is None, reason="no C++ compiler here")
def test_a_build_makes_a_library_of_these_sources(monkeypatch, tmp_path):
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setattr(building, "LIBRARY", tmp_path / "libfollowspot.so")
    # The widest paths take longest to compile, and the installed library has them.
    monkeypatch.setattr(building, "EXTENSIONS", {"avx2": building.EXTENSIONS["avx2"], "unknown": ("-mno-such-extension",)})
    assert building.build() is None
    assert [path.name for path in tmp_path.iterdir()] == ["libfollowspot.so"]
    loaded = library.load.__wrapped__()
    assert loaded.followspot_usable(0) == 1
    assert [loaded.followspot_usable(path) for path in (2, 3, 99, -1)] == [0, 0, 0, 0]


def test_a_build_that_fails_says_why_and_leaves_nothing(monkeypatch, tmp_path):
    old = tmp_path / "libfollowspot.so"
    monkeypatch.setattr(building, "LIBRARY", old)
    monkeypatch.delenv(library.VARIABLE, raising=False)
    for compiler, why in [("no-such-compiler", "no C++ compiler"), (shutil.which("false"), "false failed: no message")]:
        old.write_bytes(b"stale")
        monkeypatch.setenv("CXX", compiler)
        assert building.build().startswith(why)
        assert not list(tmp_path.iterdir())
    monkeypatch.setenv(library.VARIABLE, "off")
    assert building.build() == "FOLLOWSPOT_NATIVE=off"
