import errno
import os

import pytest

from followspot.errors import OutputError
from followspot.io import files
from followspot.io.files import atomic_path, missing_file, nearest, output_error, write_atomic


def test_file_appears_whole_with_missing_folders(tmp_path):
    path = tmp_path / "a" / "b" / "tracks.json"
    with atomic_path(path) as partial:
        assert partial == path.with_name(".tracks.partial.json")
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    write_atomic(path, "zwei\r\n")
    assert path.read_bytes() == b"zwei\r\n"
    write_atomic(path, b"\x00")
    assert os.listdir(path.parent) == ["tracks.json"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError, RuntimeError])
def test_any_exception_keeps_the_old_file_and_removes_the_partial_one(tmp_path, raised):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def interrupted():
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise raised

    with pytest.raises(raised):
        interrupted()
    assert os.listdir(tmp_path) == ["out.txt"]
    assert path.read_text() == "old"


def test_what_a_killed_run_left_is_overwritten(tmp_path):
    (tmp_path / ".out.partial.txt").write_text("x" * 100)
    with atomic_path(tmp_path / "out.txt") as partial, partial.open("a") as file:
        file.write("new")
    assert (tmp_path / "out.txt").read_text() == "new"


def test_data_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(files.os, "fsync", lambda fd: order.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    write_atomic(tmp_path / "a", b"")
    assert order == ["fsync", "replace"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_full_disk_is_one_line_that_says_what_to_do(tmp_path):
    path = tmp_path / "masks" / "00012.png"

    def fill():
        with atomic_path(path), open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    with pytest.raises(OutputError) as caught:
        fill()
    assert str(caught.value) == (
        f"no space left on the device while writing {path}: free some space and run the same command again, it goes on where it stopped"
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "EIO"])
def test_every_known_system_error_is_told(tmp_path, monkeypatch, code):
    def fail(descriptor):
        raise OSError(getattr(errno, code), "no")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OutputError, match=r"while writing .*out\.txt: \w+") as caught:
        write_atomic(tmp_path / "out.txt", "x")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_unknown_system_errors_and_errors_of_other_files_pass(tmp_path):
    assert output_error(OSError(errno.EPIPE, "broken"), tmp_path / "a") is None

    def other():
        with atomic_path(tmp_path / "out.txt"):
            raise PermissionError(errno.EACCES, "denied", "elsewhere/video.mp4")

    with pytest.raises(PermissionError, match="elsewhere"):
        other()
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.txt"):
        pass


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        write_atomic(tmp_path / "file" / "out.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="a folder stands where the file should go"):
        write_atomic(tmp_path / "folder", "x")
    with pytest.raises(OutputError, match="name is too long"):
        write_atomic(tmp_path / ("x" * 300), "x")


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "first.png").write_text("")
    assert missing_file(tmp_path / "first.png") is None
    assert missing_file(tmp_path / "frist.png") == f"{tmp_path / 'frist.png'} does not exist; did you mean {tmp_path / 'first.png'}?"
    assert missing_file(tmp_path / "q").endswith("does not exist; check the path")
    assert "is a folder" in missing_file(tmp_path)
    assert "no folder" in missing_file(tmp_path / "nowhere" / "a.png")
    assert missing_file(tmp_path / "nul\0byte") is not None
    assert nearest("zzz", ["a"]) is None
