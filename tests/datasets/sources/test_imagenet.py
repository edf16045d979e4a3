"""F019, boxes in XML: ImageNet-VID and ImageNet-DET."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followspot.datasets.sources.imagenet import parse_annotation, read_det, read_vid
from followspot.errors import AnnotationError, DatasetError
from followspot.io.xml_tree import parse_xml

VIDEO = "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"


def xml(*objects, width=80, height=60):
    """As ImageNet writes it; an object is ``(track, xmin, ymin, xmax, ymax)``."""
    lines = [
        f"<object>{'' if track is None else f'<trackid>{track}</trackid>'}<name>n02084071</name><bndbox><xmax>{right}</xmax>"
        f"<xmin>{left}</xmin><ymax>{bottom}</ymax><ymin>{top}</ymin></bndbox><occluded>0</occluded></object>"
        for track, left, top, right, bottom in objects
    ]
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><folder>x</folder><filename>y</filename>{size}{''.join(lines)}</annotation>"


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def vid(tmp_path, put_picture):
    """Eight frames; track 0 is away in frames 2 to 4, track 7 appears in frame 6."""
    for frame in range(8):
        objects = [(0, 10 + frame, 5, 40 + frame, 50)] * (frame not in (2, 3, 4)) + [(7, 0, 0, 20, 20)] * (frame >= 6)
        put(tmp_path / f"Annotations/VID/train/{VIDEO}/{frame:06d}.xml", xml(*objects))
        put_picture(tmp_path / f"Data/VID/train/{VIDEO}/{frame:06d}.JPEG")
    return tmp_path


@pytest.fixture
def det(tmp_path, put_picture):
    """Two photographs."""
    for name, objects in (("ILSVRC2013_train/n01/n01_1", [(None, 1, 2, 30, 40), (None, 5, 5, 60, 50)]), ("extra/a", [])):
        put(tmp_path / f"Annotations/DET/train/{name}.xml", xml(*objects))
        put_picture(tmp_path / f"Data/DET/train/{name}.JPEG")
    return tmp_path


def test_f019_every_segment_of_a_track_is_kept(vid, boxes_of):
    source = read_vid([vid])
    assert (source.card.dataset, source.card.frame_range, source.card.still) == ("vid", 100, False)
    shown, left_out = boxes_of(source)
    expected = {(VIDEO, 0, frame): (10 + frame, 5, 40 + frame, 50) for frame in (0, 1, 5, 6, 7)}
    assert shown == expected | {(VIDEO, 7, frame): (0, 0, 20, 20) for frame in (6, 7)}
    assert left_out == {}


def test_f019_photographs(det, boxes_of):
    source = read_det([det])
    assert (source.card.dataset, source.card.frame_range, source.card.still) == ("det", 1, True)
    name = "ILSVRC2013_train/n01/n01_1"
    assert boxes_of(source) == ({(name, 0, 0): (1, 2, 30, 40), (name, 1, 0): (5, 5, 60, 50)}, {})
    assert next(source.videos[1].read()).objects[0].mask is None


def test_objects_that_say_too_little_are_counted(vid, det, boxes_of):
    text = xml((None, 1, 1, 9, 9), (3, 1, 1, 30, 30)).replace("</annotation>", "<object><trackid>1</trackid></object></annotation>")
    put(vid / f"Annotations/VID/train/{VIDEO}/000002.xml", text)
    shown, left_out = boxes_of(read_vid([vid]))
    assert (VIDEO, 3, 2) in shown
    assert left_out == {"objects without a track or a box": 2}
    put(det / "Annotations/DET/train/extra/a.xml", "<annotation><object><name>x</name></object></annotation>")
    assert boxes_of(read_det([det]))[1] == {"objects without a box": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<annotation><object>", "000001.xml is not readable XML"),
        ("", "is not readable XML"),
        ("<html/>", "holds <html>, expected <annotation>"),
        (xml((0, "x", 1, 2, 3)), "object 1: bndbox/xmin is 'x', expected a number"),
        (xml((0, "nan", 1, 2, 3)), "bndbox/xmin is 'nan'"),
        (xml((1.5, 0, 1, 2, 3)), "trackid 1.5 is no whole number"),
        (xml((0, 1, 1, 30, 30), width=60, height=20), r"000001.JPEG is 80x60, but annotated as 60x20"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "declares a document type 'a', which is"),
        ('<!DOCTYPE annotation SYSTEM "http://nowhere/a.dtd"><annotation/>', "declares a document type"),
    ],
)
def test_wrong_files_are_told(vid, boxes_of, text, told):
    put(vid / f"Annotations/VID/train/{VIDEO}/000001.xml", text)
    with pytest.raises(DatasetError, match=told):
        boxes_of(read_vid([vid]))


def test_a_document_type_is_found_in_every_encoding():
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'
    with pytest.raises(AnnotationError, match="declares a document type"):
        parse_xml(text.encode("utf-16"), "a.xml")


@given(st.binary(max_size=200) | st.text(alphabet="<>/!&;ax \"'[]", max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    told = ""
    try:
        parse_annotation(parse_xml(data, "a.xml"), "a.xml")
    except AnnotationError as error:
        told = str(error)
    assert told.startswith("a.xml")


@given(st.lists(st.tuples(st.integers(0, 99), *[st.integers(0, 500)] * 4), max_size=5))
def test_what_is_written_is_read(objects):
    found = parse_annotation(ElementTree.fromstring(xml(*objects)), "a.xml")
    assert found.size == (60, 80)
    assert [(thing.track, *thing.box) for thing in found.objects] == objects


def test_missing_files_are_told(vid, boxes_of, tmp_path):
    (vid / f"Data/VID/train/{VIDEO}/000006.JPEG").unlink()
    with pytest.raises(DatasetError, match=r"000006.JPEG is missing, though it is annotated"):
        boxes_of(read_vid([vid]))
    with pytest.raises(DatasetError, match="DET/train is missing; give the folder that holds Data and Annotations"):
        read_det([vid])
    for folder in ("Annotations", "Data"):
        (tmp_path / folder / "DET/train").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"holds no .xml"):
        read_det([tmp_path])
