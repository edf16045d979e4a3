"""Fetching over HTTP against a local server: resume, damage, patience; and choosing what to fetch."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import DatasetError, OutputError, SettingError, VideoError
from followspot.io.download import DownloadError, download
from followspot.io.kinetics import present_clips, read_kinetics
from followspot.io.patience import FIRST_WAIT, LONGEST_WAIT, Backoff, patiently
from followspot.io.trim import trim
from followspot.io.video import open_video
from followspot.io.web_video import NoVideoError, choose_format, fetch_video, is_video_file, require_yt_dlp

_spec = importlib.util.spec_from_file_location("range_server", Path(__file__).with_name("range_server.py"))
range_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(range_server)

# Not text at its start: the server would call that a page.
DATA = b"\0" + os.urandom(1_000_002)


@pytest.fixture
def server():
    server = range_server.Server()
    server.files["/a.mp4"] = DATA
    yield server
    server.close()


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_file_arrives_whole_and_nothing_else_is_left(server, tmp_path):
    target = tmp_path / "deep" / "a.mp4"
    beats = []
    assert download(f"{server.root}/a.mp4", target, sha256=hashlib.sha256(DATA).hexdigest(), heartbeat=lambda: beats.append(1)) == len(DATA)
    assert target.read_bytes() == DATA
    assert len(beats) >= 4
    assert [path.name for path in target.parent.iterdir()] == ["a.mp4"]


def test_a_broken_line_is_an_error_and_the_next_call_fetches_only_the_rest(server, tmp_path):
    server.failures["/a.mp4"] = ["cut"]
    target = tmp_path / "a.mp4"
    with pytest.raises(DownloadError, match=r"a\.mp4 broke off after 500001 of 1000003 bytes") as caught:
        download(f"{server.root}/a.mp4", target)
    assert not caught.value.final
    assert not target.exists()
    assert download(f"{server.root}/a.mp4", target) == len(DATA)
    assert target.read_bytes() == DATA
    assert server.requests == [("/a.mp4", None), ("/a.mp4", "bytes=500001-")]
    assert hidden(tmp_path) == []


def test_what_a_heartbeat_raises_ends_the_download_and_it_can_be_resumed(server, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(f"{server.root}/a.mp4", tmp_path / "a.mp4", heartbeat=stop)
    assert (tmp_path / ".a.mp4.part").stat().st_size == 1 << 18
    download(f"{server.root}/a.mp4", tmp_path / "a.mp4")
    assert server.requests[1] == ("/a.mp4", f"bytes={1 << 18}-")
    assert (tmp_path / "a.mp4").read_bytes() == DATA


def half(server, tmp_path):
    server.failures["/a.mp4"] = ["cut"]
    with pytest.raises(DownloadError):
        download(f"{server.root}/a.mp4", tmp_path / "a.mp4")
    return tmp_path / "a.mp4"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(server, tmp_path):
    target = half(server, tmp_path)
    server.files["/a.mp4"] = other = DATA[::-1]
    server.tags["/a.mp4"] = '"changed"'
    assert download(f"{server.root}/a.mp4", target) == len(DATA)
    assert target.read_bytes() == other


def test_a_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    target = half(server, tmp_path)
    server.ranges = False
    download(f"{server.root}/a.mp4", target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("tag", ['W/"weak"', ""])
def test_without_a_strong_tag_another_length_gives_the_change_away(server, tmp_path, tag):
    server.tags["/a.mp4"] = tag
    target = half(server, tmp_path)
    server.files["/a.mp4"] = DATA[:-7] + b"longer than it was"
    with pytest.raises(DownloadError, match="has changed since its first half"):
        download(f"{server.root}/a.mp4", target)
    download(f"{server.root}/a.mp4", target)
    assert target.read_bytes() == server.files["/a.mp4"]


def test_a_whole_part_is_recognised(server, tmp_path):
    """Killed between the last byte and the last step."""
    (tmp_path / ".a.mp4.part").write_bytes(DATA)
    (tmp_path / ".a.mp4.part.json").write_text(json.dumps({"validator": f'"{len(DATA)}"', "total": len(DATA)}))
    assert download(f"{server.root}/a.mp4", tmp_path / "a.mp4") == len(DATA)
    assert (tmp_path / "a.mp4").read_bytes() == DATA
    assert len(server.requests) == 1


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / ".a.mp4.part").write_bytes(DATA + b"x")
    (tmp_path / ".a.mp4.part.json").write_text(json.dumps({"validator": f'"{len(DATA)}"', "total": len(DATA)}))
    with pytest.raises(DownloadError, match="has changed"):
        download(f"{server.root}/a.mp4", tmp_path / "a.mp4")
    assert download(f"{server.root}/a.mp4", tmp_path / "a.mp4") == len(DATA)


@pytest.mark.parametrize("note", [None, "{", "[]"])
def test_a_part_without_its_note_is_not_trusted(server, tmp_path, note):
    (tmp_path / ".a.mp4.part").write_bytes(b"of another file")
    if note is not None:
        (tmp_path / ".a.mp4.part.json").write_text(note)
    download(f"{server.root}/a.mp4", tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == DATA


def test_another_sum_is_final_and_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match="has another SHA-256") as caught:
        download(f"{server.root}/a.mp4", tmp_path / "a.mp4", sha256="0" * 64)
    assert caught.value.final
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "busy", "final"),
    [
        (404, False, True),
        (410, False, True),
        (403, False, True),
        (429, True, False),
        (503, True, False),
        (500, False, False),
        (408, False, False),
    ],
)
def test_what_a_refusal_means(server, tmp_path, status, busy, final):
    server.failures["/a.mp4"] = [(status, {"Retry-After": "7"})]
    with pytest.raises(DownloadError, match=f"HTTP {status}") as caught:
        download(f"{server.root}/a.mp4", tmp_path / "a.mp4")
    error = caught.value
    assert (error.status, error.busy, error.final, error.retry_after) == (status, busy, final, 7)


@pytest.mark.parametrize(
    ("url", "final"), [("http://127.0.0.1:1/a.mp4", False), ("file:///etc/passwd", True), ("a.mp4", True), ("http://x y/a.mp4", True)]
)
def test_addresses_that_cannot_be_asked(tmp_path, url, final):
    with pytest.raises(DownloadError) as caught:
        download(url, tmp_path / "a.mp4")
    assert caught.value.final == final
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_to(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        download(f"{server.root}/a.mp4", tmp_path / "file" / "a.mp4")


def failing(*errors):
    """An attempt that raises these in turn and then works."""
    queue = list(errors)

    def attempt():
        if queue:
            raise queue.pop(0)
        return "done"

    return attempt


def busy(retry_after=0.0):
    return DownloadError("busy", status=429, retry_after=retry_after)


def test_f003_two_429_replies_double_the_wait_which_is_capped():
    waits = []
    backoff = Backoff(wait=waits.append)
    assert patiently(failing(busy(), busy()), tries=5, backoff=backoff) == ("done", 3)
    assert waits == [60, 120]
    patiently(failing(busy()), tries=2, backoff=backoff)
    assert waits == [60, 120, 60]  # after an answer the next wait is a first one
    waits.clear()
    patiently(failing(*[busy()] * 12), tries=13, backoff=backoff)
    assert waits == [min(FIRST_WAIT * 2**n, LONGEST_WAIT) for n in range(12)]
    assert waits[-1] == LONGEST_WAIT == 8 * 3600


def test_a_server_that_names_a_time_gets_it():
    waits = []
    patiently(failing(busy(300.0), busy(1e9)), tries=3, backoff=Backoff(wait=waits.append))
    assert waits == [300, LONGEST_WAIT]


def test_other_failures_wait_seconds_and_final_ones_not_at_all():
    waits = []
    backoff = Backoff(wait=waits.append)
    assert patiently(failing(*[DownloadError("cut")] * 3), tries=4, backoff=backoff) == ("done", 4)
    assert waits == [1, 2, 4]
    for error, tries in ((DownloadError("gone", status=404), 1), (DownloadError("cut"), 3)):
        with pytest.raises(DownloadError) as caught:
            patiently(failing(*[error] * 3), tries=3, backoff=backoff)
        assert caught.value.tries == tries
    with pytest.raises(SettingError, match="tries 0"):
        patiently(failing(), tries=0, backoff=backoff)


def test_threads_that_get_the_same_answer_wait_once():
    """Four requests are refused together: one minute, not one, two, four and eight."""
    waits = []
    together = threading.Barrier(4)
    backoff = Backoff(wait=lambda seconds: (waits.append(seconds), time.sleep(0.02)))
    refused = set()

    def attempt():
        name = threading.current_thread().name
        if name not in refused:
            together.wait()
            refused.add(name)
            raise busy()
        return name

    threads = [threading.Thread(target=patiently, args=(attempt,), kwargs={"tries": 2, "backoff": backoff}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits == [60]


def sizes(*heights, **more):
    return [
        {"height": h, "width": round(h * 16 / 9), "protocol": "https", "vcodec": "avc1", "acodec": "none", "ext": "mp4", **more}
        for h in heights
    ]


def test_f003_from_144_240_360_720_and_256_it_picks_360():
    assert choose_format(sizes(144, 240, 360, 720), preferred_side=256)["height"] == 360
    assert choose_format(sizes(144, 240), preferred_side=256)["height"] == 240
    assert choose_format(sizes(256, 360), preferred_side=256)["height"] == 256


def test_formats_upright_videos_sound_and_pieces():
    upright = {**sizes(640)[0], "width": 360}
    assert choose_format([*sizes(480), upright], preferred_side=256) is upright  # the shorter side counts
    loud, silent = {**sizes(360)[0], "acodec": "mp4a"}, sizes(360)[0]
    assert choose_format([loud, silent], preferred_side=256) is silent
    assert choose_format([loud, *sizes(720)], preferred_side=256) is loud
    light = {**silent, "tbr": 100.0}
    assert choose_format([{**silent, "tbr": 900.0}, light], preferred_side=256) is light
    pieces, sound = sizes(360, protocol="m3u8_native"), sizes(360, vcodec="none")
    assert choose_format([*pieces, *sound], preferred_side=256) is None
    unknown = {"protocol": "https", "vcodec": None}
    assert choose_format([unknown, *pieces], preferred_side=256) is unknown
    assert choose_format([unknown, *sizes(144)], preferred_side=256)["height"] == 144
    assert choose_format([], preferred_side=256) is None


@given(st.lists(st.integers(16, 2160), min_size=1), st.integers(1, 2000))
@settings(deadline=None, max_examples=60)
def test_choice_by_the_rule(heights, wanted):
    enough = [height for height in heights if height >= wanted]
    assert choose_format(sizes(*heights), preferred_side=wanted)["height"] == (min(enough) if enough else max(heights))


def test_web_pages_go_through_yt_dlp_and_files_do_not(server, tmp_path, monkeypatch):
    pytest.importorskip("yt_dlp")
    server.files["/watch?v=abc"] = DATA
    beats = []
    page = fetch_video(f"{server.root}/watch?v=abc", tmp_path / "x", name="k%1", preferred_side=256, heartbeat=lambda: beats.append(1))
    assert page == tmp_path / "x" / "k%1.mp4"
    assert page.read_bytes() == DATA
    assert beats
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    file = fetch_video(f"{server.root}/a.mp4", tmp_path, name="key", preferred_side=256)
    assert file.read_bytes() == DATA
    with pytest.raises(DatasetError, match=r"pip install 'followspot\[prepare\]'"):
        require_yt_dlp()
    with pytest.raises(DatasetError, match="yt-dlp"):
        fetch_video(f"{server.root}/watch?v=abc", tmp_path, name="key", preferred_side=256)


def test_pages_that_cannot_be_read(server, tmp_path, capfd):
    pytest.importorskip("yt_dlp")
    server.failures["/busy?v=1"] = ["always 429"]
    server.failures["/gone?v=1"] = ["always 404"]
    server.files["/text?v=1"] = b"<html><body>nothing to see</body></html>"
    facts = {}
    for path in ("/busy?v=1", "/gone?v=1", "/text?v=1"):
        with pytest.raises(NoVideoError) as caught:
            fetch_video(f"{server.root}{path}", tmp_path, name="key", preferred_side=256)
        error = caught.value
        assert "\n" not in str(error)
        facts[path] = (error.status, error.busy, error.final, error.known)
    assert facts["/busy?v=1"] == (429, True, False, False)
    assert facts["/gone?v=1"] == (404, False, True, False)
    with pytest.raises(NoVideoError) as caught:
        fetch_video("http://127.0.0.1:1/page", tmp_path, name="key", preferred_side=256)
    assert not caught.value.final
    assert capfd.readouterr() == ("", "")


def test_a_page_with_sound_only_has_no_format(server, tmp_path, monkeypatch):
    yt_dlp = pytest.importorskip("yt_dlp")
    server.files["/watch?v=abc"] = DATA
    monkeypatch.setattr("followspot.io.web_video.choose_format", lambda formats, preferred_side: None)
    with pytest.raises(NoVideoError, match="no format is a single file") as caught:
        fetch_video(f"{server.root}/watch?v=abc", tmp_path, name="key", preferred_side=256)
    assert caught.value.known
    assert caught.value.final
    assert yt_dlp


def test_a_page_whose_video_breaks_off_is_resumed(server, tmp_path):
    pytest.importorskip("yt_dlp")
    server.files["/watch?v=abc"] = DATA
    server.failures["/watch?v=abc"] = ["look", "cut", "look"]
    with pytest.raises(DownloadError) as caught:
        fetch_video(f"{server.root}/watch?v=abc", tmp_path, name="key", preferred_side=256)
    assert not isinstance(caught.value, NoVideoError)
    assert not caught.value.final
    assert fetch_video(f"{server.root}/watch?v=abc", tmp_path, name="key", preferred_side=256).read_bytes() == DATA
    path, span = server.requests[-1]
    assert path == "/watch?v=abc"
    assert int(span.removeprefix("bytes=").removesuffix("-")) > 100_000  # it drops what did not fill a block


def test_video_files_are_known_by_their_ending():
    assert is_video_file("https://host/a/b.webm#t=3")
    assert not is_video_file("https://host/a.mp4/watch")


def write_list(path, entries):
    path.write_text(json.dumps(entries))
    return path


def entry(segment=(0.0, 1.0), url="http://host/x.mp4"):
    return {"url": url, "duration": 10.0, "annotations": {"segment": list(segment), "label": "juggling"}}


def test_f001_three_keys_with_one_file_missing_give_two_clips_and_one_skipped(tmp_path):
    clips = read_kinetics(write_list(tmp_path / "list.json", {"-a_1": entry((2, 12.5)), "b": entry(), "c": {"url": "http://host/c.mp4"}}))
    assert [(clip.key, clip.segment, clip.label) for clip in clips] == [
        ("-a_1", (2.0, 12.5), "juggling"),
        ("b", (0.0, 1.0), "juggling"),
        ("c", None, ""),
    ]
    for name in ("-a_1.mp4", "c.mp4", "d.mp4", ".b.mp4.partial"):
        (tmp_path / name).write_bytes(b"")
    present = present_clips(clips, tmp_path)
    assert [path for _, path in present.files] == [tmp_path / "-a_1.mp4", tmp_path / "c.mp4"]
    assert present.skipped == ("b",)
    assert present_clips(clips, tmp_path / "nowhere").skipped == ("-a_1", "b", "c")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "is empty"),
        ({"a/../b": entry()}, "'a/../b': a key names a file"),
        ({"..": entry()}, "a key names a file"),
        ({"a": entry((5, 5))}, "the segment 5 to 5 s is empty"),
        ({"a": entry((-1, 5))}, "the segment -1 to 5 s is empty"),
        ({"a": entry((1, 2, 3))}, "has 3 numbers, expected 2"),
        ({"a": {}}, "'a'.url: expected a text"),
        ({"a": 3}, "expected an object"),
        ({"a": {"url": "http://x", "annotations": [1]}}, "annotations: expected an object"),
    ],
)
def test_lists_that_are_none(tmp_path, entries, message):
    with pytest.raises(DatasetError, match=message.replace(".", r"\.")):
        read_kinetics(write_list(tmp_path / "list.json", entries))


def test_a_list_that_is_not_there_or_no_json(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        read_kinetics(tmp_path / "list.json")
    (tmp_path / "list.json").write_text("{")
    with pytest.raises(DatasetError, match="is not readable JSON"):
        read_kinetics(tmp_path / "list.json")


def trimmed(tmp_path, source, segment):
    target = tmp_path / "cut" / "clip.mp4"
    count = trim(source, target, segment=segment)
    with open_video(target) as video:
        frames = list(video.frames())
    assert len(frames) == count
    return range_server.numbers(frame.image for frame in frames), [frame.time_seconds for frame in frames]


@pytest.mark.parametrize(
    ("segment", "first", "last"), [(None, 0, 59), ((0.0, 1.0), 0, 29), ((1.0, 1.5), 30, 44), ((0.51, 0.55), 16, 16), ((1.5, 99.0), 45, 59)]
)
def test_trim_is_exact_to_the_frame(tmp_path, segment, first, last):
    source = range_server.counted_video(tmp_path / "a.mp4")
    found, times = trimmed(tmp_path, source, segment)
    assert found == list(range(first, last + 1))
    assert times == pytest.approx([index / 30 for index in range(len(found))], abs=1e-3)


def test_trim_of_a_varying_rate_goes_by_time(tmp_path):
    times = [index / 30 for index in range(20)] + [5 + index / 10 for index in range(40)]
    source = range_server.counted_video(tmp_path / "a.mp4", times=times)
    for segment in ((0.2, 0.4), (5.1, 6.1), (8.0, 99.0)):
        found, _ = trimmed(tmp_path, source, segment)
        assert found == [index for index, time in enumerate(times) if segment[0] - 1e-3 <= time < segment[1] - 1e-3], segment


def test_trim_complains_about_what_it_cannot_cut_and_leaves_nothing(tmp_path):
    source = range_server.counted_video(tmp_path / "a.mp4")
    target = tmp_path / "clip.mp4"
    with pytest.raises(VideoError, match=r"a\.mp4 ends before 84 s, where the segment 84 to 94 s begins"):
        trim(source, target, segment=(84, 94))
    (tmp_path / "bad.mp4").write_bytes(b"<html>not a video</html>")
    with pytest.raises(VideoError):
        trim(tmp_path / "bad.mp4", target, segment=None)
    data = source.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(VideoError):
        trim(tmp_path / "cut.mp4", target, segment=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "bad.mp4", "cut.mp4"]


def test_f002_a_killed_trim_leaves_no_final_file(tmp_path):
    source = range_server.counted_video(tmp_path / "a.mp4", frames=60, size=(480, 640))
    target = tmp_path / "clip.mp4"
    # The video over and over, so that there is time to kill it in.
    code = (
        "import sys, itertools; from pathlib import Path; from followspot.io import trim as t; read = t._between\n"
        "t._between = lambda video, *s: itertools.chain.from_iterable(read(video, *s) for _ in range(10000))\n"
        "t.trim(Path(sys.argv[1]), Path(sys.argv[2]), segment=(0, 9))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, source, target])
    partial = tmp_path / ".clip.mp4.partial"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 0) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -9
    assert partial.exists()
    assert not target.exists()
    assert trim(source, target, segment=(0, 1)) == 30
    assert hidden(tmp_path) == []
