"""F114: .flo files, written and read back; broken ones are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from followspot.errors import DatasetError, OutputError
from followspot.io.flow import read_flow, write_flow

known = st.floats(-1e9, 1e9, width=32)
flows = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: arrays.arrays(np.float32, (2, *size), elements=known | st.just(np.nan))
)


@given(flows)
@settings(deadline=None)
def test_f114_any_flow_reads_back_equal(tmp_path_factory, flow):
    path = tmp_path_factory.getbasetemp() / "any.flo"
    write_flow(path, flow)
    np.testing.assert_array_equal(read_flow(path), flow)


def test_f114_the_bytes_are_those_of_middlebury(tmp_path):
    write_flow(tmp_path / "a.flo", np.array([[[1.5, -2, 0]], [[0, 3, np.nan]]]))
    expected = b"PIEH" + struct.pack("<ii6f", 3, 1, 1.5, 0, -2, 3, 0, 1e10)
    assert (tmp_path / "a.flo").read_bytes() == expected


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"PIEH" + tail))
@settings(deadline=None)
def test_any_bytes_are_a_flow_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "broken.flo"
    path.write_bytes(content)
    try:
        flow = read_flow(path)
    except DatasetError:
        return
    assert flow.shape[0] == 2


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_flow(tmp_path / "absent.flo")
    (tmp_path / "text.flo").write_text("hello there, world")
    with pytest.raises(DatasetError, match=r"does not begin with 202021\.25"):
        read_flow(tmp_path / "text.flo")
    write_flow(tmp_path / "cut.flo", np.zeros((2, 3, 4)))
    (tmp_path / "cut.flo").write_bytes((tmp_path / "cut.flo").read_bytes()[:-1])
    with pytest.raises(DatasetError, match="it is 4x3, which needs 108 bytes, and has 107"):
        read_flow(tmp_path / "cut.flo")
    for wrong in (np.zeros((3, 4)), np.zeros((3, 4, 2)), np.zeros((2, 0, 4))):
        with pytest.raises(OutputError, match="a flow must be"):
            write_flow(tmp_path / "wrong.flo", wrong)
