import pickle

import numpy as np
import pytest
from PIL import Image

from followspot.datasets.davis import DavisDataset, read_ids
from followspot.errors import DatasetError


def save_ids(path, ids, *, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(ids, np.uint8))
    if mode == "P":
        picture.putpalette(list(range(255, -1, -1)) * 3)
    picture.save(path)


def save_frame(path, size=(12, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1]).save(path)


def blocks(*ids):
    """A 12x16 id map with one 3x3 block an id."""
    mask = np.zeros((12, 16), np.uint8)
    for place, value in enumerate(ids):
        mask[2:5, 1 + 4 * place : 4 + 4 * place] = value
    return mask


@pytest.fixture
def davis(tmp_path):
    """Two sequences, cat (ids 1 and 3, void) and dog (id 1), in a 2017 split."""
    for name, ids in (("cat", (1, 3, 255)), ("dog", (1,))):
        for index in range(4):
            save_frame(tmp_path / f"JPEGImages/480p/{name}/{index:05d}.jpg")
            save_ids(tmp_path / f"Annotations/480p/{name}/{index:05d}.png", blocks(*ids))
    put_list(tmp_path, "2017/val", "dog\ncat\n")
    return tmp_path


def put_list(root, name, text):
    path = root / "ImageSets" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_f023_reads_a_2017_split_in_the_order_of_the_list(davis):
    dataset = DavisDataset(davis)
    assert (dataset.name, dataset.year, len(dataset)) == ("DAVIS 2017", "2017", 2)
    assert [sequence.name for sequence in dataset.sequences] == ["dog", "cat"]
    cat = dataset["cat"]
    assert len(cat) == 4
    assert cat.frame_names == ("00000", "00001", "00002", "00003")
    assert cat.image_path(2) == davis / "JPEGImages/480p/cat/00002.jpg"
    assert cat.mask_path(2) == davis / "Annotations/480p/cat/00002.png"
    assert cat.image_size(0) == (12, 16)


def test_f023_ids_are_indices_and_void_is_background(davis):
    cat = DavisDataset(davis)["cat"]
    assert cat.object_ids == (1, 3)
    np.testing.assert_array_equal(cat.read_mask(1), blocks(1, 3, 0))
    assert cat.read_mask(1).dtype == np.uint8


def test_objects_that_appear_later_do_not_count(davis):
    save_ids(davis / "Annotations/480p/dog/00002.png", blocks(1, 2))
    dog = DavisDataset(davis)["dog"]
    assert dog.object_ids == (1,)
    assert set(np.unique(dog.read_mask(2))) == {0, 1, 2}


def test_2016_merges_all_objects(davis):
    put_list(davis, "2016/train", "cat\n\n")
    cat = DavisDataset(davis, split="train")["cat"]
    assert cat.object_ids == (1,)
    np.testing.assert_array_equal(cat.read_mask(0), blocks(1, 1, 0))


@pytest.mark.parametrize("mode", ["P", "L"])
def test_2016_black_and_white_annotations_mean_the_object(davis, mode):
    for index in range(4):
        save_ids(davis / f"Annotations/480p/dog/{index:05d}.png", blocks(255), mode=mode)
    put_list(davis, "2016/train", "dog\n")
    np.testing.assert_array_equal(DavisDataset(davis, split="train")["dog"].read_mask(3), blocks(1))


@pytest.mark.parametrize("folder", ["2016", "480p"])
def test_lists_of_the_first_2016_release(davis, folder):
    lines = [
        f"/JPEGImages/480p/{name}/{index:05d}.jpg /Annotations/480p/{name}/{index:05d}.png "
        for name in ("dog", "cat")
        for index in range(4)
    ]
    put_list(davis, f"{folder}/train", "\n".join(lines))
    dataset = DavisDataset(davis, split="train")
    assert dataset.year == "2016"
    assert [sequence.name for sequence in dataset.sequences] == ["dog", "cat"]


def test_year_must_be_chosen_where_both_have_the_split(davis):
    put_list(davis, "2016/val", "dog\n")
    with pytest.raises(DatasetError, match="name the benchmark davis-2016 or davis-2017"):
        DavisDataset(davis)
    assert [len(DavisDataset(davis, year=year)) for year in ("2016", "2017")] == [1, 2]


def test_a_test_split_has_only_first_annotations(davis):
    for index in (1, 2, 3):
        (davis / f"Annotations/480p/dog/{index:05d}.png").unlink()
    dog = DavisDataset(davis)["dog"]
    assert dog.annotated == {"00000"}
    assert dog.object_ids == (1,)
    with pytest.raises(DatasetError, match=r"dog/00001\.png is missing"):
        dog.read_mask(1)


def test_hidden_files_are_ignored(davis):
    for folder in ("JPEGImages", "Annotations"):
        (davis / folder / "480p/dog/._00000.png").write_bytes(b"x")
        (davis / folder / "480p/dog/Thumbs.db").write_bytes(b"x")
    (davis / "ImageSets/2017/._val.txt").write_bytes(b"\xff")
    assert len(DavisDataset(davis)["dog"]) == 4


def test_sequences_travel_to_other_processes(davis):
    sequence = DavisDataset(davis)["cat"]
    assert sequence.object_ids == pickle.loads(pickle.dumps(sequence)).object_ids


def test_names_the_missing_root(tmp_path):
    with pytest.raises(DatasetError, match="nowhere has no ImageSets folder; expected the DAVIS folder"):
        DavisDataset(tmp_path / "nowhere")


def test_lists_the_splits_there_are_and_the_nearest(davis):
    put_list(davis, "2016/train", "dog\n")
    with pytest.raises(DatasetError, match=r"no split 'vall' .*: there are 2016/train, 2017/val; did you mean 'val'\?"):
        DavisDataset(davis, split="vall")
    with pytest.raises(DatasetError, match=r"no split '2016/val'.*train, 2017/val"):
        DavisDataset(davis, year="2016")
    for file in (davis / "ImageSets").glob("*/*.txt"):
        file.unlink()
    with pytest.raises(DatasetError, match="there are none"):
        DavisDataset(davis)


def test_names_the_missing_sequence(davis):
    with pytest.raises(DatasetError, match=r"has no sequence 'cta'; did you mean 'cat'\?"):
        DavisDataset(davis)["cta"]
    with pytest.raises(DatasetError, match=r"1080p.dog is missing but val\.txt lists 'dog'"):
        DavisDataset(davis, resolution="1080p")
    put_list(davis, "2017/val", "\n")
    with pytest.raises(DatasetError, match="lists no sequence"):
        DavisDataset(davis)


def test_names_an_annotation_without_a_frame(davis):
    (davis / "JPEGImages/480p/dog/00002.jpg").unlink()
    with pytest.raises(DatasetError, match=r"Annotations.480p.dog.00002\.png has no frame in"):
        DavisDataset(davis)


def test_names_a_folder_without_frames(davis):
    for index in range(4):
        (davis / f"JPEGImages/480p/dog/{index:05d}.jpg").unlink()
    with pytest.raises(DatasetError, match="dog holds no frame"):
        DavisDataset(davis)


def test_wants_the_first_annotation(davis):
    (davis / "Annotations/480p/dog/00000.png").unlink()
    with pytest.raises(DatasetError, match="no annotation of the first frame 00000"):
        DavisDataset(davis)
    save_ids(davis / "Annotations/480p/dog/00000.png", blocks())
    with pytest.raises(DatasetError, match="the first annotation is empty"):
        _ = DavisDataset(davis)["dog"].object_ids


def test_wants_annotations_of_the_size_of_the_frames(davis):
    save_frame(davis / "JPEGImages/480p/dog/00001.jpg", (24, 32))
    with pytest.raises(DatasetError, match=r"dog.00001\.png is 16x12 but its frame is 32x24"):
        DavisDataset(davis)["dog"].read_mask(1)
    (davis / "JPEGImages/480p/dog/00001.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"00001\.jpg cannot be read as an image"):
        DavisDataset(davis)["dog"].read_mask(1)


def test_read_ids_says_what_is_wrong(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    Image.new("L", (4, 4)).save(tmp_path / "lossy.png", format="JPEG")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("hello")
    save_ids(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 9, (64, 64)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-900])
    for name, message in {
        "colour": r"colour\.png holds RGB pixels, expected an indexed PNG",
        "lossy": r"lossy\.png is a JPEG file",
        "deep": r"deep\.png holds I;16 pixels",
        "text": r"text\.png is not an image",
        "cut": r"cut\.png cannot be read",
        "absent": r"absent\.png is missing",
    }.items():
        with pytest.raises(DatasetError, match=message):
            read_ids(tmp_path / f"{name}.png")


def test_reads_the_real_split(shared_data):
    dataset = DavisDataset(shared_data / "davis", split="dev")
    assert dataset.year == "2016"
    assert (len(dataset), sum(map(len, dataset.sequences))) == (12, 693)
    assert dataset["bear"].read_mask(0).shape == (480, 854)
    assert all(sequence.object_ids == (1,) for sequence in dataset.sequences)
