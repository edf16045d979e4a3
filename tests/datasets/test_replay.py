"""Prioritised replay: the seed's rules in small, shares, storage and resume."""

import math

import numpy as np
import pytest
import torch

from followspot.datasets.replay import ReplayBuffer, ReplaySettings
from followspot.datasets.shelf import decode_clip, encode_clip
from followspot.errors import DatasetError, SettingError

STORAGES = [("memory", "raw"), ("memory", "png"), ("device", "raw"), ("disk", "raw"), ("disk", "png")]


def clip(number, *, frames=2, size=4):
    return torch.full((frames, 3, size, size), number % 256, dtype=torch.uint8)


def buffer(capacity=5, folder=None, **options):
    return ReplayBuffer(capacity, folder=folder, **options)


def ranking(replay):
    return list(zip(replay.slots.tolist(), replay.priorities.tolist(), strict=True))


def test_f080_small_scenario():
    replay = buffer(3, initial=3.0)
    assert replay.append(clip(0), priority=1.0) == 0
    assert replay.append(clip(1)) == 1
    assert replay.append(clip(2), priority=2.0) == 2
    assert ranking(replay) == [(1, 3.0), (2, 2.0), (0, 1.0)]
    # Full: the lowest gives way, and the new one stands before the first that is lower.
    assert replay.append(clip(3)) == 0
    assert ranking(replay) == [(1, 3.0), (0, 3.0), (2, 2.0)]
    # Turned away: none is lower.
    assert replay.append(clip(4), priority=2.0) is None
    assert replay.append(clip(4), priority=1.5) is None
    assert ranking(replay) == [(1, 3.0), (0, 3.0), (2, 2.0)]
    replay.update(torch.tensor([1, 0]), torch.tensor([0.5, 2.5]))
    assert ranking(replay) == [(0, 2.5), (2, 2.0), (1, 0.5)]
    assert replay.append(clip(5), priority=2.0) == 1
    assert ranking(replay) == [(0, 2.5), (2, 2.0), (1, 2.0)]
    assert sorted(replay.sample(300, np.random.default_rng(0))[1][:, 0, 0, 0, 0].unique().tolist()) == [2, 3, 5]


def test_f080_any_sequence_equals_a_list_that_is_sorted():
    """Slow reference: a plain list, scanned from the front."""
    rng = np.random.default_rng(0)
    replay, expected = buffer(6, initial=0.5), []
    for step in range(400):
        if rng.random() < 0.7:
            priority = None if rng.random() < 0.2 else float(rng.integers(0, 8)) / 4
            value = 0.5 if priority is None else priority
            place = next((at for at, entry in enumerate(expected) if entry[1] < value), len(expected))
            slot = replay.append(clip(step), priority=priority)
            if len(expected) == 6 and place == 6:
                assert slot is None
                continue
            free = expected.pop()[0] if len(expected) == 6 else len(expected)
            expected.insert(place, (free, value))
            assert slot == free
        elif expected:
            slots = rng.permutation(len(expected))[:2]
            losses = rng.integers(0, 8, len(slots)) / 4
            replay.update(torch.from_numpy(slots), torch.from_numpy(losses))
            new = dict(zip(slots.tolist(), losses.tolist(), strict=True))
            expected = sorted(((slot, new.get(slot, value)) for slot, value in expected), key=lambda entry: -entry[1])
        assert ranking(replay) == expected


@pytest.mark.parametrize("n", [5, 40])
def test_f081_stratified_sampling_follows_priorities(n):
    priorities = [5.0, 3.0, 2.0, 1.0, 1.0, 0.5, 0.25, 0.0]
    replay = buffer(8)
    for number, priority in enumerate(priorities):
        replay.append(clip(number), priority=priority)
    rng = np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(100_000 // n):
        counts += np.bincount(replay.sample(n, rng)[0].numpy(), minlength=8)
    shares = np.array(priorities) / sum(priorities)
    assert np.abs(counts / counts.sum() - shares).max() < 0.02
    large = shares > 0.05
    assert np.abs(counts / counts.sum() / np.where(large, shares, 1) - 1)[large].max() < 0.05
    assert counts[-1] == 0


def test_f081_strata_spread_a_batch():
    replay = buffer(8)
    for number in range(8):
        replay.append(clip(number), priority=1.0)
    for seed in range(20):
        assert sorted(replay.sample(8, np.random.default_rng(seed))[0].tolist()) == list(range(8))


def test_shares_when_all_are_zero_or_some_negative():
    replay = buffer(4)
    for number in range(4):
        replay.append(clip(number), priority=0.0)
    assert len(set(replay.sample(400, np.random.default_rng(0))[0].tolist())) == 4
    replay.update(torch.arange(4), torch.tensor([-1.0, 0.0, 1.0, -1.0]))
    drawn = np.bincount(replay.sample(3000, np.random.default_rng(0))[0].numpy(), minlength=4) / 3000
    assert np.allclose(drawn, [0, 1 / 3, 2 / 3, 0], atol=0.01)


def test_f082_updated_clips_hold_their_losses_in_order():
    rng = np.random.default_rng(0)
    replay = buffer(20)
    for number in range(20):
        replay.append(clip(number))
    for _ in range(30):
        slots, _ = replay.sample(6, rng)
        losses = torch.from_numpy(rng.random(6))
        replay.update(slots, losses)
        held = dict(ranking(replay))
        for slot in set(slots.tolist()):
            assert held[slot] == pytest.approx(losses[slots == slot].mean().item())
        assert (np.diff(replay.priorities) <= 0).all()
        assert sorted(replay.slots) == list(range(20))


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_clips_without_a_finite_loss_give_way_next(loss):
    replay = buffer(3)
    for number in range(3):
        replay.append(clip(number), priority=3.0 - number)
    replay.update(torch.tensor([0, 2]), torch.tensor([loss, 1.5]))
    assert ranking(replay) == [(1, 2.0), (2, 1.5), (0, 0.0)]
    assert replay.append(clip(9), priority=1.0) == 0


@pytest.mark.parametrize("batch", [3, 4])
@pytest.mark.parametrize("interval", [1, 3])
def test_f086_new_clips_are_drawn_within_capacity_by_batch_steps(batch, interval):
    replay = buffer(30, initial="max")
    rng = np.random.default_rng(0)
    born, waited = {}, []
    for number in range(25):
        born[replay.append(clip(number))] = 0
    for step in range(300):
        for number in range(interval):
            slot = replay.append(clip(number))
            assert slot is not None
            assert slot not in born, "a clip gave way before it was ever drawn"
            born[slot] = step
        slots, _ = replay.sample(batch, rng)
        for slot in set(slots.tolist()):
            if slot in born:
                waited.append(step - born.pop(slot) + 1)
        # Losses that fall by ten thousand over time, and far apart: the hardest case for a fixed priority.
        replay.update(slots, torch.from_numpy(10.0 ** (rng.uniform(-3, 0, batch) - step / 100)))
        assert all(step - start + 1 < math.ceil(30 / batch) for start in born.values())
    assert len(waited) > 250
    assert max(waited) <= math.ceil(30 / batch)


def test_f086_initial_priority_follows_the_maximum_down_and_up():
    replay = buffer(4, initial="max")
    replay.append(clip(0))
    assert ranking(replay) == [(0, 1.0)]
    for loss in (100.0, 0.01, 7.0):
        slots = torch.arange(len(replay))
        replay.sample(400, np.random.default_rng(0))
        replay.update(slots, torch.linspace(loss / 2, loss, len(replay)) if len(replay) > 1 else torch.tensor([loss]))
        slot = replay.append(clip(1))
        assert ranking(replay)[0] == (slot, pytest.approx(loss))
        # Not drawn yet, so it stays at the top when another one's loss rises.
        replay.update(torch.tensor([(slot + 1) % len(replay)]), torch.tensor([2 * loss]))
        assert dict(ranking(replay))[slot] == pytest.approx(2 * loss)


def test_f084_ten_thousand_clips_fit_in_8_gb():
    assert 10_000 * clip(0, frames=4, size=256).nbytes <= 8e9
    photo = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)).float()
    smooth = torch.nn.functional.interpolate(photo, size=(256, 256), mode="bicubic").clamp(0, 255).byte()
    for encoding in ("jpeg", "webp"):
        packed = encode_clip(smooth, encoding)
        assert len(packed) < smooth.nbytes / 5
        assert (decode_clip(packed, encoding, shape=smooth.shape).int() - smooth.int()).abs().float().mean() < 2


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_exact_encodings(encoding):
    random = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 5, 5), dtype=np.uint8))
    assert torch.equal(decode_clip(encode_clip(random, encoding), encoding, shape=random.shape), random)


@pytest.mark.parametrize(("storage", "encoding"), STORAGES)
def test_f084_every_storage_gives_back_the_clip_of_a_slot(storage, encoding, tmp_path):
    replay = buffer(6, tmp_path, storage=storage, encoding=encoding, initial="max")
    held, rng = {}, np.random.default_rng(0)
    for number in range(40):
        held[replay.append(clip(number))] = number
        slots, clips = replay.sample(4, rng)
        for slot, drawn in zip(slots.tolist(), clips, strict=True):
            assert torch.equal(drawn, clip(held[slot]))
        replay.update(slots, torch.from_numpy(rng.random(4)))
    assert len(list(tmp_path.glob("*.clip"))) == (6 if storage == "disk" else 0)


def test_f084_disk_survives_a_restart(tmp_path):
    first = buffer(4, tmp_path, storage="disk", encoding="raw")
    for number in range(7):
        first.append(clip(number))
    first.state_dict()
    again = buffer(4, tmp_path, storage="disk", encoding="raw")
    assert ranking(again) == ranking(first)
    for one, other in zip(first.sample(9, np.random.default_rng(3)), again.sample(9, np.random.default_rng(3)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("storage", "encoding"), STORAGES)
def test_f085_a_resumed_buffer_goes_on_the_same(storage, encoding, tmp_path):
    def go_on(replay, steps):
        history = []
        for step in steps:
            for number in range(2):
                replay.append(clip(17 * step + number))
            slots, clips = replay.sample(3, np.random.default_rng((5, step)))
            replay.update(slots, clips.float().mean((1, 2, 3, 4)) / (step + 1))
            history.append((slots.tolist(), clips.float().sum().item(), ranking(replay)))
        return history

    replay = buffer(8, tmp_path / "one", storage=storage, encoding=encoding)
    go_on(replay, range(10))
    # As checkpoints do: to a file, which is read without running code.
    torch.save(replay.state_dict(), tmp_path / "state.pt")
    expected = go_on(replay, range(10, 30))
    # On disk the same folder, in which the killed run had gone on.
    resumed = buffer(8, tmp_path / "one", storage=storage, encoding=encoding)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert go_on(resumed, range(10, 30)) == expected


def test_f085_disk_keeps_what_the_last_two_checkpoints_name(tmp_path):
    replay = buffer(3, tmp_path, storage="disk")
    states = []
    for round_ in range(4):
        for number in range(3):
            replay.append(clip(3 * round_ + number))
        states.append(replay.state_dict())
        replay.state_dict()  # as when a run keeps its best and its last checkpoint
        assert len(list(tmp_path.glob("*.clip"))) <= 6
    for state in states[-2:]:
        replay.load_state_dict(state)
    with pytest.raises(DatasetError, match="3 of 3 replay clips are gone"):
        replay.load_state_dict(states[0])


def test_f085_without_contents_the_buffer_is_empty_again():
    replay = buffer()
    replay.append(clip(1))
    state = replay.state_dict(contents=False)
    other = buffer()
    other.append(clip(2))
    other.load_state_dict(state)
    assert len(other) == 0
    assert other.append(clip(3)) == 0


def test_a_smaller_buffer_cannot_take_over():
    replay = buffer(5)
    for number in range(5):
        replay.append(clip(number))
    with pytest.raises(SettingError, match="capacity 4 is below the 5 clips"):
        buffer(4).load_state_dict(replay.state_dict())


def test_clips_of_another_shape_and_bad_numbers():
    replay = buffer()
    replay.append(clip(0))
    with pytest.raises(DatasetError, match="cannot join replay"):
        replay.append(clip(0, size=5))
    with pytest.raises(SettingError, match="priority nan"):
        replay.append(clip(0), priority=math.nan)
    for slots, losses in (([4], [1.0]), ([-1], [1.0]), ([0, 0], [1.0])):
        with pytest.raises(SettingError, match="replay got 1 losses of the slots"):
            replay.update(torch.tensor(slots), torch.tensor(losses))
    with pytest.raises(SettingError, match="1 clips cannot be drawn from a replay buffer of 0"):
        buffer().sample(1, np.random.default_rng(0))


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
@pytest.mark.parametrize("damage", [b"", b"abc"])
def test_a_damaged_file_is_named(encoding, damage, tmp_path):
    replay = buffer(3, tmp_path, storage="disk", encoding=encoding)
    replay.append(clip(0))
    next(tmp_path.glob("*.clip")).write_bytes(damage)
    with pytest.raises(DatasetError, match="a clip in replay is damaged"):
        replay.sample(1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"capacity": 0}, "capacity 0"),
        ({"min_size": 0}, "min_size 0"),
        ({"train_interval": 0}, "train_interval 0"),
        ({"capacity": 10, "min_size": 11}, "min_size 11 is never reached"),
        ({"initial": "top"}, "initial priority 'top'"),
        ({"initial": math.inf}, "initial priority inf"),
        ({"storage": "tape"}, "storage 'tape'"),
        ({"encoding": "gif"}, "encoding 'gif'"),
        ({"storage": "device", "encoding": "jpeg"}, "encoding 'jpeg' needs storage"),
    ],
)
def test_bad_settings(bad, told):
    with pytest.raises(SettingError, match=told):
        ReplaySettings(**bad)


def test_disk_needs_a_folder():
    with pytest.raises(SettingError, match="'disk' needs a folder"):
        buffer(storage="disk")
