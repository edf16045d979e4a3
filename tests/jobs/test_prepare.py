"""Preparing a store: bad files are named once, a second run does no work, a killed one goes on."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.store import ClipStore, read_index
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.io.clip_format import TranscodeSettings
from followspot.io.clip_sources import find_sources
from followspot.io.video import VideoWriter
from followspot.jobs import prepare_worker
from followspot.jobs.prepare import PrepareSettings, prepare


def write(path, *, seed=0, count=20, moving=True, height=48, width=64, fps=10, crf=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = np.random.default_rng(seed).integers(0, 255, (height // 8, (width + 4 * count) // 8 + 1, 3))
    canvas = np.kron(canvas, np.ones((8, 8, 1))).astype(np.uint8)
    with VideoWriter(path, height=height, width=width, fps=fps, crf=crf) as writer:
        for number in range(count):
            start = 4 * number if moving else 0
            writer.write(canvas[:height, start : start + width])
    return path


def run(source, out, *, workers=1, only=None, progress=None, **options):
    given = source if isinstance(source, list) else [source]
    return prepare(given, out, settings=PrepareSettings(**options), workers=workers, only=only, progress=progress)


def files(folder):
    """Every file with its content; what tells of time is left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("report.json", "report.csv", "journal.jsonl", "lock")
    }


def statuses(report):
    return {row.origin: row.status for row in report.rows}


@pytest.fixture
def mixed(tmp_path):
    """B4: a corrupt mp4, a text file, an empty folder and a 2-frame clip beside good ones."""
    folder = tmp_path / "mixed"
    write(folder / "good.mp4", seed=1)
    write(folder / "sub" / "better.mp4", seed=2)
    whole = write(tmp_path / "whole.mp4", seed=3).read_bytes()
    (folder / "corrupt.mp4").write_bytes(whole[:100] + bytes(200) + whole[300:])
    (folder / "notes.txt").write_text("bring milk")
    (folder / "empty").mkdir()
    write(folder / "two.mp4", seed=4, count=2)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_b4_f005_bad_files_are_named_once_and_a_second_run_does_no_work(mixed, tmp_path, workers, monkeypatch):
    out = tmp_path / "store"
    report = run(mixed, out, workers=workers)
    assert statuses(report) == {
        "corrupt.mp4": "skipped",
        "empty": "skipped",
        "good.mp4": "done",
        "notes.txt": "skipped",
        "sub/better.mp4": "done",
        "two.mp4": "skipped",
    }
    reasons = {row.origin: row.reason for row in report.rows}
    assert "is no video but text: 'bring milk'" in reasons["notes.txt"]
    assert reasons["empty"] == "the folder is empty"
    assert reasons["two.mp4"] == "is too short: 2 frames; a clip needs at least 4"
    assert reasons["corrupt.mp4"]
    assert str(mixed) not in reasons["corrupt.mp4"]
    assert report.counts() == {"done": 2, "already there": 0, "duplicate": 0, "static": 0, "skipped": 4}
    assert report.worked == 6
    for name in reasons:
        assert reasons[name] == "" or name in report.table()
    written = json.loads((out / "report.json").read_text())
    assert (written["done"], written["skipped"], set(written["reasons"])) == (2, 4, {name for name in reasons if reasons[name]})
    with (out / "report.csv").open(newline="") as lines:
        assert [(row["origin"], row["reason"]) for row in csv.DictReader(lines)] == list(reasons.items())
    before, journal = files(out), (out / ".prepare" / "journal.jsonl").read_bytes()

    monkeypatch.setattr(prepare_worker, "make_clips", lambda job: pytest.fail(f"{job.source.origin} was worked on again"))
    again = run(mixed, out)
    assert again.worked == 0
    assert again.counts() == {"done": 0, "already there": 2, "duplicate": 0, "static": 0, "skipped": 4}
    assert {row.origin: row.reason for row in again.rows} == reasons
    assert (files(out), (out / ".prepare" / "journal.jsonl").read_bytes()) == (before, journal)


def test_the_store_holds_what_it_says(mixed, tmp_path):
    run(mixed, tmp_path / "store", licence="CC0")
    store = ClipStore(tmp_path / "store")
    assert [(entry.origin, entry.source, entry.licence, entry.frames) for entry in store.entries] == [
        ("good.mp4", "good.mp4", "CC0", 20),
        ("sub/better.mp4", "sub/better.mp4", "CC0", 20),
    ]
    assert store.read(0, [0, 19]).shape == (2, 48, 64, 3)
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        ".prepare",
        "clips",
        "index.parquet",
        "report.csv",
        "report.json",
    ]
    assert not (tmp_path / "store" / ".prepare" / "partial").exists()


def test_processes_give_the_same_store_as_one(tmp_path):
    for number in range(6):
        write(tmp_path / "in" / f"v{number}.mp4", seed=number, count=8 + 6 * number)
    run(tmp_path / "in", tmp_path / "one", workers=1)
    run(tmp_path / "in", tmp_path / "two", workers=2)
    assert read_index(tmp_path / "one") == read_index(tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_all_bad_is_a_clear_error_that_leaves_a_report(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_text("not found")
    write(tmp_path / "in" / "b.mp4", moving=False)
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"none of 2 sources could be used; a.mp4: is not a video .*; see .*report.csv"):
            run(tmp_path / "in", tmp_path / "store", static_below=0.5)
    assert statuses_on_disk(tmp_path / "store") == {"a.mp4": "skipped", "b.mp4": "static"}
    with pytest.raises(DatasetError, match=r"holds no clip|is not a store"):
        ClipStore(tmp_path / "store")


def statuses_on_disk(out):
    with (out / "report.csv").open(newline="") as lines:
        return {row["origin"]: row["status"] for row in csv.DictReader(lines)}


def test_changed_new_and_moved_sources(tmp_path):
    write(tmp_path / "in" / "a.mp4", seed=1)
    write(tmp_path / "in" / "b.mp4", seed=2)
    out = tmp_path / "store"
    run(tmp_path / "in", out)
    write(tmp_path / "in" / "b.mp4", seed=3, count=24)
    write(tmp_path / "in" / "c.mp4", seed=4)
    report = run(tmp_path / "in", out)
    assert [(row.origin, row.new) for row in report.rows] == [("a.mp4", False), ("b.mp4", True), ("c.mp4", True)]
    assert [entry.frames for entry in read_index(out)] == [20, 24, 20]
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    assert run(tmp_path / "elsewhere", out).worked == 0
    assert len(read_index(out)) == 3


def test_a_source_that_is_put_back_is_not_taken_for_what_replaced_it(tmp_path):
    old = write(tmp_path / "in" / "a.mp4", count=20)
    kept = shutil.copy2(old, tmp_path / "kept.mp4")
    frames = []
    for step in ("old", "new", "old again"):
        if step == "new":
            write(old, seed=9, count=24)
        elif step == "old again":
            shutil.copy2(kept, old)
        run(tmp_path / "in", tmp_path / "store")
        frames.append([entry.frames for entry in read_index(tmp_path / "store")])
    assert frames == [[20], [24], [20]]


def test_a_deleted_clip_is_made_again(tmp_path):
    write(tmp_path / "in" / "a.mp4")
    run(tmp_path / "in", tmp_path / "store")
    path = tmp_path / "store" / read_index(tmp_path / "store")[0].path
    whole = path.read_bytes()
    path.unlink()
    assert run(tmp_path / "in", tmp_path / "store").worked == 1
    assert path.read_bytes() == whole


def test_skipped_files_are_tried_again_only_when_asked_or_changed(tmp_path):
    write(tmp_path / "in" / "a.mp4")
    (tmp_path / "in" / "bad.mp4").write_bytes(b"\0" * 500)
    out = tmp_path / "store"
    assert [run(tmp_path / "in", out, retry_skipped=retry).worked for retry in (False, False, True)] == [2, 0, 1]
    write(tmp_path / "in" / "bad.mp4", seed=5)
    report = run(tmp_path / "in", out)
    assert (report.worked, statuses(report)["bad.mp4"]) == (1, "done")


def test_duplicates_are_dropped_on_request_and_come_back(tmp_path):
    write(tmp_path / "in" / "b.mp4", seed=1, crf=0)
    write(tmp_path / "in" / "a.mkv", seed=1, crf=0)
    write(tmp_path / "in" / "c.mp4", seed=2)
    out = tmp_path / "store"
    report = run(tmp_path / "in", out, drop_duplicates=True)
    assert statuses(report) == {"a.mkv": "done", "b.mp4": "duplicate", "c.mp4": "done"}
    assert [entry.origin for entry in read_index(out)] == ["a.mkv", "c.mp4"]
    assert report.clips == 2
    report = run(tmp_path / "in", out)
    assert (report.worked, report.clips) == (0, 3)
    first, second, _ = read_index(out)
    assert first.path == second.path
    assert len(list((out / "clips").rglob("*.mp4"))) == 2
    assert ClipStore(out).entries[1].origin == "b.mp4"


def test_static_clips_are_dropped_on_request_and_motion_is_written(tmp_path):
    write(tmp_path / "in" / "moving.mp4")
    write(tmp_path / "in" / "still.mp4", moving=False)
    out = tmp_path / "store"
    report = run(tmp_path / "in", out, static_below=1.0)
    assert statuses(report) == {"moving.mp4": "done", "still.mp4": "static"}
    [entry] = read_index(out)
    assert entry.motion > 5
    assert len(list((out / "clips").rglob("*.mp4"))) == 1
    assert run(tmp_path / "in", out, static_below=1.0).worked == 0
    assert run(tmp_path / "in", out).worked == 1
    assert [entry.motion < 1 for entry in read_index(out)] == [False, True]


def test_frame_folders_lists_and_stale_counts(tmp_path):
    folder = tmp_path / "data" / "archery" / "v1"
    folder.mkdir(parents=True)
    for number in range(6):
        Image.fromarray(np.full((40, 60, 3), 30 * number, np.uint8)).save(folder / f"image_{number + 1:05d}.jpg")
    (tmp_path / "data" / "kinetics.csv").write_text("archery/v1,9\n")
    report = run(tmp_path / "data" / "kinetics.csv", tmp_path / "store")
    assert report.rows[0].note == "the list is stale: it says 9 frames, there are 6"
    assert "the list is stale" in report.table()
    assert [(entry.origin, entry.frames, entry.fps) for entry in read_index(tmp_path / "store")] == [("archery/v1", 6, 24.0)]


def test_oxuva_is_counted(tmp_path):
    for sequence in ("vid0000", "vid0001"):
        folder = tmp_path / "data" / sequence
        folder.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((40, 60, 3), 30 * number, np.uint8)).save(folder / f"{number:06d}.jpeg")
    report = run(tmp_path / "data", tmp_path / "store")
    assert "OxUvA: 2 of 337 sequences" in report.table()
    assert json.loads((tmp_path / "store" / "report.json").read_text())["oxuva_sequences"] == 2


def test_a_list_that_comes_later_brings_its_licences_without_work(tmp_path):
    write(tmp_path / "in" / "a.mp4")
    run(tmp_path / "in", tmp_path / "store")
    (tmp_path / "in" / "clips.csv").write_text("path,source,licence,weight\na.mp4,me,MIT,0.5\n")
    report = run(tmp_path / "in" / "clips.csv", tmp_path / "store")
    [entry] = read_index(tmp_path / "store")
    assert (report.worked, entry.source, entry.licence, entry.weight) == (0, "me", "MIT", 0.5)
    run(tmp_path / "in" / "a.mp4", tmp_path / "store")
    assert read_index(tmp_path / "store") == [entry]


def test_long_videos_give_several_clips(tmp_path):
    write(tmp_path / "in" / "a.mp4", count=50)
    report = run(tmp_path / "in", tmp_path / "store", clips=TranscodeSettings(max_seconds=2))
    assert [(entry.frames, round(entry.start_seconds, 2)) for entry in read_index(tmp_path / "store")] == [(17, 0), (17, 1.7), (16, 3.4)]
    assert (report.rows[0].clips, report.clips) == (3, 3)


def test_progress_counts_every_source(mixed, tmp_path):
    told = []
    run(mixed, tmp_path / "store", progress=lambda *now: told.append(now))
    assert told == [("preparing", number, 6) for number in range(1, 7)]


def test_a_store_keeps_its_settings(tmp_path):
    write(tmp_path / "in" / "a.mp4")
    run(tmp_path / "in", tmp_path / "store")
    with pytest.raises(SettingError, match="was made with short-side 256, not 128; give the same settings, or another --out"):
        run(tmp_path / "in", tmp_path / "store", clips=TranscodeSettings(short_side=128))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"workers": 0}, "0 workers cannot work"), ({"static_below": 0.0}, "static below 0.0 is no difference")],
)
def test_settings_outside_their_range(tmp_path, change, message):
    write(tmp_path / "in" / "a.mp4")
    with pytest.raises(SettingError, match=message):
        run(tmp_path / "in", tmp_path / "store", **change)


def test_only_one_process_writes(tmp_path):
    write(tmp_path / "in" / "a.mp4")
    refused = []

    def interfere(*_):
        with pytest.raises(OutputError, match=r"another process prepares .* right now") as error:
            run(tmp_path / "in", tmp_path / "store")
        refused.append(error)

    run(tmp_path / "in", tmp_path / "store", progress=interfere)
    assert len(refused) == 1
    assert run(tmp_path / "in", tmp_path / "store").worked == 0


def test_a_torn_journal_line_is_done_again_and_a_damaged_one_is_named(tmp_path):
    write(tmp_path / "in" / "a.mp4", seed=1)
    write(tmp_path / "in" / "b.mp4", seed=2)
    out, journal = tmp_path / "store", tmp_path / "store" / ".prepare" / "journal.jsonl"
    run(tmp_path / "in", out)
    index = read_index(out)
    journal.write_bytes(journal.read_bytes()[:-40])
    assert run(tmp_path / "in", out).worked == 1
    assert run(tmp_path / "in", out).worked == 0
    assert read_index(out) == index
    journal.write_text("{}\n" + journal.read_text())
    with pytest.raises(OutputError, match=r"journal.jsonl, line 1 is damaged"):
        run(tmp_path / "in", out)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_stops_the_run_in_one_line_and_it_goes_on_later(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / "in" / f"{number}.mp4", seed=number)
    out = tmp_path / "store"
    real = prepare_worker.transcode

    def full(video, folder, *, name, **options):
        if name == "1":
            (folder / ".1-0.mp4.partial").symlink_to("/dev/full")
        return real(video, folder, name=name, **options)

    monkeypatch.setattr(prepare_worker, "transcode", full)
    with pytest.raises(OutputError, match=r"no space left on the device while writing .*: free some space and run the same command again"):
        run(tmp_path / "in", out)
    monkeypatch.undo()
    assert not (out / ".prepare" / "partial").exists()
    assert len(list((out / "clips").rglob("*"))) == 2
    report = run(tmp_path / "in", out)
    assert (report.worked, report.clips) == (2, 3)


def test_an_unexpected_error_of_a_reader_is_reported_not_fatal(tmp_path, monkeypatch):
    write(tmp_path / "in" / "a.mp4", seed=1)
    write(tmp_path / "in" / "b.mp4", seed=2)
    real = prepare_worker.transcode

    def strange(video, folder, *, name, **options):
        if name == "0":
            raise RuntimeError("out of ideas")
        return real(video, folder, name=name, **options)

    monkeypatch.setattr(prepare_worker, "transcode", strange)
    report = run(tmp_path / "in", tmp_path / "store")
    assert [(row.status, row.reason) for row in report.rows] == [("skipped", "unexpected RuntimeError: out of ideas"), ("done", "")]


class Deadly:
    """Kills the process that unpickles it, which is what a crash of a decoder looks like from outside."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_crash_costs_only_the_video_that_caused_it(tmp_path):
    (tmp_path / "work").mkdir()
    found = find_sources([write(tmp_path / "in" / f"{number}.mp4", seed=number) for number in range(4)])
    shape = {"folder": tmp_path / "work", "settings": TranscodeSettings(), "static_below": None}
    jobs = [prepare_worker.Job(source=source, name=str(number), **shape) for number, source in enumerate(found)]
    jobs.insert(1, prepare_worker.Job(source=Deadly(), name="deadly", **shape))
    outcomes = {job.name: outcome for job, outcome in prepare_worker.run_jobs(iter(jobs), workers=2)}
    assert outcomes["deadly"].reason == "the decoder crashed on it, or ran out of memory"
    assert {name: len(outcome.clips) for name, outcome in outcomes.items()} == {"deadly": 0, "0": 1, "1": 1, "2": 1, "3": 1}


def test_leaving_early_ends_the_workers(tmp_path):
    (tmp_path / "work").mkdir()
    found = find_sources([write(tmp_path / "in" / f"{number}.mp4", seed=number) for number in range(4)])
    shape = {"folder": tmp_path / "work", "settings": TranscodeSettings(), "static_below": None}
    running = prepare_worker.run_jobs((prepare_worker.Job(source=source, name=source.origin, **shape) for source in found), workers=2)
    next(running)
    running.close()
    assert not [child for child in multiprocessing.active_children() if "Spawn" in type(child).__name__]


SCRIPT = """
import os, signal, sys
from pathlib import Path
from followspot.io import clip_sources
from followspot.jobs.prepare import PrepareSettings, prepare

real_open = clip_sources.ClipSource.open

def open_or_die(self):
    if self.path.name == "deadly.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    return real_open(self)

clip_sources.ClipSource.open = open_or_die

if __name__ == "__main__":
    report = prepare([Path(sys.argv[1])], Path(sys.argv[2]), settings=PrepareSettings(), workers=2)
    print(report.table())
    assert "torch" not in sys.modules
"""


def start(tmp_path, *arguments):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_video_that_kills_its_decoder_is_skipped_and_the_rest_goes_on(tmp_path):
    for number in range(5):
        write(tmp_path / "in" / f"{number}.mp4", seed=number)
    write(tmp_path / "in" / "deadly.mp4")
    process = start(tmp_path, tmp_path / "in", tmp_path / "store")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "deadly.mp4: the decoder crashed on it, or ran out of memory" in out
    assert len(read_index(tmp_path / "store")) == 5


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for orphans in /proc")
def test_kill_9_and_run_again_gives_the_store_of_an_uninterrupted_run(tmp_path):
    for number in range(8):
        write(tmp_path / "in" / f"{number}.mp4", seed=number, count=60, height=96, width=128)
    out, journal = tmp_path / "store", tmp_path / "store" / ".prepare" / "journal.jsonl"
    process = start(tmp_path, tmp_path / "in", out)
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    wait_for(lambda: not any(alive(child) for child in children))
    assert 2 <= journal.read_bytes().count(b"\n") < 8
    ClipStore(out)  # what is there can be used
    report = run(tmp_path / "in", out)
    assert 0 < report.worked <= 6
    run(tmp_path / "in", tmp_path / "whole")
    assert read_index(out) == read_index(tmp_path / "whole")
    assert files(out) == files(tmp_path / "whole")


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_real_clips(shared_data, tmp_path):
    folder = shared_data / "clips"
    chosen = sorted((folder / "main").iterdir(), key=lambda path: path.stat().st_size)[:4]
    with (folder / "clips.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if folder / row["path"] in chosen]
    (tmp_path / "main").mkdir()
    for path in chosen:
        shutil.copy(path, tmp_path / "main")
    with (tmp_path / "clips.csv").open("w", newline="") as text:
        table = csv.DictWriter(text, rows[0])
        table.writeheader()
        table.writerows(rows)
    report = run(tmp_path / "clips.csv", tmp_path / "store")
    assert (report.clips, report.worked) == (4, 4)
    expected = {row["path"]: (int(row["frames"]), row["source_repo"], row["licence"]) for row in rows}
    assert {entry.origin: (entry.frames, entry.source, entry.licence) for entry in read_index(tmp_path / "store")} == expected
