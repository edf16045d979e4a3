import csv
import json
import math
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from followspot.errors import OutputError
from followspot.io.export import CSV_COLUMNS, frame_from_dict, frame_to_dict, write_tracks_csv, write_tracks_json
from followspot.types import TrackedFrame, TrackedObject, TrackedPoint


def frame_of(*objects, index=0, name="00000", time=0.0, masks=None):
    return TrackedFrame(index=index, name=name, time_seconds=time, masks=masks, maps=None, objects=tuple(objects))


def thing(name="cat", kind="mask", mask_id=1, box=(1.0, 2.0, 3.5, 4.25), points=(), confidence=0.5, lost=False, polygon=None):
    return TrackedObject(
        name=name, kind=kind, mask_id=mask_id, box=box, points=tuple(points), confidence=confidence, lost=lost, polygon=polygon
    )


def spot(name="nose", x=1.0, y=2.0, confidence=0.25, lost=False):
    return TrackedPoint(name=name, x=x, y=y, confidence=confidence, lost=lost)


floats = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(max_size=8)
points = st.builds(spot, names, floats, floats, st.none() | floats, st.booleans())
objects = st.builds(
    thing,
    names,
    st.sampled_from(["mask", "box", "point", "keypoints", "map"]),
    st.none() | st.integers(1, 255),
    st.none() | st.tuples(floats, floats, floats, floats),
    st.lists(points, max_size=2),
    st.none() | floats,
    st.booleans(),
    st.none() | st.lists(st.tuples(floats, floats), min_size=4, max_size=4).map(tuple),
)
frames = st.lists(
    st.builds(lambda objects, index, name, time: frame_of(*objects, index=index, name=name, time=time), st.lists(objects, max_size=3),
              st.integers(0, 10**6), names, floats),
    max_size=4,
)  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(frames)
def test_floats_survive_json_exactly(track):
    for frame in track:
        assert frame_from_dict(json.loads(json.dumps(frame_to_dict(frame), allow_nan=False))) == frame


@settings(deadline=None, max_examples=40)
@given(track=frames)
def test_json_file_is_valid_and_whole(tmp_path_factory, track):
    path = tmp_path_factory.mktemp("json") / "tracks.json"
    write_tracks_json(path, {"video": "a.mp4", "fps": 25.0}, iter(track))
    document = json.loads(path.read_text("utf-8"))
    assert list(document) == ["video", "fps", "objects", "frames"]
    assert tuple(frame_from_dict(row) for row in document["frames"]) == tuple(track)
    assert os.listdir(path.parent) == ["tracks.json"]


def test_json_summary_layout_and_determinism(tmp_path):
    track = [
        frame_of(thing(confidence=0.5), index=3),
        frame_of(thing(confidence=1.0, lost=True), thing("b", "box", None, confidence=None), index=4),
    ]
    header = {
        "version": 1,
        "size": (480, 854),
        "seed": np.int64(3),
        "bad": float("nan"),
        "rows": np.array([1.0, np.inf]),
        "of": Path("a/b"),
    }
    for name in ("one", "two"):
        write_tracks_json(tmp_path / name, header, track)
    text = (tmp_path / "one").read_text()
    assert text == (tmp_path / "two").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    document = json.loads(text)
    assert document["size"] == [480, 854]
    assert document["bad"] is None
    assert document["rows"] == [1.0, None]
    assert document["of"] == "a/b"
    keys = ["name", "kind", "mask_id", "first_frame", "last_frame", "frames", "frames_lost", "mean_confidence"]
    cat, box = document["objects"]
    assert cat == dict(zip(keys, ["cat", "mask", 1, 3, 4, 2, 1, 0.75], strict=True))
    assert box == dict(zip(keys, ["b", "box", None, 4, 4, 1, 0, None], strict=True))
    assert sum('"time_seconds"' in line for line in text.splitlines()) == 2


def test_numpy_scalars_and_nan_become_json(tmp_path):
    frame = frame_of(
        thing(
            mask_id=np.uint8(7), confidence=np.float32(0.5), lost=np.bool_(True), points=[spot(x=math.nan, y=np.float64(2), lost=np.True_)]
        ),
        masks=np.zeros((2, 2), np.uint8),
    )
    back = frame_from_dict(json.loads(json.dumps(frame_to_dict(frame), allow_nan=False)))
    assert back.masks is None
    assert back.objects[0].mask_id == 7
    assert back.objects[0].lost is True
    assert math.isnan(back.objects[0].points[0].x)
    write_tracks_csv(tmp_path / "t.csv", [frame])
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "0,00000,0.000000,cat,mask,7,1.000,2.000,3.500,4.250,nose,,2.000,0.2500,1"


def test_names_that_are_no_text_are_escaped(tmp_path):
    frame = frame_of(name="caf\udce9")
    write_tracks_json(tmp_path / "t.json", {}, [frame])
    assert json.loads((tmp_path / "t.json").read_text("utf-8"))["frames"][0]["name"] == "caf\udce9"
    write_tracks_csv(tmp_path / "t.csv", [frame_of(thing(), name="caf\udce9")])
    assert "caf\\udce9" in (tmp_path / "t.csv").read_text("utf-8")


def test_csv_rows(tmp_path):
    track = [
        frame_of(),
        frame_of(
            thing(),
            thing("b, quoted", "box", None, (-0.0001, 0.0, 1 / 3, 2.0), (), None, True),
            thing("dog", "keypoints", None, None, [spot(), spot("tail", 5.0, 6.0, None, True)], 0.125),
            index=1, name="frame1", time=1 / 30,
        ),
    ]  # fmt: skip
    write_tracks_csv(tmp_path / "t.csv", iter(track))
    raw = (tmp_path / "t.csv").read_bytes()
    assert b"\r" not in raw
    rows = list(csv.reader(raw.decode().splitlines()))
    assert rows[0] == list(CSV_COLUMNS)
    assert ",".join(rows[0]) == "frame,name,time_seconds,object,kind,mask_id,x1,y1,x2,y2,point,x,y,confidence,lost"
    start = ["1", "frame1", "0.033333"]
    assert rows[1:] == [
        [*start, "cat", "mask", "1", "1.000", "2.000", "3.500", "4.250", "", "", "", "0.5000", "0"],
        [*start, "b, quoted", "box", "", "0.000", "0.000", "0.333", "2.000", "", "", "", "", "1"],
        [*start, "dog", "keypoints", "", "", "", "", "", "nose", "1.000", "2.000", "0.2500", "0"],
        [*start, "dog", "keypoints", "", "", "", "", "", "tail", "5.000", "6.000", "", "1"],
    ]


def test_a_source_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield frame_of(thing())
        raise KeyboardInterrupt

    for write in (lambda path: write_tracks_json(path, {}, broken()), lambda path: write_tracks_csv(path, broken())):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "out")
        assert os.listdir(tmp_path) == []


def test_frames_are_streamed(tmp_path):
    seen = []

    def source():
        for index in range(20):
            masks = np.zeros((2, 2), np.uint8)
            seen.append(weakref.ref(masks))
            yield frame_of(thing(), index=index, masks=masks)
            del masks
            assert sum(reference() is not None for reference in seen) <= 1

    for write in (lambda path: write_tracks_json(path, {}, source()), lambda path: write_tracks_csv(path, source())):
        seen.clear()
        write(tmp_path / "out")
        assert len(seen) == 20


def test_reserved_header_fields_and_full_disk(tmp_path):
    with pytest.raises(ValueError, match="objects and frames"):
        write_tracks_json(tmp_path / "t.json", {"frames": 1}, [])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="where a folder is needed"):
        write_tracks_json(tmp_path / "file" / "t.json", {}, [])


@pytest.mark.parametrize(
    "change",
    [
        {"frame": None}, {"name": 3}, {"time_seconds": "x"}, {"objects": 3}, {"objects": [{}]}, {"time_seconds": True},
        {"objects": [{"kind": "blob"}]},
    ],
)  # fmt: skip
def test_damaged_frames_are_refused(change):
    with pytest.raises(OutputError, match="cannot be read back"):
        frame_from_dict(frame_to_dict(frame_of(thing())) | change)
    with pytest.raises(OutputError, match="no field 'frame'"):
        frame_from_dict({})
