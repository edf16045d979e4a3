"""F019, videos with id maps: YouTube-VOS and DAVIS."""

import json

import numpy as np
import pytest

from followspot.datasets.sources.id_maps import read_davis, read_youtube_vos
from followspot.errors import DatasetError


def rectangles(*things, height=60, width=80):
    """An id map with ``(id, left, top, right, bottom)``."""
    ids = np.zeros((height, width), np.uint8)
    for value, left, top, right, bottom in things:
        ids[top:bottom, left:right] = value
    return ids


@pytest.fixture
def youtube_vos(tmp_path, put_picture, put_ids):
    """One video of two frames, five apart, with two objects; the second begins late."""
    train = tmp_path / "train"
    for frame, things in (("00000", [(1, 2, 3, 30, 20)]), ("00005", [(1, 4, 3, 32, 20), (2, 40, 30, 80, 60)])):
        put_picture(train / f"JPEGImages/v/{frame}.jpg")
        put_ids(train / f"Annotations/v/{frame}.png", rectangles(*things))
    objects = {"1": {"category": "cat", "frames": ["00000", "00005"]}, "2": {"category": "dog", "frames": ["00005"]}}
    (train / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    return tmp_path


@pytest.fixture
def davis(tmp_path, put_picture, put_ids):
    """Two sequences of two frames below 480p; cat has ids 1 and 3 and void, dog is black and white."""
    for frame in ("00000", "00001"):
        for name in ("cat", "dog"):
            put_picture(tmp_path / f"JPEGImages/480p/{name}/{frame}.jpg")
        put_ids(tmp_path / f"Annotations/480p/cat/{frame}.png", rectangles((1, 0, 0, 10, 10), (3, 20, 20, 50, 50), (255, 60, 0, 70, 10)))
        put_ids(tmp_path / f"Annotations/480p/dog/{frame}.png", rectangles((255, 5, 6, 30, 40)))
    return tmp_path


def test_f019_youtube_vos(youtube_vos, boxes_of):
    source = read_youtube_vos([youtube_vos])
    assert (source.card.dataset, source.card.frame_range, source.card.still) == ("ytb_vos", 20, False)
    assert source.least.area == 1001
    shown, left_out = boxes_of(source)
    assert shown == {("v", 1, 0): (2, 3, 30, 20), ("v", 1, 5): (4, 3, 32, 20), ("v", 2, 5): (40, 30, 80, 60)}
    assert left_out == {}
    late = list(source.videos[0].read())[1].objects[1]
    np.testing.assert_array_equal(late.mask, rectangles((2, 40, 30, 80, 60)) > 0)
    assert boxes_of(read_youtube_vos([youtube_vos / "train"]))[0] == shown


def test_youtube_vos_that_cannot_be_read_is_told(youtube_vos, boxes_of, put_ids):
    train = youtube_vos / "train"
    put_ids(train / "Annotations/v/00005.png", rectangles((7, 0, 0, 9, 9)))
    with pytest.raises(DatasetError, match=r"holds ids .7. but meta.json lists"):
        boxes_of(read_youtube_vos([youtube_vos]))
    put_ids(train / "Annotations/v/00005.png", rectangles((1, 0, 0, 9, 9), height=30))
    with pytest.raises(DatasetError, match=r"00005.png is 80x30 but its frame is 80x60"):
        boxes_of(read_youtube_vos([youtube_vos]))
    (train / "JPEGImages/v/00005.jpg").unlink()
    with pytest.raises(DatasetError, match=r"00005.jpg is missing but meta.json lists it"):
        read_youtube_vos([youtube_vos])
    (train / "meta.json").write_text('{"videos": {}}')
    with pytest.raises(DatasetError, match="lists no video"):
        read_youtube_vos([youtube_vos])
    (train / "meta.json").unlink()
    with pytest.raises(DatasetError, match=r"meta.json is missing"):
        read_youtube_vos([youtube_vos])


def test_f019_davis(davis, boxes_of):
    source = read_davis([davis])
    assert (source.card.dataset, source.card.frame_range) == ("davis", 20)
    shown, _ = boxes_of(source)
    cat = {("cat", 1, 0): (0, 0, 10, 10), ("cat", 3, 0): (20, 20, 50, 50), ("cat", 1, 1): (0, 0, 10, 10), ("cat", 3, 1): (20, 20, 50, 50)}
    assert shown == cat | {("dog", 1, 0): (5, 6, 30, 40), ("dog", 1, 1): (5, 6, 30, 40)}


def test_f019_davis_without_a_folder_for_the_size(davis, boxes_of):
    shown, _ = boxes_of(read_davis([davis]))
    for name in ("JPEGImages", "Annotations"):
        for folder in (davis / name / "480p").iterdir():
            folder.rename(davis / name / folder.name)
        (davis / name / "480p").rmdir()
    assert boxes_of(read_davis([davis]))[0] == shown


def test_davis_trains_on_its_training_list(davis):
    (davis / "ImageSets/2016").mkdir(parents=True)
    (davis / "ImageSets/2016/val.txt").write_text("cat\n")
    assert len(read_davis([davis]).videos) == 2
    (davis / "ImageSets/2016/train.txt").write_text("/JPEGImages/480p/dog/00000.jpg /Annotations/480p/dog/00000.png\n")
    assert [video.name for video in read_davis([davis]).videos] == ["dog"]
    (davis / "ImageSets/2017").mkdir()
    (davis / "ImageSets/2017/train.txt").write_text("cta\n")
    with pytest.raises(DatasetError, match="names 'cta', which is not in Annotations; did you mean 'cat'"):
        read_davis([davis])


def test_davis_that_cannot_be_read_is_told(davis, boxes_of, put_ids, put_picture):
    put_ids(davis / "Annotations/480p/cat/00001.png", rectangles((1, 0, 0, 9, 9), height=30))
    with pytest.raises(DatasetError, match=r"cat/00001.jpg is 80x60, but annotated as 80x30"):
        boxes_of(read_davis([davis]))
    (davis / "Annotations/480p/cat/00001.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"00001.png is not an image"):
        boxes_of(read_davis([davis]))
    (davis / "JPEGImages/480p/cat/00001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"00001.png has no frame in"):
        boxes_of(read_davis([davis]))
    put_picture(davis / "Annotations/other/x/y.png")
    assert len(read_davis([davis]).videos) == 2
    (davis / "Annotations/480p").rename(davis / "Annotations/large")
    with pytest.raises(DatasetError, match=r"several sizes .large, other.; keep one"):
        read_davis([davis])


def test_empty_folders_are_told(tmp_path):
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(DatasetError, match="has no folder JPEGImages"):
        read_davis([tmp_path])
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DatasetError, match="is empty; expected a folder of indexed PNGs a sequence"):
        read_davis([tmp_path])
    (tmp_path / "Annotations/480p").mkdir()
    with pytest.raises(DatasetError, match="no indexed PNG"):
        read_davis([tmp_path])


def test_f019_real_sequences(shared_data):
    folder = shared_data / "davis"
    if not folder.is_dir():
        pytest.skip("DAVIS is not on this machine")
    source = read_davis([folder])
    assert len(source.videos) == 12
    frame = next(source.videos[0].read())
    (bear,) = frame.objects
    assert frame.image.shape == (480, 854, 3)
    assert bear.mask.shape == (480, 854)
    assert bear.track == 1
