"""F024: ``followspot download davis`` against a local server."""

import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("range_server", Path(__file__).parents[1] / "io" / "range_server.py")
range_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(range_server)


@pytest.fixture(scope="module")
def archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("DAVIS/ImageSets/2017/val.txt", "bear\n")
        file.writestr("DAVIS/JPEGImages/480p/bear/00000.jpg", bytes(range(256)) * 4000)
    return content.getvalue()


@pytest.fixture
def server(archive):
    server = range_server.Server()
    server.files["/davis.zip"] = archive
    yield server
    server.close()


def test_f024_it_resumes_checks_and_unpacks_and_a_second_run_does_no_work(server, archive, tmp_path, followspot):
    server.failures["/davis.zip"] = ["cut"]
    command = ("download", "davis", "--out", tmp_path / "out", "--url", f"{server.root}/davis.zip")
    said = followspot(*command, "--sha256", hashlib.sha256(archive).hexdigest())
    assert said.code == 0, said.err
    assert f"2 files are there, {len(archive) / 1e6:.1f} MB fetched; saved to {tmp_path / 'out'}" in said.out
    assert said.complaints == []
    # The second request asks for the rest only.
    assert [span is not None for _, span in server.requests] == [False, True]
    assert (tmp_path / "out/DAVIS/ImageSets/2017/val.txt").read_text() == "bear\n"
    assert not (tmp_path / "out/.davis-trainval.zip").exists()
    asked = len(server.requests)
    again = followspot(*command)
    assert "2 files are there, nothing to fetch" in again.out
    assert len(server.requests) == asked


def test_f024_a_lost_file_is_fetched_again(server, tmp_path, followspot):
    command = ("download", "davis", "--out", tmp_path / "out", "--url", f"{server.root}/davis.zip")
    followspot(*command)
    lost = tmp_path / "out/DAVIS/JPEGImages/480p/bear/00000.jpg"
    lost.unlink()
    assert followspot(*command).code == 0
    assert lost.stat().st_size == 256 * 4000


def test_f024_another_archive_than_the_checksum_says_is_refused(server, tmp_path, followspot):
    command = ("download", "davis", "--out", tmp_path / "out", "--url", f"{server.root}/davis.zip", "--sha256", "0" * 64)
    assert followspot(*command).refuses("has another SHA-256")
    assert not (tmp_path / "out/DAVIS").exists()


def test_f024_bad_answers_are_one_line(server, tmp_path, followspot):
    assert followspot("download", "davis", "--out", tmp_path, "--url", f"{server.root}/none.zip").refuses("HTTP 404")
    server.files["/page.zip"] = b"<html>gone</html>"
    assert followspot("download", "davis", "--out", tmp_path, "--url", f"{server.root}/page.zip").refuses("is damaged or no ZIP file")
    assert list(tmp_path.iterdir()) == []
    assert followspot("download", "davis", "--out", tmp_path, "--part", "val").refuses("val")
