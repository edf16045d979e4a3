"""Fetching a Kinetics list against a local server: dead links, busy servers, halves, kills; and that nothing is done twice."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from followspot.errors import DatasetError, OutputError, SettingError
from followspot.io.download import DownloadError
from followspot.io.kinetics import present_clips, read_kinetics
from followspot.io.video import open_video
from followspot.io.web_video import NoVideoError
from followspot.jobs.kinetics import KineticsSettings, download_kinetics
from followspot.jobs.kinetics_status import STATUSES, ClipStatus, StatusTable

_spec = importlib.util.spec_from_file_location("range_server", Path(__file__).parents[1] / "io" / "range_server.py")
range_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(range_server)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return range_server.counted_video(tmp_path_factory.mktemp("web") / "video.mp4")


@pytest.fixture
def server(video):
    server = range_server.Server()
    for name in ("/good.mp4", "/busy.mp4", "/half.mp4", "/again.mp4", "/watch?v=1"):
        server.files[name] = video.read_bytes()
    yield server
    server.close()


class Waits(list):
    """Notes how long it should have waited."""

    def __call__(self, seconds):
        self.append(seconds)


def write_list(folder, urls, *, segment=(0.5, 1.0)):
    path = folder / "list.json"
    entries = {
        key: {"url": url, "duration": segment[1] - segment[0], "annotations": {"segment": segment, "label": "x"}}
        for key, url in urls.items()
    }
    path.write_text(json.dumps(entries))
    return path


def run(index, out, *, pause=None, fetch=None, on_clip=None, **settings):
    how = {} if fetch is None else {"fetch": fetch}
    return download_kinetics(
        index, out, settings=KineticsSettings(**settings), pause=Waits() if pause is None else pause, on_clip=on_clip, **how
    )


def table_of(out):
    with (out / "status.csv").open(newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def statuses(report):
    return {row.key: row.status for row in report.rows}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_b4_dead_link_503_and_half_finished_file(server, tmp_path):
    """It finishes, names each in its report, and a second run does no work."""
    server.failures["/busy.mp4"] = [503, (503, {"Retry-After": "100"})]
    server.failures["/half.mp4"] = ["cut"]
    server.files["/page.mp4"] = b"<html>not a video</html>"
    index = write_list(tmp_path, {key: f"{server.root}/{key}.mp4" for key in ("good", "dead", "busy", "half", "page")})
    out, waits, settled = tmp_path / "out", Waits(), []
    report = run(index, out, workers=1, pause=waits, on_clip=lambda done, total: settled.append((done, total)))
    assert statuses(report) == {"good": "success", "dead": "no_info", "busy": "success", "half": "success", "page": "trim_failed"}
    assert report.attempted == 5
    assert settled == [(n, 5) for n in range(1, 6)]
    assert waits == [60, 120, 1]  # the half is resumed after a second
    assert [span for path, span in server.requests if path == "/half.mp4"][1].startswith("bytes=")
    rows = table_of(out)
    assert list(rows) == ["good", "dead", "busy", "half", "page"]
    assert {key: row["tries"] for key, row in rows.items()} == {"good": "1", "dead": "1", "busy": "3", "half": "2", "page": "1"}
    assert rows["dead"]["reason"].endswith("/dead.mp4: HTTP 404 Not Found")
    assert "page.mp4" in rows["page"]["reason"]
    assert str(tmp_path) not in rows["page"]["reason"]
    assert rows["good"]["bytes"] == str((out / "good.mp4").stat().st_size)
    assert sorted(path.name for path in out.iterdir()) == ["archive.txt", "busy.mp4", "good.mp4", "half.mp4", "status.csv"]
    for key in ("good", "busy", "half"):
        with open_video(out / f"{key}.mp4") as clip:
            assert range_server.numbers(frame.image for frame in clip) == list(range(15, 30))

    asked, before = len(server.requests), contents(out)
    again = run(index, out, workers=2)
    assert again.attempted == 0
    assert again.rows == report.rows
    assert len(server.requests) == asked
    assert contents(out) == before


def test_f001_the_folder_is_read_while_it_fills(server, tmp_path):
    index = write_list(tmp_path, {"a": f"{server.root}/good.mp4", "b": f"{server.root}/none.mp4", "c": f"{server.root}/busy.mp4"})
    run(index, tmp_path / "out")
    present = present_clips(read_kinetics(index), tmp_path / "out")
    assert [clip.key for clip, _ in present.files] == ["a", "c"]
    assert present.skipped == ("b",)


def test_web_pages_work_through_the_same_path(server, tmp_path):
    pytest.importorskip("yt_dlp")
    server.failures["/watch?v=1"] = [429, 429]
    waits = Waits()
    index = write_list(tmp_path, {"page": f"{server.root}/watch?v=1", "gone": f"{server.root}/watch?v=2"})
    report = run(index, tmp_path / "out", pause=waits, workers=1)
    assert statuses(report) == {"page": "success", "gone": "no_info"}
    assert waits
    assert set(waits) <= {60, 120}


def stub(video, calls, *, failing=()):
    """A fetch that copies a file and notes what it was asked."""

    def fetch(url, folder, /, *, name, preferred_side, heartbeat):
        calls.append((name, preferred_side))
        for key, error in failing:
            if key == name:
                raise error
        path = folder / f"{name}.webm"
        path.write_bytes(video.read_bytes())
        heartbeat()
        return path

    return fetch


def urls(*keys):
    return {key: f"https://host/{key}" for key in keys}


def test_f002_with_a_stub_fetch_a_second_run_fetches_nothing(video, tmp_path):
    index, out, calls = write_list(tmp_path, urls("a", "b", "c")), tmp_path / "out", []
    failing = [("b", NoVideoError("only sound", known=True)), ("c", DownloadError("cut"))]
    report = run(index, out, fetch=stub(video, calls, failing=failing), preferred_side=144, tries=3)
    assert statuses(report) == {"a": "success", "b": "no_format", "c": "download_failed"}
    assert sorted(calls) == [("a", 144), ("b", 144), ("c", 144), ("c", 144), ("c", 144)]
    calls.clear()
    assert run(index, out, fetch=stub(video, calls)).attempted == 0
    assert calls == []
    retried = run(index, out, fetch=stub(video, calls), retry_failed=True)
    assert sorted(name for name, _ in calls) == ["b", "c"]
    assert retried.counts()["success"] == 3


def test_f002_an_error_only_if_nothing_succeeded(video, tmp_path):
    failing = [(key, NoVideoError(f"{key} is private", known=False, final=True)) for key in ("a", "b")]
    index, out = write_list(tmp_path, urls("a", "b")), tmp_path / "out"
    with pytest.raises(
        DatasetError, match=r"none of the 2 clips of .*list\.json could be fetched \(the first: a is private\); see .*status\.csv"
    ):
        run(index, out, fetch=stub(video, [], failing=failing))
    assert set(table_of(out)) == {"a", "b"}
    assert statuses(run(index, out, fetch=stub(video, [], failing=failing[1:]), retry_failed=True)) == {"a": "success", "b": "no_info"}


def test_the_archive_outlives_the_files(video, tmp_path):
    index, out, calls = write_list(tmp_path, urls("a", "b")), tmp_path / "out", []
    run(index, out, fetch=stub(video, calls))
    (out / "a.mp4").unlink()  # prepared, and thrown away
    calls.clear()
    for _ in range(2):
        assert statuses(run(index, out, fetch=stub(video, calls))) == {"a": "missing", "b": "success"}
    (out / "archive.txt").unlink()
    (out / "status.csv").unlink()
    assert statuses(run(index, out, fetch=stub(video, calls))) == {"a": "success", "b": "success"}
    assert [name for name, _ in calls] == ["a"]
    (out / "a.mp4").unlink()
    assert statuses(run(index, out, fetch=stub(video, calls), retry_failed=True))["a"] == "success"


def test_limit_takes_the_first_and_a_longer_list_goes_on(video, tmp_path):
    index, out, calls = write_list(tmp_path, urls("z", "a", "m")), tmp_path / "out", []
    assert statuses(run(index, out, fetch=stub(video, calls), limit=1)) == {"z": "success"}
    assert list(statuses(run(index, out, fetch=stub(video, calls)))) == ["z", "a", "m"]
    assert sorted(name for name, _ in calls) == ["a", "m", "z"]
    shorter = run(index, out, fetch=stub(video, calls), limit=2)
    assert list(statuses(shorter)) == ["z", "a"]
    assert list(table_of(out)) == ["z", "a", "m"]


def test_more_clips_than_workers_run_at_once_and_no_more(video, tmp_path):
    running, most, lock = [0], [0], threading.Lock()

    def fetch(url, folder, /, *, name, preferred_side, heartbeat):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        raise NoVideoError("gone", known=False, final=True)

    index = write_list(tmp_path, urls(*(f"k{number}" for number in range(9))))
    with pytest.raises(DatasetError):
        run(index, tmp_path / "out", fetch=fetch, workers=3)
    assert most == [3]


def test_an_interrupt_ends_the_others_and_loses_nothing(video, tmp_path):
    started, calls = threading.Event(), []

    def fetch(url, folder, /, *, name, preferred_side, heartbeat):
        if name == "slow":
            started.set()
            while True:  # until the heartbeat ends it
                heartbeat()
                time.sleep(0.005)
        return stub(video, calls)(url, folder, name=name, preferred_side=preferred_side, heartbeat=heartbeat)

    def interrupt(done, total):
        assert started.wait(10)
        raise KeyboardInterrupt

    index, out = write_list(tmp_path, urls("slow", "quick", "later")), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(index, out, fetch=fetch, on_clip=interrupt, workers=2)
    assert "slow" not in table_of(out)
    assert table_of(out)["quick"]["status"] == "success"
    calls.clear()
    assert set(statuses(run(index, out, fetch=stub(video, calls))).values()) == {"success"}
    assert {"slow"} <= {name for name, _ in calls} <= {"slow", "later"}


def test_waiting_for_a_busy_server_ends_with_the_run(video, tmp_path):
    """The wait of a minute is cut short when the run is interrupted."""
    waiting = threading.Event()

    def fetch(url, folder, /, *, name, preferred_side, heartbeat):
        if name == "busy":
            waiting.set()
            raise DownloadError("busy", status=429)
        return stub(video, [])(url, folder, name=name, preferred_side=preferred_side, heartbeat=heartbeat)

    def interrupt(done, total):
        assert waiting.wait(10)
        raise KeyboardInterrupt

    begun = time.monotonic()
    index = write_list(tmp_path, {"busy": "https://one/busy", "good": "https://other/good"})
    with pytest.raises(KeyboardInterrupt):
        download_kinetics(index, tmp_path / "out", settings=KineticsSettings(workers=2), fetch=fetch, on_clip=interrupt)
    assert time.monotonic() - begun < 30


def test_a_kill_at_any_time_and_the_next_run_finishes(server, tmp_path):
    """A process is killed while it works; no clip under its own name is broken, and nothing finished is fetched again."""
    index = write_list(tmp_path, {f"k{number}": f"{server.root}/good.mp4" for number in range(12)}, segment=(0.0, 2.0))
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from followspot.jobs.kinetics import *; "
        "download_kinetics(Path(sys.argv[1]), Path(sys.argv[2]), settings=KineticsSettings(workers=2))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, index, out], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while len(list(out.glob("k*.mp4"))) < 4 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    whole = {path.name for path in out.glob("k*.mp4")}
    assert 4 <= len(whole) < 12
    for name in whole:
        with open_video(out / name) as clip:
            assert len(list(clip.frames())) == 60
    asked = len(server.requests)
    report = run(index, out)
    assert set(statuses(report).values()) == {"success"}
    assert report.attempted == 12 - len(whole)
    assert len(server.requests) == asked + report.attempted
    assert [path for path in out.iterdir() if path.name.startswith(".")] == []
    assert sorted((out / "archive.txt").read_text().split()) == sorted(f"k{number}" for number in range(12))


def test_a_table_cut_by_a_kill_is_read(tmp_path):
    table = StatusTable(tmp_path)
    for key, status in (("a", "success"), ("b", "no_info")):
        table.settle(ClipStatus(key=key, status=status, tries=2, bytes=7, reason="line\none, two"))
    for path in (table.path, table.archive):
        path.write_text(path.read_text() + "torn,succ")
    (tmp_path / "status.csv").write_text(table.path.read_text().replace("torn", "c,bogus,x,1,\ntorn"))
    again = StatusTable(tmp_path)
    again.load()
    assert again.rows == {"a": ClipStatus(key="a", status="success", tries=2, bytes=7, reason="line one, two"), "b": again.rows["b"]}
    assert again.archived == {"a"}
    again.settle(ClipStatus(key="d", status="trim_failed"))
    again.finish(["d", "b"])
    assert list(table_of(tmp_path)) == ["d", "b", "a"]
    assert {row["status"] for row in table_of(tmp_path).values()} <= set(STATUSES)


def test_settings_and_folders_that_cannot_be(video, tmp_path, monkeypatch):
    for name, value in (("workers", 0), ("preferred_side", 0), ("tries", 0), ("limit", 0)):
        with pytest.raises(SettingError, match=f"{name.replace('_', ' ')} 0"):
            KineticsSettings(**{name: value})
    index = write_list(tmp_path, urls("a"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        run(index, tmp_path / "file", fetch=stub(video, []))
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(DatasetError, match=r"pip install 'followspot\[prepare\]'"):
        run(index, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_the_run(video, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OutputError("no space left on the device while writing a.mp4: free some space")

    monkeypatch.setattr("followspot.jobs.kinetics.trim", full)
    with pytest.raises(OutputError, match="no space left"):
        run(write_list(tmp_path, urls("a", "b", "c")), tmp_path / "out", fetch=stub(video, []), workers=1)
    assert not (tmp_path / "out" / "status.csv").exists()
