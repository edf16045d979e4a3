"""``followspot download kinetics`` against a local server."""

import importlib.util
import json
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("range_server", Path(__file__).parents[1] / "io" / "range_server.py")
range_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(range_server)


@pytest.fixture
def server(tmp_path):
    server = range_server.Server()
    server.files["/good.mp4"] = range_server.counted_video(tmp_path / "good.mp4").read_bytes()
    yield server
    server.close()


def write_list(folder, names, root):
    path = folder / "list.json"
    path.write_text(json.dumps({name: {"url": f"{root}/{name}.mp4", "annotations": {"segment": [0, 1]}} for name in names}))
    return path


def test_b4_it_names_what_failed_and_a_second_run_does_no_work(server, tmp_path, followspot):
    index, out = write_list(tmp_path, ["good", "dead"], server.root), tmp_path / "out"
    said = followspot("download", "kinetics", index, "--out", out, "--workers", 2, "--preferred-height", 256)
    assert said.code == 0, said.err
    assert f"2 clips: 1 success, 1 no_info; 2 tried now; saved to {out / 'status.csv'}" in said.out
    assert "dead: no_info (" in said.out
    assert "HTTP 404" in said.out
    assert said.complaints == []
    asked = len(server.requests)
    again = followspot("download", "kinetics", index, "--out", out)
    assert again.code == 0
    assert "0 tried now" in again.out
    assert len(server.requests) == asked


def test_f002_exit_code_2_only_if_nothing_succeeded(server, tmp_path, followspot):
    index = write_list(tmp_path, ["dead", "good"], server.root)
    assert followspot("download", "kinetics", index, "--out", tmp_path / "out", "--limit", 1).refuses("none of the 1 clips", "HTTP 404")
    assert followspot("download", "kinetics", index, "--out", tmp_path / "out").code == 0


def test_long_lists_of_failures_are_cut_short(server, tmp_path, followspot):
    index = write_list(tmp_path, ["good", *(f"dead{number}" for number in range(25))], server.root)
    said = followspot("download", "kinetics", index, "--out", tmp_path / "out", "--workers", 8)
    assert said.out.count("no_info (") == 20
    assert f"and 5 more, see {tmp_path / 'out' / 'status.csv'}" in said.out


def test_bad_input_is_one_line(tmp_path, followspot):
    assert followspot("download", "kinetics", tmp_path / "none.json", "--out", tmp_path / "out").refuses("none.json does not exist")
    index = write_list(tmp_path, ["a"], "http://127.0.0.1:1")
    assert followspot("download", "kinetics", index, "--out", tmp_path / "out", "--workers", 0).refuses("workers 0")
