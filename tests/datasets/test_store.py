"""A store of clips: frame-exact random access, an index that is whole or not there, growth while it is read."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.datasets.store import ClipEntry, ClipStore, clip_path, read_index, write_index
from followspot.errors import DatasetError, OutputError
from followspot.io.clip_format import TranscodeSettings
from followspot.io.source import ArrayVideo
from followspot.io.transcode import transcode
from followspot.io.video import VideoWriter, open_video


def pictures(count, height=48, width=64):
    """Noise that is smooth enough for H.264, with the number as a barcode on top."""
    rng = np.random.default_rng(count)
    out = np.repeat(np.kron(rng.integers(30, 220, (1, height // 8, width // 8, 3)), np.ones((1, 8, 8, 1))), count, 0).astype(np.uint8)
    for number in range(count):
        for bit in range(8):
            out[number, :16, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
    return out


def number_of(image):
    return sum(1 << bit for bit in range(8) if image[4:12, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def entry_of(clip, root):
    path = clip_path(clip.sha256)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    os.replace(clip.file, root / path)
    size = {"height": clip.height, "width": clip.width}
    facts = {"frames": clip.frames, "fps": clip.fps, "sha256": clip.sha256, "motion": clip.motion}
    return ClipEntry(path=path, source="test", licence="CC0", **size, **facts)


def add(root, count, fps=15.0):
    root.mkdir(exist_ok=True)
    [clip] = transcode(ArrayVideo(pictures(count), fps=fps), root, name="new", settings=TranscodeSettings())
    return entry_of(clip, root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    write_index(root, [add(root, 100), add(root, 7, fps=23.976), add(root, 41, fps=12.5), with_b_frames(root)])
    return root


def with_b_frames(root):
    """A clip as other encoders make it: B-frames, so that pictures are shown in another order than they are coded."""
    file = root / "new.mp4"

    class Writer(VideoWriter):
        def _start(self, codec, crf):
            container, stream = super()._start(codec, crf)
            stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, 3
            return container, stream

    with Writer(file, height=48, width=64, fps=14.985) as writer:
        for image in pictures(90):
            writer.write(image)
    with open_video(file) as video:
        [clip] = transcode(video, root, name="copy", settings=TranscodeSettings(), original=file)
    assert clip.copied
    file.unlink()
    return entry_of(clip, root)


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_f006_a_frame_is_what_sequential_decoding_gives(root, data):
    store = ClipStore(root)
    index = data.draw(st.integers(0, len(store) - 1))
    frames = data.draw(st.lists(st.integers(0, store.entries[index].frames - 1), min_size=1, max_size=6))
    clip = store.read(index, frames)
    assert [number_of(image) for image in clip] == frames
    with open_video(root / store.entries[index].path) as video:
        reference = [frame.image for frame in video]
    assert np.array_equal(clip, np.stack([reference[frame] for frame in frames]))


def test_every_frame_of_every_clip_alone(root):
    store = ClipStore(root)
    for index, entry in enumerate(store.entries):
        assert [number_of(store.read(index, [frame])[0]) for frame in range(entry.frames)] == list(range(entry.frames))


def test_what_the_store_says_of_a_clip(root):
    store = ClipStore(root)
    assert (len(store), repr(store)) == (4, f"ClipStore({str(root)!r}, 4 clips)")
    assert [entry.frames for entry in store.entries] == [100, 7, 41, 90]
    assert store.read(1, range(7)).shape == (7, 48, 64, 3)
    assert store.read(1, range(7)).dtype == np.uint8
    assert [entry.fps for entry in store.entries] == pytest.approx([15, 23.976, 12.5, 14.985])


def test_many_threads_and_processes_read_at_once(root):
    store = ClipStore(root)
    jobs = [(number % 4, [number % 7, (3 * number) % 7]) for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: [number_of(image) for image in store.read(*job)], jobs))
    assert found == [frames for _, frames in jobs]
    with get_context("fork").Pool(2) as pool:
        clips = pool.starmap(store.read, jobs[:4])
    assert [[number_of(image) for image in clip] for clip in clips] == [frames for _, frames in jobs[:4]]


def test_f004_a_growing_index_is_seen_and_known_clips_keep_their_numbers(tmp_path):
    first, second, third = add(tmp_path, 10), add(tmp_path, 11), add(tmp_path, 12)
    write_index(tmp_path, [second])
    store = ClipStore(tmp_path)
    assert store.refresh() == 0
    write_index(tmp_path, [first, second, third])
    assert store.refresh() == 2
    assert [entry.frames for entry in store.entries] == [11, 10, 12]
    assert store.refresh() == 0


def test_readers_never_see_half_an_index(tmp_path):
    entries = [add(tmp_path, 10)]
    many = [replace(entries[0], origin=str(number)) for number in range(3000)]
    write_index(tmp_path, entries)
    stop, lengths, failures = threading.Event(), set(), []

    def keep_reading():
        while not stop.is_set():
            try:
                lengths.add(len(read_index(tmp_path)))
            except DatasetError as error:
                failures.append(error)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    for turn in range(10):
        write_index(tmp_path, many if turn % 2 else entries)
    stop.set()
    reader.join()
    assert not failures
    assert lengths <= {1, 3000}


def test_an_index_survives_its_file(tmp_path):
    entry = replace(add(tmp_path, 10), weight=0.25, origin="a/b.mp4", start_seconds=1.5, licence="CC BY 4.0 — é")
    write_index(tmp_path, [entry])
    assert read_index(tmp_path) == [entry]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "index.parquet"]


def test_an_index_without_the_optional_columns_is_read(tmp_path):
    entry = add(tmp_path, 10)
    write_index(tmp_path, [entry])
    table = pq.read_table(tmp_path / "index.parquet").drop_columns(["weight", "origin", "start_seconds"])
    pq.write_table(table.append_column("more", pa.array(["x"])), tmp_path / "index.parquet")
    assert read_index(tmp_path) == [entry]


def test_errors_teach(tmp_path, root):
    with pytest.raises(DatasetError, match=r"is not a store of clips.*make one with: followspot prepare FOLDER_OF_VIDEOS --out"):
        ClipStore(tmp_path / "nowhere")
    write_index(tmp_path, [])
    with pytest.raises(DatasetError, match=r"holds no clip; make one with"):
        ClipStore(tmp_path)
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "index.parquet")
    with pytest.raises(DatasetError, match="is no index of clips: it lacks fps, frames, height, licence"):
        ClipStore(tmp_path)
    (tmp_path / "index.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match=r"index.parquet cannot be read"):
        ClipStore(tmp_path)
    store = ClipStore(root)
    with pytest.raises(DatasetError, match=r"clip 4 is not in .* 4 clips \(0 to 3\)"):
        store.read(4, [0])
    with pytest.raises(DatasetError, match=r"frame 7 was asked of clip 1 .* has 7 \(0 to 6\)"):
        store.read(1, [0, 7])
    with pytest.raises(DatasetError, match="no frame was asked of clip 1"):
        store.read(1, [])


def test_clips_that_are_gone_or_damaged_are_named(tmp_path):
    entry = add(tmp_path, 40)
    write_index(tmp_path, [entry])
    store, path = ClipStore(tmp_path), tmp_path / entry.path
    whole = path.read_bytes()
    write_index(tmp_path, [replace(entry, frames=45)])
    with pytest.raises(DatasetError, match="frame 44 is missing in the clip"):
        ClipStore(tmp_path).read(0, [3, 44])
    path.write_bytes(whole[:100])
    with pytest.raises(DatasetError, match=r"cannot be read .*; delete it and prepare the store again"):
        store.read(0, [3])
    path.unlink()
    with pytest.raises(DatasetError, match="is gone; prepare the store again"):
        store.read(0, [3])


def test_nonsense_rows_are_refused(root):
    entry = read_index(root)[0]
    for change in ({"frames": 0}, {"fps": 0.0}, {"weight": -1.0}):
        with pytest.raises(DatasetError, match="prepare the store again"):
            replace(entry, **change)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_keeps_the_old_index(tmp_path, monkeypatch):
    entry = add(tmp_path, 10)
    write_index(tmp_path, [entry])

    def full(table, path, **options):
        with open("/dev/full", "wb") as file:
            file.write(bytes(100000))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError, match="no space left on the device"):
        write_index(tmp_path, [])
    assert read_index(tmp_path) == [entry]


def test_real_clips_seek_exactly(shared_data, tmp_path):
    """Clips of other encoders, copied into a store, at random places."""
    rng = np.random.default_rng(0)
    paths = sorted((shared_data / "clips" / "main").iterdir(), key=lambda path: path.stat().st_size)[20:24]
    for path in paths:
        with open_video(path) as video:
            [clip] = transcode(video, tmp_path, name="real", settings=TranscodeSettings(), original=path)
            reference = [frame.image for frame in video]
        write_index(tmp_path, [entry_of(clip, tmp_path)])
        frames = rng.integers(0, len(reference), 5).tolist()
        assert np.array_equal(ClipStore(tmp_path).read(0, frames), np.stack([reference[frame] for frame in frames]))
