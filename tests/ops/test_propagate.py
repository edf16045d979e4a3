import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import SettingError
from followspot.ops.backends import tiled
from followspot.ops.bank import FeatureBank, pack
from followspot.ops.propagate import Affinity, propagate

_spec = importlib.util.spec_from_file_location("propagation_reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

RADII = st.sampled_from([None, 0, 1, 2, 4, 50])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@st.composite
def affinities(draw):
    return Affinity(
        top_k=draw(st.sampled_from([None, 1, 2, 3, 10, 1000])),
        temperature=draw(st.sampled_from([0.07, 0.3, 1.0])),
        radius=draw(RADII),
        radius_first=draw(RADII),
        window=draw(st.sampled_from(["square", "circle"])),
        normalize=draw(st.booleans()),
        joint=draw(st.booleans()),
        renormalize=draw(st.booleans()),
    )


@st.composite
def scenes(draw):
    """A query, references, ring frames (oldest first) and a tile."""
    channels, height, width = draw(st.sampled_from([2, 5, 16])), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    count = draw(st.integers(1, 4))
    references, ring = draw(st.integers(0, 2)), draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))

    def frame():
        return torch.randn(channels, height, width, generator=generator), torch.rand(count, height, width, generator=generator)

    frames = [frame() for _ in range(max(references, 1 if ring == 0 else 0))]
    tile = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    return torch.randn(channels, height, width, generator=generator), frames, [frame() for _ in range(ring)], tile


def filled(references, ring, *, capacity=None):
    bank = FeatureBank(capacity=len(ring) if capacity is None else capacity)
    for key, (features, labels) in enumerate(references):
        bank.add_reference(features, labels, key=key)
    for features, labels in ring:
        bank.push(features, labels)
    return bank


def brute_force(query, references, ring, affinity):
    frames = [(f.numpy(), v.numpy(), True) for f, v in references] + [(f.numpy(), v.numpy(), False) for f, v in ring]
    return reference.propagate(query.numpy(), frames, **vars(affinity))


def random_scene(*, channels=8, height=7, width=9, count=3, references=1, ring=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = [
        (torch.randn(channels, height, width, generator=generator), torch.rand(count, height, width, generator=generator))
        for _ in range(references + ring)
    ]
    return torch.randn(channels, height, width, generator=generator), frames[:references], frames[references:]


@settings(deadline=None, max_examples=150)
@given(scene=scenes(), affinity=affinities())
def test_f104_agrees_with_brute_force(scene, affinity):
    query, references, ring, tile = scene
    bank = filled(references, ring)
    labels, entropy, gap = brute_force(query, references, ring, affinity)
    clear = gap > 1e-6
    unit, norms = pack(query)
    cells = unit if affinity.normalize else unit * norms[:, :, None]
    for found, doubt in [tiled.match(cells, bank.entries, affinity, tile=tile), vars(propagate(query, bank, affinity)).values()]:
        assert np.abs(found.numpy() - labels)[:, clear].max(initial=0) <= 1e-5
        assert np.abs(doubt.numpy() - entropy)[clear].max(initial=0) <= 1e-4
        assert found.isfinite().all()
        assert 0 <= doubt.min() <= doubt.max() <= 1


def test_every_flag_changes_the_result():
    query, references, ring = random_scene(references=2)
    plain = dict(top_k=4, temperature=0.3, radius=2, radius_first=2, window="square", normalize=True, joint=True, renormalize=True)
    other = dict(top_k=3, temperature=0.4, radius=3, radius_first=None, window="circle", normalize=False, joint=False, renormalize=False)
    bank = filled(references, ring)
    base = propagate(query, bank, Affinity(**plain)).labels
    for name, value in other.items():
        affinity = Affinity(**{**plain, name: value})
        found = propagate(query, bank, affinity).labels
        assert (found - base).abs().max() > 1e-2, name
        np.testing.assert_allclose(found.numpy(), brute_force(query, references, ring, affinity)[0], atol=1e-5)


@pytest.mark.parametrize("renormalize", [True, False])
def test_frames_with_fewer_keys_than_top_k_are_not_padded_with_false_ones(renormalize):
    query, references, ring = random_scene(height=4, width=5)
    affinity = Affinity(top_k=4, temperature=0.5, radius=1, radius_first=0, joint=False, renormalize=renormalize)
    labels, entropy, _ = brute_force(query, references, ring, affinity)
    found, doubt = tiled.match(pack(query)[0], filled(references, ring).entries, affinity, tile=(1, 1))
    np.testing.assert_allclose(found.numpy(), labels, atol=1e-5)
    np.testing.assert_allclose(doubt.numpy(), entropy, atol=1e-5)


@pytest.mark.parametrize("top_k", [None, 5])
def test_one_cell_grid_copies_the_mean_label(top_k):
    query, references, ring = random_scene(height=1, width=1, references=1, ring=0)
    result = propagate(query, filled(references, ring), Affinity(top_k=top_k))
    torch.testing.assert_close(result.labels, references[0][1])
    assert result.entropy.item() == 0


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("top_k", [None, 1, 6])
def test_constant_labels_stay_constant(top_k, joint):
    query, references, ring = random_scene()
    constant = [(features, torch.full_like(labels, 0.25)) for features, labels in [*references, *ring]]
    result = propagate(query, filled(constant[:1], constant[1:]), Affinity(top_k=top_k, joint=joint, radius=2))
    torch.testing.assert_close(result.labels, torch.full_like(result.labels, 0.25))


def test_without_renormalising_labels_keep_less_than_all_weight():
    query, references, ring = random_scene()
    ones = [(features, torch.ones_like(labels)) for features, labels in [*references, *ring]]
    result = propagate(query, filled(ones[:1], ones[1:]), Affinity(top_k=3, temperature=1.0, renormalize=False))
    assert 0 < result.labels.min() <= result.labels.max() < 0.5


@settings(deadline=None, max_examples=25)
@given(affinity=affinities(), order=st.permutations(range(3)))
def test_label_channels_are_independent(affinity, order):
    query, references, ring = random_scene()
    moved = [(features, labels[list(order)]) for features, labels in [*references, *ring]]
    straight = propagate(query, filled(references, ring), affinity).labels
    found = propagate(query, filled(moved[:1], moved[1:]), affinity).labels
    torch.testing.assert_close(found, straight[list(order)], atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=25)
@given(affinity=affinities())
def test_order_of_the_ring_does_not_matter(affinity):
    query, references, ring = random_scene(ring=3)
    forward = propagate(query, filled(references, ring), affinity).labels
    torch.testing.assert_close(propagate(query, filled(references, ring[::-1]), affinity).labels, forward, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=25)
@given(affinity=affinities(), flips=st.sampled_from([(1,), (2,), (1, 2)]))
def test_mirroring_everything_mirrors_the_result(affinity, flips):
    query, references, ring = random_scene(height=8, width=10)
    mirrored = [(features.flip(flips), labels.flip(flips)) for features, labels in [*references, *ring]]
    straight = propagate(query, filled(references, ring), affinity).labels
    turned = propagate(query.flip(flips), filled(mirrored[:1], mirrored[1:]), affinity).labels
    torch.testing.assert_close(turned, straight.flip(flips), atol=2e-5, rtol=0)


def test_shifting_query_and_frames_together_shifts_the_inside():
    query, references, ring = random_scene(height=12, width=14)
    affinity = Affinity(top_k=4, radius=2, radius_first=2)
    straight = propagate(query, filled(references, ring), affinity).labels
    cut = [(features[:, 1:, 2:], labels[:, 1:, 2:]) for features, labels in [*references, *ring]]
    shifted = propagate(query[:, 1:, 2:], filled(cut[:1], cut[1:]), affinity).labels
    torch.testing.assert_close(shifted[:, 2:-2, 2:-2], straight[:, 3:-2, 4:-2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", ["square", "circle"])
@pytest.mark.parametrize("top_k", [1, None])
def test_keys_beyond_the_radius_are_never_used(window, top_k):
    """A perfect match just outside must lose against anything inside, and win once it is inside."""
    height = width = 15
    features = torch.rand(4, height, width, generator=torch.Generator().manual_seed(1)) + 0.1
    query = features.clone()
    centre = (7, 7)
    query[:, 7, 7] = torch.tensor([-1.0, 0.0, 0.0, 0.0])
    for dy, dx in [(3, 0), (0, -3), (2, 2), (-3, 3), (4, 1)]:
        keys = features.clone()
        keys[:, 7 + dy, 7 + dx] = torch.tensor([-1.0, 0.0, 0.0, 0.0])
        labels = torch.zeros(1, height, width)
        labels[0, 7 + dy, 7 + dx] = 1
        bank = filled([], [(keys, labels)])
        for radius in range(6):
            affinity = Affinity(top_k=top_k, temperature=0.02, radius=radius, window=window)
            inside = max(abs(dy), abs(dx)) <= radius if window == "square" else dy * dy + dx * dx <= radius**2
            found = propagate(query, bank, affinity).labels[0, centre[0], centre[1]].item()
            assert found == pytest.approx(float(inside), abs=1e-3), (dy, dx, radius)


def test_top_one_finds_a_moved_picture_again():
    scene = torch.randn(16, 20, 30, generator=torch.Generator().manual_seed(3))
    labels = torch.nn.functional.one_hot(torch.arange(20)[:, None] // 7 + torch.arange(30) // 11, 5).permute(2, 0, 1).float()
    bank = filled([(scene[:, 3:, 5:], labels[:, 3:, 5:])], [])
    moved = propagate(scene[:, :-3, :-5], bank, Affinity(top_k=1, radius_first=5))
    assert torch.equal(moved.labels[:, 3:, 5:], labels[:, 3:-3, 5:-5])


def test_ties_give_an_answer_between_the_tied():
    flat = torch.ones(3, 6, 6)
    labels = torch.rand(2, 6, 6)
    result = propagate(flat, filled([(flat, labels)], [(flat, labels)]), Affinity(top_k=4, radius=1, radius_first=2))
    assert result.labels.isfinite().all()
    assert labels.min() <= result.labels.min() <= result.labels.max() <= labels.max()
    torch.testing.assert_close(result.entropy, torch.ones(6, 6))


@pytest.mark.parametrize("top_k", [None, 3])
def test_zero_features_and_huge_dot_products_stay_finite(top_k):
    query, references, ring = random_scene()
    query[:, 2, 3] = 0
    references[0][0][:, :2] = 0
    for affinity in [Affinity(top_k=top_k, radius=2), Affinity(top_k=top_k, normalize=False, temperature=1.0, renormalize=False)]:
        labels, _, gap = brute_force(query, references, ring, affinity)
        result = propagate(query, filled(references, ring), affinity)
        assert np.abs(result.labels.numpy() - labels)[:, gap > 1e-6].max() <= 1e-5
    loud = [(features * 1e3, labels) for features, labels in ring]
    result = propagate(query * 1e3, filled([], loud), Affinity(top_k=top_k, normalize=False, temperature=0.07))
    assert result.labels.isfinite().all()
    assert result.entropy.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_features_of_other_precisions_are_packed_as_float32(dtype):
    query, _, ring = random_scene()
    typed = [(features.to(dtype), labels.to(dtype)) for features, labels in ring]
    result = propagate(query.to(dtype), filled([], typed), Affinity())
    labels = brute_force(query.to(dtype), [], typed, Affinity())[0]
    assert result.labels.dtype == torch.float32
    np.testing.assert_allclose(result.labels.numpy(), labels, atol=1e-5)


def test_needs_no_gradient_and_ignores_autocast():
    query, references, ring = random_scene()
    bank = filled(references, ring)
    plain = propagate(query, bank, Affinity())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(propagate(query, bank, Affinity()).labels, plain.labels)
    with torch.inference_mode():
        assert torch.equal(propagate(query, bank, Affinity()).labels, plain.labels)
    wanted = propagate(query.clone().requires_grad_(), bank, Affinity())
    assert torch.equal(wanted.labels, plain.labels)
    assert not wanted.labels.requires_grad


def test_propagation_leaves_the_bank_and_query_alone():
    query, references, ring = random_scene()
    bank = filled(references, ring)
    before = [tensor.clone() for entry in bank.entries for tensor in (entry.features, entry.norms, entry.labels)]
    kept = query.clone()
    for affinity in [Affinity(), Affinity(top_k=None, normalize=False), Affinity(renormalize=False)]:
        propagate(query, bank, affinity)
    after = [tensor for entry in bank.entries for tensor in (entry.features, entry.norms, entry.labels)]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert torch.equal(query, kept)


@settings(deadline=None, max_examples=60)
@given(
    capacity=st.integers(0, 4),
    actions=st.lists(st.sampled_from(["push", "ref0", "ref1", "grow", "clear"]), max_size=25),
)
def test_bank_is_a_dictionary_and_a_ring(capacity, actions):
    bank, references, ring, count = FeatureBank(capacity=capacity), {}, [], 2
    for number, action in enumerate(actions):
        mark = torch.full((count, 2, 3), float(number))
        features = torch.rand(4, 2, 3)
        if action == "push":
            bank.push(features, mark)
            ring = [number, *ring][:capacity]
        elif action.startswith("ref"):
            bank.add_reference(features, mark, key=int(action[-1]))
            references[int(action[-1])] = number
        elif action == "grow":
            count += bool(references or ring)
            bank.add_labels(1)
        else:
            bank.clear()
            references, ring = {}, []
        assert [entry.labels[0, 0].item() for entry in bank.entries] == [*references.values(), *ring]
        assert [entry.permanent for entry in bank.entries] == [True] * len(references) + [False] * len(ring)
        assert len(bank) == len(references) + len(ring) <= 2 + capacity
        assert bank.label_count == (count if len(bank) else None)
        assert bank.reference_keys == tuple(references)


def test_late_labels_start_at_zero_and_dropped_ones_leave():
    query, references, ring = random_scene()
    bank = filled(references, ring)
    before = propagate(query, bank, Affinity()).labels
    bank.add_labels(2)
    grown = propagate(query, bank, Affinity()).labels
    torch.testing.assert_close(grown[:3], before, atol=1e-6, rtol=0)
    assert not grown[3:].any()
    bank.push(query, torch.rand(5, 7, 9))
    assert bank.label_count == 5
    bank.drop_labels([0, 3, 3, 4])
    assert bank.label_count == 2
    torch.testing.assert_close(bank.entries[0].labels, references[0][1][1:].flatten(1).t())


def test_drop_labels_keeps_the_others_in_order():
    _, references, ring = random_scene()
    bank = filled(references, ring)
    bank.drop_labels([1])
    assert torch.equal(bank.entries[0].labels, references[0][1][[0, 2]].flatten(1).t())


def test_set_labels_corrects_only_the_newest_frame():
    _, references, ring = random_scene()
    corrected = torch.rand(3, 7, 9)
    bank = filled(references, ring)
    bank.set_labels(corrected)
    expected = filled(references, [ring[0], (ring[1][0], corrected)])
    for entry, other in zip(bank.entries, expected.entries, strict=True):
        assert torch.equal(entry.labels, other.labels)
        assert torch.equal(entry.features, other.features)


def test_map_labels_sees_and_changes_every_frame():
    _, references, ring = random_scene()
    bank = filled(references, ring)
    bank.map_labels(lambda labels: torch.cat([labels[:1] + labels[2:], labels[1:2].flip(2)]))
    for entry, (_, labels) in zip(bank.entries, [*references, *ring[::-1]], strict=True):
        expected = torch.stack([labels[0] + labels[2], labels[1].flip(1)])
        assert torch.equal(entry.labels, expected.flatten(1).t())
    with pytest.raises(SettingError, match="map_labels would leave no label"):
        bank.map_labels(lambda labels: labels[:0])
    FeatureBank(capacity=1).map_labels(lambda labels: labels)


def test_clear_ring_keeps_references():
    _, references, ring = random_scene()
    bank = filled(references, ring)
    bank.clear_ring()
    assert [entry.permanent for entry in bank.entries] == [True]
    bank.push(*ring[0])
    assert len(bank) == 2


@pytest.mark.parametrize("top_k", [None, 3])
def test_f109_tiles_shrink_and_masks_are_forgotten_to_fit_the_memory(monkeypatch, top_k):
    query, references, ring = random_scene()
    bank, affinity = filled(references, ring), Affinity(top_k=top_k, radius=2, radius_first=None)
    plain = propagate(query, bank, affinity, backend="tiled").labels
    shapes = []
    real = tiled._Group.score
    monkeypatch.setattr(tiled._Group, "score", lambda self, *place: shapes.append(self.scratch.numel()) or real(self, *place))
    monkeypatch.setattr(tiled, "SCRATCH", 1000)
    monkeypatch.setattr(tiled, "MASKS", 100)
    torch.testing.assert_close(propagate(query, bank, affinity, backend="tiled").labels, plain, atol=1e-6, rtol=0)
    assert max(shapes) < 1000


def test_bank_describes_itself():
    assert FeatureBank(capacity=3).shape is None
    assert FeatureBank(capacity=3).device is None
    _, references, ring = random_scene()
    assert repr(filled(references, ring)) == "FeatureBank(references=(0,), ring=2/2, shape=(8, 7, 9), labels=3)"


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"top_k": 0}, r"top_k = 0: expected 1 or more"),
        ({"temperature": 0.0}, r"temperature = 0.0: expected"),
        ({"temperature": math.nan}, r"temperature = nan: expected"),
        ({"temperature": math.inf}, r"temperature = inf: expected"),
        ({"radius": -1}, r"radius = -1: expected 0 or more cells, or None"),
        ({"radius_first": -1}, r"radius_first = -1: expected"),
        ({"window": "star"}, r"window = 'star': expected 'square' or 'circle'"),
    ],
)
def test_affinity_refuses(settings_, message):
    with pytest.raises(SettingError, match=message):
        Affinity(**settings_)


def test_propagate_refuses():
    query, references, ring = random_scene()
    bank = filled(references, ring)
    with pytest.raises(SettingError, match="the bank is empty; add_reference or push"):
        propagate(query, FeatureBank(capacity=2), Affinity())
    with pytest.raises(SettingError, match=r"the query is \(8, 6, 9\) on cpu, the bank holds \(8, 7, 9\)"):
        propagate(query[:, 1:], bank, Affinity())
    with pytest.raises(SettingError, match="backend = 'magic': expected"):
        propagate(query, bank, Affinity(), backend="magic")
    query[0, 3, 3] = math.nan
    with pytest.raises(SettingError, match="features hold NaN"):
        propagate(query, bank, Affinity())


def test_bank_refuses():
    _, references, ring = random_scene()
    features, labels = ring[0]
    bank = filled(references, ring)
    with pytest.raises(SettingError, match="capacity = -1: expected 0 or more"):
        FeatureBank(capacity=-1)
    for bad in (features[0], features.long(), features[:0]):
        with pytest.raises(SettingError, match=r"features must be floating \(C, h, w\)"):
            bank.push(bad, labels)
    with pytest.raises(SettingError, match=r"features are \(4, 7, 9\) on cpu, the bank holds \(8, 7, 9\)"):
        bank.push(features[:4], labels)
    for bad in (labels[0], labels[:, 1:], labels[:0]):
        with pytest.raises(SettingError, match=r"labels must be \(L, 7, 9\) with L >= 1"):
            bank.push(features, bad)
    with pytest.raises(SettingError, match="2 label channels do not fit the bank's 3; call add_labels"):
        bank.add_reference(features, labels[:2], key=4)
    with pytest.raises(SettingError, match="set_labels needs a frame in the ring"):
        filled(references, []).set_labels(labels)
    with pytest.raises(SettingError, match=r"add_labels\(0\): expected 1 or more"):
        bank.add_labels(0)
    with pytest.raises(SettingError, match=r"drop_labels\(\[3\]\): expected channels in 0..2"):
        bank.drop_labels([3])
    with pytest.raises(SettingError, match="would leave no label; use clear"):
        bank.drop_labels([0, 1, 2])
    assert len(bank) == 3
