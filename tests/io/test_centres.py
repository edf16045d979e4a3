"""Colour centres as files, and what is refused."""

import numpy as np
import pytest

from followspot.errors import AnnotationError, OutputError
from followspot.io.centres import read_centres, write_centres


def test_f031_f033_centres_survive_a_file(tmp_path):
    centres = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    write_centres(tmp_path / "new" / "centres.npy", centres)
    found = read_centres(tmp_path / "new" / "centres.npy")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, centres)


def test_f033_python_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was run",))

    array = np.empty(1, object)
    array[0] = Trap()
    np.save(tmp_path / "trap.npy", array, allow_pickle=True)
    with pytest.raises(AnnotationError, match=r"trap.npy holds no colour centres .*; give an .npy file"):
        read_centres(tmp_path / "trap.npy")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((0, 2)), np.array([["a"]]), np.array([[np.nan, 0.0]])])
def test_other_arrays_are_refused(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(AnnotationError, match=r"not finite numbers \(K, D\)"):
        read_centres(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [None, b"", b"no array"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AnnotationError, match="holds no colour centres"):
        read_centres(path)


def test_what_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match=r"saved as \.npy"):
        write_centres(tmp_path / "x.txt", np.zeros((1, 2)))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write colour centres"):
        write_centres(tmp_path / "file" / "x.npy", np.zeros((1, 2)))
