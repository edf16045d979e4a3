"""The loader against what its plan says, in all places that clips can be held, and after every kind of stop."""

import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from followspot.datasets.augment import CropSettings, StillMotion
from followspot.datasets.clips import ClipPattern
from followspot.datasets.loader import ClipLoader
from followspot.datasets.picks import Choices, epoch_order
from followspot.datasets.replay import ReplaySettings
from followspot.datasets.replay_loader import ReplayLoader
from followspot.datasets.store import ClipEntry, ClipStore, clip_path, write_index
from followspot.errors import DatasetError, SettingError
from followspot.io.video import VideoWriter

PATTERN = ClipPattern(frames=3, gap=2)
CROP = CropSettings(size=16, zoom=(0.4, 1.0), rotation_degrees=10, flip_probability=0.5)
LENGTHS = (12, 3, 20, 1, 9, 30, 8)


def entry_of(number, frames, *, weight=1.0, height=32, width=48):
    digest = f"{number:064x}"[::-1]
    return ClipEntry(
        path=clip_path(digest),
        frames=frames,
        fps=15.0,
        height=height,
        width=width,
        sha256=digest,
        source="test",
        licence="CC0",
        motion=1.0,
        weight=weight,
        origin=f"{number}.mp4",
    )


class FakeStore:
    """Clips that exist only as numbers: frame t of clip n is a slow wave around level 20 n + 2 t."""

    def __init__(self, lengths=LENGTHS, *, weights=None):
        self.all = [entry_of(n, length, weight=1.0 if weights is None else weights[n]) for n, length in enumerate(lengths)]
        self.entries = tuple(self.all)
        self.broken = set()

    def __len__(self):
        return len(self.entries)

    def refresh(self):
        new = len(self.all) - len(self.entries)
        self.entries = tuple(self.all)
        return new

    def read(self, index, frames):
        entry = self.entries[index]
        if index in self.broken:
            raise DatasetError(f"the clip {entry.path} is gone; prepare the store again")
        assert all(0 <= frame < entry.frames for frame in frames)
        y, x = np.mgrid[: entry.height, : entry.width]
        wave = 5 * np.sin(x / 7)[..., None] + 5 * np.cos(y / 5)[..., None] + np.array([0, 3, 6])
        return np.stack([np.clip(10 + 20 * index + 2 * frame + wave, 0, 255).round().astype(np.uint8) for frame in frames])


@pytest.fixture(scope="module")
def real_store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    fake = FakeStore()
    for number, entry in enumerate(fake.entries):
        path = root / entry.path
        path.parent.mkdir(parents=True)
        with VideoWriter(path, height=entry.height, width=entry.width, fps=entry.fps) as writer:
            for frame in fake.read(number, range(entry.frames)):
                writer.write(frame)
    write_index(root, fake.entries)
    return ClipStore(root)


def loader(store, **options):
    chosen = {"pattern": PATTERN, "crop": CROP, "batch_size": 3, "seed": 5, "still_share": 0.3, **options}
    return ClipLoader(store, **chosen)


def take(batches, count):
    return list(itertools.islice(batches, count))


def same(one, other):
    return all(torch.equal(a.frames, b.frames) and torch.equal(a.ids, b.ids) and a.step == b.step for a, b in zip(one, other, strict=True))


def shows_its_clips(batch):
    """Whether each row has the level of the clip whose number it bears."""
    return all(
        20 * number - 8 < row.mean() - 13 < 20 * number + 2 * LENGTHS[number] + 8
        for row, number in zip(batch.frames.float(), batch.ids.tolist(), strict=True)
    )


def test_batches_are_what_the_contract_says():
    batches = take(loader(FakeStore()), 4)
    assert [batch.step for batch in batches] == [0, 1, 2, 3]
    for batch in batches:
        assert batch.frames.shape == (3, 3, 3, 16, 16)
        assert batch.frames.dtype == torch.uint8
        assert batch.frames.is_contiguous()
        assert batch.ids.dtype == torch.int64
        assert shows_its_clips(batch)


def test_f014_seeds_epochs_and_runs():
    def order(**options):
        return torch.cat([batch.ids for batch in take(loader(FakeStore(), batch_size=7, **options), 4)]).tolist()

    assert order() == order()
    assert order() != order(seed=6)
    epochs = np.array(order()).reshape(4, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_f021_balanced_picks_and_virtual_length():
    store = FakeStore((10,) * 7)
    ids = torch.cat([batch.ids for batch in take(loader(store, batch_size=1, epoch_length=17), 17)])
    assert set(np.bincount(ids.numpy(), minlength=7)) == {2, 3}
    weights = np.array([1, 2, 0, 0.5, 3, 1, 1.0])
    choices = Choices(np.arange(7), np.zeros(7, np.int64), weights)
    counts = np.stack([np.bincount(epoch_order(choices, length=20, seed=1, epoch=epoch), minlength=7) for epoch in range(2000)])
    expected = 20 * weights / weights.sum()
    assert (counts.sum(1) == 20).all()
    assert (np.floor(expected) <= counts.min(0)).all()
    assert (counts.max(0) <= np.ceil(expected)).all()
    assert np.abs(counts.mean(0) - expected).max() < 0.05
    # Picks of one clip are not neighbours: five of each of seven would be 28 pairs.
    order = epoch_order(Choices(np.arange(7), np.zeros(7, np.int64), np.ones(7)), length=35, seed=1, epoch=0)
    assert (order[1:] == order[:-1]).sum() < 14


def test_weights_of_the_index_are_honoured():
    store = FakeStore((10,) * 4, weights=[1, 0, 2, 5])
    ids = torch.cat([batch.ids for batch in take(loader(store, batch_size=8, epoch_length=8), 100)])
    assert np.bincount(ids.numpy(), minlength=4).tolist() == [100, 0, 200, 500]


def test_back_to_back_clips_are_each_shown_once():
    pattern = ClipPattern(frames=2, gap=1, start="back-to-back", short_video="drop")
    store = FakeStore((5, 1, 8))
    batches = take(loader(store, pattern=pattern, batch_size=6, still_share=0.0), 2)
    assert [np.bincount(batch.ids.numpy(), minlength=3).tolist() for batch in batches] == [[2, 0, 4]] * 2


@pytest.mark.parametrize("where", ["disk", "memory", "device"])
def test_resume_is_exact_at_every_batch(where):
    straight = take(loader(FakeStore(), where=where), 9)
    for stop in range(8):
        first = loader(FakeStore(), where=where)
        take(first, stop)
        resumed = loader(FakeStore(), where=where)
        resumed.load_state_dict(first.state_dict())
        assert same(take(resumed, 9 - stop), straight[stop:])


def test_a_batch_carries_the_state_after_it():
    straight = take(loader(FakeStore()), 6)
    ahead = iter(loader(FakeStore()))
    batches = take(ahead, 5)
    resumed = loader(FakeStore())
    resumed.load_state_dict(batches[2].state)
    assert same(take(resumed, 3), straight[3:])


def test_iterating_again_goes_on():
    straight = take(loader(FakeStore()), 4)
    again = loader(FakeStore())
    assert same(take(again, 2) + take(again, 2), straight)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_hold_the_rows_of_the_joined_batch(world):
    whole = take(loader(FakeStore(), batch_size=2 * world), 6)
    ranks = [take(loader(FakeStore(), batch_size=2, rank=rank, world=world), 6) for rank in range(world)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([rank[step].frames for rank in ranks]), batch.frames)
        assert torch.equal(torch.cat([rank[step].ids for rank in ranks]), batch.ids)


def _joined(rank, lengths, folder, answers):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    batches = take(loader(FakeStore(lengths), batch_size=1, rank=rank, world=2), 8)
    answers.put((rank, [int(batch.ids) for batch in batches]))
    torch.distributed.barrier()


def test_processes_that_see_stores_of_different_sizes_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    stores = (LENGTHS[:4], LENGTHS)  # the second process sees clips that have just arrived
    started = [context.Process(target=_joined, args=(rank, lengths, tmp_path, answers)) for rank, lengths in enumerate(stores)]
    for process in started:
        process.start()
    seen = dict(answers.get(timeout=60) for _ in started)
    for process in started:
        process.join()
    alone = take(loader(FakeStore(LENGTHS[:4]), batch_size=2), 8)
    assert [batch.ids.tolist() for batch in alone] == [list(row) for row in zip(seen[0], seen[1], strict=True)]


def test_memory_gives_what_disk_gives():
    disk, memory, device = (take(loader(FakeStore(), where=where), 5) for where in ("disk", "memory", "device"))
    assert same(disk, memory)
    assert same(disk, device)


def on_device(clips):
    """The same loader, but crops are made where the frames are, as on a GPU."""
    clips._fetcher.on_device = True
    return clips


def test_crops_made_on_the_device_are_nearly_those_of_opencv():
    for one, other in zip(take(loader(FakeStore()), 5), take(on_device(loader(FakeStore(), where="device")), 5), strict=True):
        assert torch.equal(one.ids, other.ids)
        assert other.frames.shape == (3, 3, 3, 16, 16)
        assert (one.frames.int() - other.frames.int()).abs().max() <= 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_clips_held_on_a_gpu():
    clips = loader(FakeStore(), where="device", device="cuda")
    for one, other in zip(take(loader(FakeStore()), 5), take(clips, 5), strict=True):
        assert other.frames.is_cuda
        assert (one.frames.int() - other.frames.cpu().int()).abs().max() <= 2


@pytest.mark.parametrize("workers", [1, 2])
def test_real_store_and_workers_give_what_one_process_gives(real_store, workers):
    straight = take(loader(real_store), 7)
    assert same(take(loader(real_store, workers=workers), 7), straight)
    first = loader(real_store, workers=workers)
    take(first, 3)  # more are made ahead, and must not count
    resumed = loader(real_store, workers=3 - workers)
    resumed.load_state_dict(first.state_dict())
    assert same(take(resumed, 4), straight[3:])
    in_memory = take(loader(real_store, where="memory"), 7)
    assert same(in_memory, straight)


def test_workers_may_be_spawned(real_store):
    straight = take(loader(real_store), 2)
    assert same(take(loader(real_store, workers=1, start_method="spawn"), 2), straight)


def test_workers_leave_the_global_generator_alone(real_store):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    take(loader(real_store, workers=1), 1)
    assert torch.equal(torch.rand(1), expected)


KILLED = """
import sys, time, pathlib
import torch.multiprocessing
from followspot.datasets.augment import CropSettings
from followspot.datasets.clips import ClipPattern
from followspot.datasets.loader import ClipLoader
from followspot.datasets.store import ClipStore
store = ClipStore(pathlib.Path(sys.argv[1]))
batches = iter(ClipLoader(store, pattern=ClipPattern(), crop=CropSettings(size=8), batch_size=1, seed=0, workers=2))
next(batches)
print(*[child.pid for child in torch.multiprocessing.active_children()], flush=True)
time.sleep(60)
"""


def test_workers_end_when_the_process_is_killed(real_store):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(real_store.root)], stdout=subprocess.PIPE, text=True)
    children = [int(word) for word in process.stdout.readline().split()]
    assert len(children) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20  # torch's workers look for their parent every 5 seconds
    while any(alive(child) for child in children):
        assert time.monotonic() < deadline, "workers outlived the process"
        time.sleep(0.2)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().split(") ")[1][0] != "Z"


@pytest.mark.parametrize("where", ["disk", "memory", "device"])
def test_f005_unreadable_clips_are_left_out_with_one_warning_each(where, caplog):
    store = FakeStore()
    store.broken = {0, 5}
    clips = loader(store, where=where)
    clips = on_device(clips) if where == "device" else clips
    with caplog.at_level(logging.WARNING):
        ids = torch.cat([batch.ids for batch in take(clips, 14)])
    assert set(ids.tolist()) == {1, 2, 3, 4, 6}
    assert set(clips.skipped) == {0, 5}
    assert "is gone" in clips.skipped[0]
    assert len(caplog.messages) == 2


def test_f005_whole_rows_stay_as_they_are_where_others_are_replaced():
    broken = FakeStore()
    broken.broken = {2}
    for one, other in zip(take(loader(FakeStore()), 7), take(loader(broken), 7), strict=True):
        kept = one.ids != 2
        assert torch.equal(one.frames[kept], other.frames[kept])


def test_f005_workers_report_what_they_left_out(real_store, caplog, tmp_path):
    entries = [entry_of(n, 5) if n in (0, 1) else entry for n, entry in enumerate(real_store.entries)]
    for entry in entries[2:]:
        (tmp_path / entry.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / entry.path).write_bytes((real_store.root / entry.path).read_bytes())
    (tmp_path / entries[1].path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / entries[1].path).write_text("no video")
    write_index(tmp_path, entries)
    clips = loader(ClipStore(tmp_path), workers=2)
    with caplog.at_level(logging.WARNING):
        ids = torch.cat([batch.ids for batch in take(clips, 8)])
    assert {0, 1}.isdisjoint(ids.tolist())
    assert set(clips.skipped) == {0, 1}
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"where": "memory"}, {"where": "device"}])
def test_f005_nothing_readable_is_one_clear_error(options):
    store = FakeStore()
    store.broken = set(range(7))
    with pytest.raises(DatasetError, match="none of the store's 7 clips can be read") as told:
        take(loader(store, **options), 1)
    assert "\n" not in str(told.value)


def test_f013_too_short_clips_are_counted_and_all_too_short_is_an_error():
    pattern = ClipPattern(frames=3, gap=4, short_video="drop")
    clips = loader(FakeStore(), pattern=pattern)
    assert set(clips.skipped) == {1, 3, 6}
    assert set(torch.cat([batch.ids for batch in take(clips, 8)]).tolist()) == {0, 2, 4, 5}
    with pytest.raises(DatasetError, match="none of 2 clips can be trained on: 2 are shorter"):
        loader(FakeStore((3, 4)), pattern=pattern)


def test_a_clip_of_another_size_than_the_index_says_is_left_out():
    store = FakeStore((9, 9))
    store.all[1] = entry_of(1, 9, width=50)
    read = store.read
    store.read = lambda index, frames: read(index, frames)[:, :, :48]
    store.refresh()
    clips = loader(store)
    take(clips, 3)
    assert "is not 50x32" in clips.skipped[1]


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"where": "memory"}, {"where": "device"}])
def test_f004_clips_that_arrive_are_used_from_the_next_epoch_on(options, tmp_path, real_store):
    entries = real_store.entries
    write_index(tmp_path, entries[:3])
    (tmp_path / "clips").symlink_to(real_store.root / "clips")
    clips = loader(ClipStore(tmp_path), batch_size=1, **options)
    batches = iter(clips)
    taken = [next(batches) for _ in range(2)]
    write_index(tmp_path, entries)
    taken += [next(batches) for _ in range(20)]
    assert all(shows_its_clips(batch) for batch in taken)
    seen = [int(batch.ids) for batch in taken]
    assert sorted(seen[:3]) == [0, 1, 2]
    # Up to four batches were planned before the clips arrived.
    assert set(range(7)) <= set(seen[3:])
    first_new = next(at for at, clip in enumerate(seen) if clip > 2)
    assert first_new % 3 == 0 or sorted(seen[first_new - first_new % 3 :][:3]) != [0, 1, 2]


def test_f004_resume_in_the_middle_of_an_epoch_ignores_clips_that_came_since():
    def growing():
        store = FakeStore()
        store.entries = store.entries[:5]
        return store

    straight = loader(growing(), batch_size=1)
    batches = iter(straight)
    before = [next(batches) for _ in range(2)]
    state = before[-1].state
    after = [next(batches) for _ in range(10)]
    resumed = loader(FakeStore(), batch_size=1)
    resumed.load_state_dict(state)
    assert same(take(resumed, 10), after)
    assert any(int(batch.ids) > 4 for batch in after)


def test_state_of_another_seed_or_store_is_refused():
    state = loader(FakeStore()).state_dict()
    with pytest.raises(SettingError, match="seed 6 differs from the 5"):
        loader(FakeStore(), seed=6).load_state_dict(state)
    for other in (FakeStore(LENGTHS[:5]), FakeStore(LENGTHS[::-1])):
        with pytest.raises(DatasetError, match="first 7 clips are not those"):
            loader(other).load_state_dict(state)


def test_stills_are_one_frame_under_a_moving_camera():
    options = {"still_share": 1.0, "still": StillMotion(zoom=(0.5, 0.5))}
    for where in ("disk", "device"):
        batch = next(iter(loader(FakeStore((30,) * 9), batch_size=9, where=where, **options)))
        frames = batch.frames.float()
        assert (frames[:, 0] != frames[:, 1]).flatten(1).any(1).all()
        # One frame: its level, 2 a frame, stays; a wave of 5 moves through the view.
        assert (frames.mean((2, 3, 4)).amax(1) - frames.mean((2, 3, 4)).amin(1)).max() < 8
    none = next(iter(loader(FakeStore((30,) * 9), batch_size=9, still_share=0.0)))
    steps = none.frames.float().mean((2, 3, 4)).diff(dim=1).abs()
    assert ((steps > 3) & (steps < 5)).all()


def test_share_of_stills():
    pattern = ClipPattern(frames=2, gap=20)
    clips = loader(FakeStore((60,) * 3), pattern=pattern, batch_size=50, still_share=0.3)
    jumps = torch.cat([(b.frames.float().mean((2, 3, 4)).diff(dim=1).abs() < 20).flatten() for b in take(clips, 10)])
    assert abs(jumps.double().mean() - 0.3) < 0.06


def test_resident_frames_keep_a_run_of_each_clip():
    store = FakeStore((60,) * 3)
    clips = loader(store, where="memory", resident_frames=10, still_share=0.0, crop=CropSettings(size=16))
    levels = {}
    for batch in take(clips, 60):
        for row, number in zip(batch.frames.float(), batch.ids.tolist(), strict=True):
            levels.setdefault(number, []).extend(row.mean((1, 2, 3)).tolist())
    assert all(12 < max(seen) - min(seen) < 30 for seen in levels.values())


def test_what_does_not_fit_in_memory_says_what_to_do():
    store = FakeStore((10**6,) * 3)
    store.all = [entry_of(n, 10**9) for n in range(3)]
    store.refresh()
    with pytest.raises(DatasetError, match="GB on cpu, which has not so much; set resident_frames"):
        loader(store, where="memory")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"seed": -1}, "seed -1"),
        ({"workers": -1}, "workers -1"),
        ({"epoch_length": 0}, "epoch_length 0"),
        ({"where": "memory", "resident_frames": 0}, "resident_frames 0"),
        ({"rank": 2, "world": 2}, "rank 2"),
        ({"where": "tape"}, "where 'tape'"),
        ({"still_share": 1.5}, "still_share 1.5"),
        ({"workers": 2, "where": "memory"}, "workers 2 are for where = 'disk'"),
        ({"resident_frames": 5}, "resident_frames 5 is for"),
    ],
)
def test_bad_settings(bad, told):
    with pytest.raises(SettingError, match=told):
        loader(FakeStore(), **bad)


def replaying(store, settings, **options):
    return ReplayLoader(loader(store, batch_size=settings.train_interval), settings, batch_size=4, seed=5, **options)


SETTINGS = ReplaySettings(capacity=12, min_size=6, train_interval=2)


def train(clips, steps):
    """What a run sees, with losses that depend on the batch."""
    seen = []
    for batch in itertools.islice(clips, steps):
        clips.update(batch.slots, batch.frames.float().mean((1, 2, 3, 4)) / (1 + batch.step))
        seen.append((batch.step, batch.slots.tolist(), batch.ids.tolist(), batch.frames.double().sum().item()))
    return seen


def test_f083_training_begins_at_the_smallest_size_and_goes_on_every_interval():
    clips = replaying(FakeStore(), SETTINGS)
    sizes = []
    for batch in itertools.islice(clips, 5):
        assert batch.frames.shape == (4, 3, 3, 16, 16)
        sizes.append((batch.step, len(clips.buffer), clips.loader.state_dict()["step"]))
        clips.update(batch.slots, torch.ones(4))
    # 3 times 2 clips until the first step, then 2 a step until it is full.
    assert sizes == [(0, 6, 3), (1, 8, 4), (2, 10, 5), (3, 12, 6), (4, 12, 7)]


def test_replayed_rows_keep_the_number_of_their_clip():
    clips = replaying(FakeStore(), SETTINGS)
    for batch in itertools.islice(clips, 20):
        assert shows_its_clips(batch)
        clips.update(batch.slots, torch.rand(4))


def test_replay_draws_anew_each_step_and_on_each_rank():
    settings = ReplaySettings(capacity=12, min_size=12, train_interval=2, initial=0.5)
    drawn = []
    for rank in (0, 1):
        clips = replaying(FakeStore(), settings, rank=rank)
        for batch in itertools.islice(clips, 6):
            drawn.append(tuple(batch.slots.tolist()))
            clips.update(batch.slots, torch.full((4,), 0.5))  # all alike, so that the ranking stays
    assert len(set(drawn)) > 9


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_f085_a_resumed_run_sees_the_same(storage, tmp_path):
    settings = ReplaySettings(capacity=12, min_size=6, train_interval=2, storage=storage)
    first = replaying(FakeStore(), settings, folder=tmp_path / "clips")
    train(first, 7)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    expected = train(first, 20)
    resumed = replaying(FakeStore(), settings, folder=tmp_path / "clips")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert train(resumed, 20) == expected
    assert expected[0][0] == 7


def test_f085_without_contents_replay_fills_anew_and_steps_go_on():
    settings = ReplaySettings(capacity=12, min_size=6, train_interval=2, save_contents=False)
    first = replaying(FakeStore(), settings)
    train(first, 7)
    resumed = replaying(FakeStore(), settings)
    resumed.load_state_dict(first.state_dict())
    batch = next(iter(resumed))
    assert batch.step == 7
    assert len(resumed.buffer) == 6
    assert resumed.skipped == {}


def test_replay_settings_that_do_not_fit():
    with pytest.raises(SettingError, match="batch size 3, and train_interval is 2"):
        ReplayLoader(loader(FakeStore()), SETTINGS, batch_size=4, seed=0)
    with pytest.raises(SettingError, match="batch_size 0"):
        ReplayLoader(loader(FakeStore(), batch_size=2), SETTINGS, batch_size=0, seed=0)
    first = replaying(FakeStore(), SETTINGS)
    with pytest.raises(SettingError, match="capacity 11 is below the run's 12"):
        replaying(FakeStore(), ReplaySettings(capacity=11, min_size=1, train_interval=2)).load_state_dict(first.state_dict())
