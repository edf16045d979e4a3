"""The GPU kernels in Triton's interpreter (tests/conftest.py asks for it where there is no GPU), on grids that it can manage."""

import importlib.util
import logging
import math
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.backends import tiled
from followspot.ops.backends.gpu import matching, proof
from followspot.ops.bank import FeatureBank, pack
from followspot.ops.propagate import Affinity, propagate

_spec = importlib.util.spec_from_file_location("propagation_reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


def version(package):
    """(major, minor), or (0, 0)."""
    found = importlib.util.find_spec(package)
    return tuple(int(part) for part in metadata.version(package).split(".")[:2]) if found else (0, 0)


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed; it has no wheel here")
interprets = pytest.mark.skipif(
    not matching.interpreted() or version("triton") < (3, 9),
    reason="kernels are compiled, not interpreted (a GPU is there), or triton < 3.9, whose interpreter fails with numpy 2.4",
)
DTYPES = [torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scene(*, channels=8, height=4, width=5, count=2, references=1, ring=1, seed=0):
    """A query, the frames (references first, ring oldest first), and the bank of them."""
    generator = torch.Generator().manual_seed(seed)
    frames = [
        (torch.randn(channels, height, width, generator=generator), torch.rand(count, height, width, generator=generator))
        for _ in range(references + ring)
    ]
    return torch.randn(channels, height, width, generator=generator), frames, filled(frames, references)


def filled(frames, references):
    bank = FeatureBank(capacity=len(frames) - references)
    for key, (features, labels) in enumerate(frames):
        if key < references:
            bank.add_reference(features, labels, key=key)
        else:
            bank.push(features, labels)
    return bank


def matched(query, bank, affinity, **settings_):
    unit, norms = pack(query)
    return matching.proven_match(unit if affinity.normalize else unit * norms[:, :, None], bank.entries, affinity, **settings_)


def check(query, frames, references, affinity, found):
    expected = reference.propagate(
        query.numpy(), [(features.numpy(), labels.numpy(), i < references) for i, (features, labels) in enumerate(frames)], **vars(affinity)
    )
    clear = expected[2] > 1e-6
    assert np.abs(found[0].numpy() - expected[0])[:, clear].max(initial=0) <= 1e-5
    assert np.abs(found[1].numpy() - expected[1])[clear].max(initial=0) <= 1e-4
    assert found[0].isfinite().all()


@needs_triton
@interprets
@settings(deadline=None, max_examples=6, derandomize=True)
@given(
    size=st.tuples(st.sampled_from([3, 16, 70]), st.integers(1, 5), st.integers(1, 6)),
    count=st.sampled_from([1, 3, 18]),
    frames=st.sampled_from([(1, 0), (0, 2), (1, 2)]),
    affinity=st.builds(
        Affinity,
        top_k=st.sampled_from([1, 4, 20]),
        temperature=st.sampled_from([0.07, 1.0]),
        radius=st.sampled_from([None, 0, 2, 50]),
        radius_first=st.sampled_from([None, 1]),
        window=st.sampled_from(["square", "circle"]),
        normalize=st.booleans(),
        joint=st.booleans(),
    ),
    dtype=st.sampled_from(DTYPES),
    each=st.sampled_from([None, 1, 2]),
)
def test_a4_agrees_with_brute_force(size, count, frames, affinity, dtype, each):
    channels, height, width = size
    query, shown, bank = scene(channels=channels, height=height, width=width, count=count, references=frames[0], ring=frames[1])
    check(query, shown, frames[0], affinity, matched(query, bank, affinity, dtype=dtype, each=each))


@needs_triton
@interprets
@pytest.mark.parametrize("window", ["square", "circle"])
def test_a4_tiles_that_reach_beyond_the_image_agree_with_brute_force(window):
    query, frames, bank = scene(height=9, width=10, channels=16)
    affinity = Affinity(top_k=5, radius=3, radius_first=None, window=window)
    check(query, frames, 1, affinity, matched(query, bank, affinity))


@needs_triton
@interprets
@pytest.mark.parametrize("flags", [{}, {"normalize": False, "temperature": 1.0}, {"joint": False, "window": "circle"}])
def test_a4_the_search_in_float32_agrees_with_brute_force(flags):
    query, frames, bank = scene(height=3, width=4, channels=70)
    affinity = Affinity(top_k=1, radius=1, radius_first=None, **flags)
    *found, again = matched(query, bank, affinity, doubt=math.inf)
    assert again.bool().any()
    check(query, frames, 1, affinity, found)


@needs_triton
@interprets
def test_a4_keys_that_half_precision_cannot_tell_apart_are_searched_again(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(16, 1, 1, generator=generator)
    frames = [(base + 3e-4 * torch.randn(16, 4, 4, generator=generator), torch.rand(2, 4, 4, generator=generator))]
    query = base + 0.5 * torch.randn(16, 4, 4, generator=generator)
    bank, affinity = filled(frames, 1), Affinity(top_k=1, radius_first=None)
    *found, again = matched(query, bank, affinity, dtype=torch.bfloat16)
    assert again.all()
    check(query, frames, 1, affinity, found)
    monkeypatch.setattr(matching, "margin", lambda dtype, channels: -1.0)
    *found, again = matched(query, bank, affinity, dtype=torch.bfloat16)
    assert not again.any()
    with pytest.raises(AssertionError):
        check(query, frames, 1, affinity, found)


@needs_triton
@interprets
def test_propagate_takes_the_kernels_where_they_are_named():
    query, _, bank = scene()
    affinity = Affinity(top_k=2, radius=1)
    torch.testing.assert_close(
        propagate(query, bank, affinity, backend="triton").labels, propagate(query, bank, affinity, backend="tiled").labels
    )
    # The second time with the frames packed by the first.
    assert all(("gpu torch.float16", False) in entry.packed for entry in bank.entries)
    with pytest.raises(SettingError, match="backend = 'triton' cannot do this: top_k = None, it keeps 1 to 29 keys; use 'auto'"):
        propagate(query, bank, Affinity(top_k=None), backend="triton")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a4_rounding_moves_scores_by_less_than_the_margin(dtype):
    for channels in (1, 3, 64, 2048):
        vectors = torch.randn(200, channels, generator=torch.Generator().manual_seed(channels))
        vectors[1::2] *= 10.0 ** (-9 * torch.rand(100, channels, generator=torch.Generator().manual_seed(1)))  # subnormals too
        unit = torch.nn.functional.normalize(vectors, dim=1)
        rounded = unit.to(dtype).double()
        moved = (rounded @ rounded.t() - unit.double() @ unit.double().t()).abs().max()
        assert moved <= matching.margin(dtype, channels)
    assert moved > 0


def test_refusals(monkeypatch):
    query, _, bank = scene()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for flags, why in [
        ({"top_k": None}, "top_k = None"),
        ({"top_k": 30}, "top_k = 30"),
        ({"renormalize": False}, "all keys of the window"),
    ]:
        assert why in matching.refusal(pack(query)[0], bank.entries, Affinity(**flags))
    monkeypatch.setattr(matching, "find_spec", lambda name: None)
    assert "triton is not installed" in matching.refusal(pack(query)[0], bank.entries, Affinity())
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert "it runs on GPUs, the features are on cpu" in matching.refusal(pack(query)[0], bank.entries, Affinity())
    with pytest.raises(SettingError, match="backend = 'triton' cannot do this: it runs on GPUs"):
        propagate(query, bank, Affinity(), backend="triton")


def test_auto_never_takes_the_kernels_unless_wished_for(monkeypatch):
    query, _, bank = scene()
    monkeypatch.setattr(matching, "proven_match", lambda *args, **kwargs: pytest.fail("taken"))
    monkeypatch.delenv(proof.VARIABLE, raising=False)
    assert proof.refusal(pack(query)[0], bank.entries, Affinity()) == "FOLLOWSPOT_TRITON is off"
    propagate(query, bank, Affinity())
    monkeypatch.setenv(proof.VARIABLE, "float16")
    assert proof.refusal(pack(query)[0], bank.entries, Affinity()) == "the features are on cpu"
    propagate(query, bank, Affinity())
    monkeypatch.setenv(proof.VARIABLE, "double")
    with pytest.raises(SettingError, match="FOLLOWSPOT_TRITON=double: expected off, float16, bfloat16"):
        proof.refusal(pack(query)[0], bank.entries, Affinity())


def wrong(affinity):
    return proof.wrong.__wrapped__(torch.device("cpu"), (3, 4, 8), label_count=2, affinity=affinity, dtype=torch.float16)


@needs_triton
@interprets
def test_right_kernels_are_proved():
    assert wrong(Affinity(top_k=1, radius=1, radius_first=None)) is None


@pytest.mark.parametrize(
    ("labels", "entropy", "why"),
    [(0.01, 0.0, "labels in 100.0% of the cells"), (0, 0.01, "entropy differs by 1.0e-02"), (0, math.nan, "nan")],
)
def test_kernels_that_err_are_left_with_one_line(monkeypatch, caplog, labels, entropy, why):
    def off(query, entries, affinity, **_):
        found = tiled.match(query, entries, affinity)
        return found[0] + labels, found[1] + entropy, None

    monkeypatch.setattr(matching, "proven_match", off)
    with caplog.at_level(logging.WARNING):
        assert why in wrong(Affinity(top_k=2))
    assert len(caplog.records) == 1
    assert "the GPU kernels are not used for 3 x 4 cells on cpu" in caplog.text


def test_kernels_that_do_not_compile_are_left(monkeypatch, caplog):
    monkeypatch.setattr(matching, "proven_match", lambda *args, **kwargs: 1 / 0)
    assert wrong(Affinity()) == "ZeroDivisionError: division by zero"
    assert len(caplog.records) == 1


def test_the_proof_itself_is_exact(monkeypatch):
    monkeypatch.setattr(matching, "proven_match", lambda *args, **_: (*tiled.match(*args), None))
    before = torch.get_float32_matmul_precision()
    assert wrong(Affinity()) is None
    assert torch.get_float32_matmul_precision() == before


@needs_triton
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
def test_kernels_compile_without_a_gpu(tmp_path):
    surroundings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run([sys.executable, script], env=surroundings, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["score", "score", "decide", "search"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("flags", [{}, {"radius_first": None, "top_k": 10}, {"window": "circle", "joint": False}, {"normalize": False}])
def test_a4_on_a_gpu(dtype, flags):
    affinity = Affinity(**{"top_k": 5, **flags})
    assert proof.wrong.__wrapped__(torch.device("cuda"), (60, 107, 256), label_count=4, affinity=affinity, dtype=dtype) is None
