"""Results of points as files: ours and those of others."""

import json

import numpy as np
import pytest

from followspot.errors import DatasetError
from followspot.io.point_tracks import PointTracks, has_point_tracks, read_point_tracks, write_point_tracks

NAMES = ("nose", "tail, left")


@pytest.fixture
def tracks():
    made = PointTracks.empty(3, NAMES)
    made.xy[1:] = [[[1.25, -0.0001], [4, 5]], [[7, 8], [np.nan, np.nan]]]
    made.lost[1:] = [[False, True], [False, True]]
    made.confidence[1, 0] = 0.5
    return made


def test_what_is_written_is_read_again(tracks, tmp_path):
    assert not has_point_tracks(tmp_path)
    write_point_tracks(tmp_path / "bear", tracks)
    assert has_point_tracks(tmp_path / "bear")
    again = read_point_tracks(tmp_path / "bear", frames=3, names=NAMES)
    np.testing.assert_array_equal(again.xy, tracks.xy)
    np.testing.assert_array_equal(again.lost, tracks.lost)
    np.testing.assert_array_equal(again.confidence, tracks.confidence)
    assert np.isnan(again.shown[1, 1]).all()
    text = (tmp_path / "bear" / "tracks.csv").read_text()
    assert text == 'frame,point,x,y,confidence,lost\n1,nose,1.250,0.000,0.5000,0\n1,"tail, left",4.000,5.000,,1\n2,nose,7.000,8.000,,0\n'


def test_results_of_others_need_positions_only(tmp_path):
    xy = np.arange(12.0).reshape(3, 2, 2)
    np.savez(tmp_path / "tracks.npz", xy=xy.astype(np.float32))
    found = read_point_tracks(tmp_path, frames=3, names=NAMES)
    np.testing.assert_array_equal(found.xy, xy)
    assert not found.lost.any()
    assert np.isnan(found.confidence).all()


def test_json_with_null(tmp_path):
    (tmp_path / "tracks.json").write_text(json.dumps({"xy": [[[1, 2], None]], "lost": [[1, 0]]}))
    found = read_point_tracks(tmp_path, frames=1, names=NAMES)
    assert found.xy[0, 0].tolist() == [1, 2]
    assert found.lost.tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, r"tracks\.npz is missing; run the sequence"),
        (lambda folder: (folder / "tracks.npz").write_bytes(b"PK not a zip"), r"tracks\.npz cannot be read"),
        (
            lambda folder: np.savez(folder / "tracks.npz", xy=np.zeros((2, 2, 2))),
            r"\(2, 2, 2\), expected \(3, 2, 2\): frames, points, x and y",
        ),
        (lambda folder: np.savez(folder / "tracks.npz", where=np.zeros(1)), r"shape \(\), expected|xy is no array"),
        (lambda folder: np.savez(folder / "tracks.npz", xy=np.zeros((3, 2, 2)), lost=np.zeros(3)), r"lost has shape \(3,\)"),
        (lambda folder: np.savez(folder / "tracks.npz", xy=np.array({"a": 1}, dtype=object)), r"tracks\.npz cannot be read"),
        (lambda folder: (folder / "tracks.json").write_text("[1]"), r"tracks\.json is not"),
        (lambda folder: (folder / "tracks.json").write_text('{"xy": [[["a", 2], null]]}'), "xy is no array of numbers"),
    ],
)
def test_unusable_results_are_named(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(DatasetError, match=message):
        read_point_tracks(tmp_path, frames=3, names=NAMES)
