"""What is found in folders and lists: every layout of the published systems, and everything that is no video."""

import os

import numpy as np
import pytest
from PIL import Image

from followspot.errors import DatasetError, OutputError
from followspot.io.clip_lists import read_list, write_list
from followspot.io.clip_sources import OXUVA_SEQUENCES, count_oxuva, find_sources


def tree(folder, count, pattern, first=1):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((20, 24, 3), 10 * number, np.uint8)).save(folder / pattern.format(number + first), quality=95)
    return folder


def levels(source):
    with source.open() as video:
        return [round(float(frame.image.mean()) / 10) for frame in video]


@pytest.mark.parametrize("pattern", ["image_{:05d}.jpg", "image_{:06d}.jpg", "image_{}.jpg", "{:04d}.png"])
@pytest.mark.parametrize("first", [0, 1])
def test_f007_kinetics_frames_with_any_padding(tmp_path, pattern, first):
    tree(tmp_path / "archery" / "vid a", 12, pattern, first)
    tree(tmp_path / "zumba" / "vid b", 3, pattern, first)
    found = find_sources([tmp_path])
    assert [(source.origin, source.kind, source.frames) for source in found] == [
        ("archery/vid a", "frames", 12),
        ("zumba/vid b", "frames", 3),
    ]
    assert levels(found[0]) == list(range(12))


def test_f008_oxuva_begins_at_zero_and_counts_its_sequences(tmp_path):
    for number in (0, 3, 336):
        tree(tmp_path / f"vid{number:04d}", 5, "{:06d}.jpeg", first=0)
    found = find_sources([tmp_path])
    assert levels(found[0]) == [0, 1, 2, 3, 4]
    assert (count_oxuva(found), OXUVA_SEQUENCES) == (3, 337)
    tree(tmp_path / "other", 5, "{:06d}.jpeg")
    assert count_oxuva(find_sources([tmp_path])) is None


@pytest.mark.parametrize("slash", ["", "/"])
def test_f009_vlog_list_with_and_without_slash(tmp_path, slash):
    tree(tmp_path / "frames" / "v_ 1", 4, "{:06d}.jpg")
    tree(tmp_path / "frames" / "v2", 6, "{:06d}.jpg")
    (tmp_path / "vlog.txt").write_text(f"frames/v_ 1{slash} 4\n\nframes/v2{slash} 6\n")
    found = find_sources([tmp_path / "vlog.txt"])
    assert [(source.origin, source.frames, source.listed) for source in found] == [("frames/v2", 6, 6), ("frames/v_ 1", 4, 4)]


@pytest.mark.parametrize("name", ["index.csv", "lists/index.csv", "index.txt", "lists/vlog.txt"])
def test_f009_f010_lists_are_written_and_read_back(tmp_path, name):
    folders = [(tree(tmp_path / "a,b" / "v 1", 4, "{:06d}.jpg"), 4), (tree(tmp_path / "c" / "v2", 6, "{:06d}.jpg"), 6)]
    write_list(tmp_path / name, folders)
    text = (tmp_path / name).read_text()
    assert text.splitlines()[1] == ("c/v2,6" if name.endswith("csv") else "c/v2/ 6").replace("c/", "../c/" if "/" in name else "c/")
    found = find_sources([tmp_path / name])
    assert [(source.path.resolve(), source.frames) for source in found] == folders
    assert all(source.frames == source.listed for source in found)


def test_f010_stale_counts_and_missing_folders_are_detected(tmp_path):
    tree(tmp_path / "c" / "v", 4, "image_{:05d}.jpg")
    (tmp_path / "c" / "empty").mkdir()
    (tmp_path / "kinetics.csv").write_text("c/v,300\nc/gone,10\nc/empty,10\n")
    empty, gone, stale = find_sources([tmp_path / "kinetics.csv"])
    assert (stale.frames, stale.listed, stale.kind) == (4, 300, "frames")
    assert (gone.kind, empty.kind) == ("problem", "problem")
    assert "is in the list but not on the disk" in gone.problem
    assert "holds no images" in empty.problem


def test_a_table_takes_source_licence_and_weight_along(tmp_path):
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "a.mp4").write_bytes(b"x")
    (tmp_path / "clips.csv").write_text(
        'path,source_repo,licence,frames,weight,notes\nmain/a.mp4,some/repo,CC BY 4.0,91,0.25,"a, b"\nmain/b.mp4,,,,,\n'
    )
    one, two = find_sources([tmp_path / "clips.csv"])
    assert (one.source, one.licence, one.weight, one.listed) == ("some/repo", "CC BY 4.0", 0.25, 91)
    assert (two.source, two.licence, two.weight, two.listed, two.kind) == ("main/b.mp4", "", 1.0, None, "problem")
    assert [source.origin for source in find_sources([tmp_path / "clips.csv"], only="main/b*")] == ["main/b.mp4"]
    assert [source.origin for source in find_sources([tmp_path / "clips.csv"], only="main/*", without="*/b*")] == ["main/a.mp4"]
    with pytest.raises(DatasetError, match=r"nothing is left \(only 'main/b\*', without '\*b\*'\)"):
        find_sources([tmp_path / "clips.csv"], only="main/b*", without="*b*")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("one two three\n", "line 1: 'one two three' is not folder,frames"),
        ("a 3\nb\n", "line 2: 'b' is not"),
        ("path,weight\na.mp4,heavy\n", "line 2: 'heavy' is not a weight"),
        ("path,weight\na.mp4,-1\n", "'-1' is not a weight"),
        ("path,frames\na.mp4,many\n", "'many' is not a number of frames"),
        ("path,frames\n,3\n", "the column path is empty"),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_list(tmp_path / "list.csv")


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_list(tmp_path / "list.csv")


def test_a_list_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        write_list(tmp_path / "file" / "list.csv", [(tmp_path, 1)])


def test_a_folder_names_what_it_cannot_use_and_passes_over_hidden_files(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.MP4").write_bytes(b"x")
    (tmp_path / "deep" / "no_ending").write_bytes(bytes(range(256)))
    (tmp_path / "notes.txt").write_text("hello there")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\nhttp://example.org/a.ts\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "b.mp4").write_bytes(b"x")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    found = {source.origin: (source.kind, source.problem) for source in find_sources([tmp_path])}
    assert found == {
        "deep/er/a.MP4": ("video", ""),
        "deep/no_ending": ("video", ""),
        "empty": ("problem", "the folder is empty"),
        "list.m3u8": ("problem", "is no video but text: '#EXTM3U http://example.org/a.ts'"),
        "notes.txt": ("problem", "is no video but text: 'hello there'"),
    }


def test_links_are_followed_once_and_stores_are_left_out(tmp_path):
    tree(tmp_path / "data" / "v", 3, "{:03d}.png")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "data")
    (tmp_path / "root" / "store" / ".prepare").mkdir(parents=True)
    (tmp_path / "root" / "store" / "clip.mp4").write_bytes(b"x")
    assert [source.origin for source in find_sources([tmp_path / "root"])] == ["linked/v"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    tree(tmp_path / "v", 3, "{:03d}.png")
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    locked, frames = find_sources([tmp_path])
    assert (locked.origin, locked.problem) == ("locked", "the folder cannot be read (Permission denied)")
    assert frames.kind == "frames"


def test_the_same_file_given_twice_is_one_source_and_order_is_natural(tmp_path):
    for name in ("v10.mp4", "v9.mp4"):
        (tmp_path / name).write_bytes(b"x")
    found = find_sources([tmp_path, tmp_path / "v9.mp4", tmp_path])
    assert [source.origin for source in found] == ["v9.mp4", "v10.mp4"]


def test_the_fingerprint_changes_with_the_content(tmp_path):
    tree(tmp_path / "v", 3, "{:03d}.png")
    (tmp_path / "a.mp4").write_bytes(b"x")
    video, frames = find_sources([tmp_path])
    before = (video.fingerprint(), frames.fingerprint())
    assert before == (video.fingerprint(), frames.fingerprint())
    (tmp_path / "a.mp4").write_bytes(b"xy")
    Image.new("RGB", (24, 20)).save(tmp_path / "v" / "004.png")
    after = tuple(source.fingerprint() for source in find_sources([tmp_path]))
    assert before[0] != after[0]
    assert before[1] != after[1]
    (tmp_path / "a.mp4").unlink()
    assert video.fingerprint() == "missing"


def test_nothing_to_find_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere does not exist"):
        find_sources([tmp_path / "nowhere"])
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"nothing is left \(only 'b\*'\) of"):
        find_sources([tmp_path], only="b*")
