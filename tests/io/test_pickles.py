"""Pickles of strangers: arrays come out, nothing is run."""

import codecs
import contextlib
import os
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import DatasetError
from followspot.io.pickles import read_pickle


def write(folder, content, protocol=4):
    path = folder / "data.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "?", "<f4", ">f8", "<i8", "f2", "S5"])
def test_arrays_come_out_as_pickle_would_load_them(tmp_path, protocol, dtype):
    numbers = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = {
        "c": numbers,
        "fortran": np.asfortranarray(numbers),
        "view": numbers[:, ::2],
        "scalar": numbers[1, 2, 3],
        "empty": numbers[:0],
    }
    path = write(tmp_path, content, protocol)
    found, expected = read_pickle(path), pickle.loads(path.read_bytes())
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
        assert found[key].shape == np.shape(value)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_plain_values_and_files_in_lists(tmp_path, protocol):
    content = {"bear": {"video": [b"\xff\xd8 1", b"\xff\xd8 2"], "n": 3, "x": 0.5, "none": None, "pair": (1, "two"), "yes": True}}
    assert read_pickle(write(tmp_path, content, protocol)) == content
    files = np.array([b"a", b"bc"], dtype=object)
    assert read_pickle(write(tmp_path, [files, files], protocol)) == [[b"a", b"bc"]] * 2


class Runs:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize(
    "function", [os.system, subprocess.call, eval, codecs.lookup, np.load, pickle.loads, getattr, open, np.dtype.newbyteorder, dict]
)
def test_hostile_pickles_are_refused_and_nothing_is_run(tmp_path, function):
    mark = tmp_path / "run"
    with pytest.raises(DatasetError, match=r"data\.pkl: holds .*never run; fetch the file"):
        read_pickle(write(tmp_path, {"points": Runs(function, f"touch {mark}")}))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cnumpy\nndarray\n(dS'__call__'\nI1\nsb.", "gives a state to a name"),
        (b"cnumpy\nndarray\n.", "no array"),
        (b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.", "encodes with 'zip'"),
        (b"cnumpy\ndtype\n(S'V8'\ntR.", "no array"),
        (b"ccopyreg\n_reconstructor\n.", "_reconstructor"),
        (b"Pabc\n.", "persistent"),
    ],
)
def test_tricks_are_refused(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message):
        read_pickle(write(tmp_path, content))


def test_arrays_that_promise_more_than_they_hold_are_refused(tmp_path):
    honest = pickle.dumps(np.zeros(4, np.uint8), protocol=2)
    assert b"K\x04\x85" in honest
    with pytest.raises(DatasetError, match="damaged or no pickle of arrays"):
        read_pickle(write(tmp_path, honest.replace(b"K\x04\x85", b"K\x7f\x85")))


def test_arrays_of_other_things_and_deep_nests_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="neither numbers nor bytes"):
        read_pickle(write(tmp_path, np.zeros(2, [("x", "f4")])))
    nest = []
    for _ in range(50):
        nest = [nest, nest]
    with pytest.raises(DatasetError, match="nested"):
        read_pickle(write(tmp_path, nest))
    ring = []
    ring.append(ring)
    with pytest.raises(DatasetError, match="nested"):
        read_pickle(write(tmp_path, ring))
    with pytest.raises(DatasetError, match="holds a set"):
        read_pickle(write(tmp_path, {"a": {1, 2}}))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_files_give_one_error(tmp_path_factory, data):
    whole = pickle.dumps({"points": np.arange(6.0).reshape(3, 2), "video": [b"abc"]})
    place, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    broken = whole[:place] if data.draw(st.booleans()) else whole[:place] + bytes([byte]) + whole[place + 1 :]
    path = tmp_path_factory.getbasetemp() / "broken.pkl"
    path.write_bytes(broken)
    with contextlib.suppress(DatasetError):
        read_pickle(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.pkl does not exist"):
        read_pickle(tmp_path / "gone.pkl")
