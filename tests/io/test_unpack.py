import os
import stat
import zipfile

import pytest

from followspot.errors import DatasetError
from followspot.io.unpack import unpack

FILES = {"DAVIS/ImageSets/2017/val.txt": b"bear\n", "DAVIS/JPEGImages/480p/bear/00000.jpg": bytes(range(256)) * 20}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("DAVIS")
        for name, content in FILES.items():
            file.writestr(name, content)
    return path


def add(archive, name, content=b"evil", *, mode=0):
    with zipfile.ZipFile(archive, "a") as file:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        file.writestr(member, content)


def test_f024_unpacks_everything_once(archive, tmp_path):
    out, calls = tmp_path / "out", []
    files = unpack(archive, out, progress=lambda *call: calls.append(call))
    assert [file.relative_to(out).as_posix() for file in files] == list(FILES)
    assert {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()} == FILES
    assert calls == [(1, 2), (2, 2)]


def test_f024_what_is_there_is_left_alone_and_what_is_damaged_is_mended(archive, tmp_path):
    first, second = unpack(archive, tmp_path / "out")
    os.utime(first, (1, 1))
    second.write_bytes(b"x" * second.stat().st_size)
    unpack(archive, tmp_path / "out")
    assert first.stat().st_mtime == 1
    assert second.read_bytes() == FILES["DAVIS/JPEGImages/480p/bear/00000.jpg"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../evil.txt", 0),
        ("DAVIS/../../evil.txt", 0),
        ("/evil.txt", 0),
        ("C:/evil.txt", 0),
        ("DAVIS/link", stat.S_IFLNK | 0o777),
    ],
)
def test_f024_names_that_lead_out_of_the_folder_are_refused_before_anything_is_unpacked(archive, tmp_path, name, mode):
    add(archive, name, b"/etc/passwd", mode=mode)
    with pytest.raises(DatasetError, match=r"data\.zip holds .* which leads out of the folder; do not use this archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.txt").exists()


def test_damage_is_named(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match=r"data\.zip is damaged or no ZIP file .*; fetch it again"):
        unpack(archive, tmp_path / "out")
    archive.write_bytes(b"<html>not found</html>")
    with pytest.raises(DatasetError, match=r"data\.zip is damaged or no ZIP file"):
        unpack(archive, tmp_path / "out")
