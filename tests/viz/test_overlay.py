"""Overlays: what is tracked shows, in its own colour, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from followspot.errors import AnnotationError, SettingError
from followspot.types import TrackedFrame, TrackedObject, TrackedPoint
from followspot.viz.overlay import PALETTE, _font_for, _letters, colour_of, contact_sheet, draw

GREY = np.full((120, 160, 3), 90, np.uint8)


def thing(kind="mask", *, name="", mask_id=None, box=None, points=(), confidence=None, lost=False):
    return TrackedObject(name=name, kind=kind, mask_id=mask_id, box=box, points=points, confidence=confidence, lost=lost)


def point(x, y, *, lost=False):
    return TrackedPoint(name="p", x=x, y=y, confidence=None, lost=lost)


def frame(*objects, masks=None, maps=None):
    return TrackedFrame(index=0, name="00000", time_seconds=0.0, masks=masks, maps=maps, objects=objects)


def disc(*, object_id=1, centre=(80, 70), radius=20):
    y, x = np.mgrid[:120, :160]
    return np.where(np.hypot(x - centre[0], y - centre[1]) <= radius, object_id, 0).astype(np.uint8)


def towards(picture, at, colour):
    """How much nearer than grey a pixel is to a colour, 0..1."""
    pixel = picture[at[1], at[0]].astype(float)
    return 1 - np.abs(pixel - colour).sum() / np.abs(90.0 - np.array(colour)).sum()


def test_masks_are_tinted_and_outlined_and_the_rest_is_left():
    ids = disc()
    source = GREY.copy()
    picture = draw(source, frame(thing(mask_id=1, box=(60, 50, 101, 91)), masks=ids))
    assert picture.dtype == np.uint8
    assert (source == 90).all()
    assert 0.3 < towards(picture, (80, 70), colour_of(0)) < 0.6
    assert towards(picture, (60, 70), colour_of(0)) > 0.7
    assert (picture[95:] == 90).all()
    assert (picture[:, :50] == 90).all()


def test_contours_do_not_need_the_box():
    ids = disc()
    np.testing.assert_array_equal(
        draw(GREY, frame(thing(mask_id=1), masks=ids))[60:], draw(GREY, frame(thing(mask_id=1, box=(60, 50, 101, 91)), masks=ids))[60:]
    )


def test_ids_without_an_object_are_tinted_in_their_own_colour():
    picture = draw(GREY, frame(masks=disc(object_id=7)))
    assert towards(picture, (80, 70), colour_of(6)) > 0.3


def test_no_masks_no_change():
    np.testing.assert_array_equal(draw(GREY, frame()), GREY)


def test_the_same_object_keeps_its_colour():
    one = draw(GREY, frame(thing(mask_id=2), thing(mask_id=1), masks=disc(object_id=2)))
    two = draw(GREY, frame(thing(mask_id=2), masks=disc(object_id=2)))
    np.testing.assert_array_equal(one[60:, 80], two[60:, 80])


def test_lost_masks_are_grey_and_dashed():
    ids = disc()
    picture = draw(GREY, frame(thing(mask_id=1, box=(60, 50, 101, 91), lost=True), masks=ids)).astype(int)
    assert np.ptp(picture[70:], axis=2).max() == 0
    whole = draw(GREY, frame(thing(mask_id=1, box=(60, 50, 101, 91)), masks=ids))
    ring = disc() != disc(radius=18)
    ring[:70] = False
    assert (picture[ring].max(1) > 140).mean() < 0.85 * (whole[ring].max(1) > 140).mean()


def test_boxes_are_drawn_on_their_edges():
    picture = draw(GREY, frame(thing("box", box=(40, 30, 100, 90))))
    for at in ((40, 60), (99, 60), (70, 89)):
        assert towards(picture, at, colour_of(0)) > 0.5
    assert (picture[50:70, 50:90] == 90).all()


def test_a_rotated_box_is_drawn_instead_of_the_upright_one():
    turned = replace(thing("box", box=(40, 30, 120, 90)), polygon=((80.0, 30.0), (120.0, 60.0), (80.0, 90.0), (40.0, 60.0)))
    picture = draw(GREY, frame(turned))
    assert towards(picture, (60, 44), colour_of(0)) > 0.5
    assert (picture[31, 100:125] == 90).all()


def test_lost_boxes_are_dashed():
    solid, dashed = (draw(GREY, frame(thing("box", box=(40, 30, 100, 90), lost=lost))) for lost in (False, True))
    assert (solid[35:85, 39:41] != 90).any((1, 2)).all()
    assert 0.3 < (dashed[35:85, 40] > 130).all(1).mean() < 0.75


def test_points_and_lost_points():
    picture = draw(GREY, frame(thing("point", points=(point(50.0, 60.0),))))
    assert towards(picture, (50, 60), colour_of(0)) > 0.95
    cross = draw(GREY, frame(thing("point", points=(point(50.0, 60.0, lost=True),), lost=True)))
    assert np.ptp(cross[60, 50].astype(int)) == 0
    assert (cross[60, 50] != 90).all()
    nowhere = draw(GREY, frame(thing("point", points=(point(np.nan, np.nan, lost=True),), lost=True)))
    assert (nowhere[40:] == 90).all()


def test_keypoints_are_joined_by_the_skeleton_of_their_name():
    body = thing("keypoints", name="body", points=(point(30, 60), point(90, 60)))
    joined = draw(GREY, frame(body), skeletons={"body": ((0, 1),)})
    loose = draw(GREY, frame(body), skeletons={"other": ((0, 1),)})
    assert towards(joined, (60, 60), colour_of(0)) > 0.8
    assert (loose[60, 60] == 90).all()
    assert towards(loose, (30, 60), colour_of(0)) > 0.8


def test_maps_are_tinted_by_their_weight():
    weights = np.zeros((1, 120, 160), np.float32)
    weights[0, 60:80, 40:80], weights[0, 60:80, 80:120] = 1, 0.5
    picture = draw(GREY, frame(thing("map"), maps=weights))
    strong, weak = towards(picture, (60, 70), colour_of(0)), towards(picture, (100, 70), colour_of(0))
    assert strong == pytest.approx(2 * weak, abs=0.05)
    assert strong > 0.4


def test_labels_say_name_and_confidence_and_do_not_overlap():
    box = (40.0, 50.0, 100.0, 90.0)
    plain = draw(GREY, frame(thing("box", name="cat", box=box)))
    sure = draw(GREY, frame(thing("box", name="cat", box=box, confidence=0.93)))
    assert (sure[30:46] != 90).any(2).any(0).sum() > (plain[30:46] != 90).any(2).any(0).sum()
    two = draw(GREY, frame(thing("box", name="cat", box=box), thing("box", name="dog", box=box)))
    tags = [np.abs(two.astype(int) - 0.85 * np.array(colour_of(k)) - 13.5).sum(2) < 12 for k in (0, 1)]
    assert tags[0].sum() > 50
    assert tags[1].sum() > 50


def test_lost_objects_without_a_place_are_listed_at_the_left_edge():
    picture = draw(GREY, frame(thing("box", name="cat", lost=True), thing("box", name="dog", lost=True)))
    rows = (picture != 90).any(2).any(1)
    assert rows[:40].sum() > 20
    assert not rows[60:].any()


@pytest.mark.parametrize("size", [(8, 8), (20, 400), (1080, 40)])
def test_any_size_of_picture(size):
    image = np.zeros((*size, 3), np.uint8)
    body = thing("box", name="a rather long name of something", box=(-50.0, -50.0, 1e6, 1e6), confidence=1.0)
    assert draw(image, frame(body)).shape == image.shape


def test_lines_grow_with_the_picture():
    widths = []
    for scale in (1, 4):
        image = np.full((300 * scale, 400 * scale, 3), 90, np.uint8)
        picture = draw(image, frame(thing("box", box=(100.0 * scale, 100.0 * scale, 300.0 * scale, 200.0 * scale))))
        widths.append((picture[150 * scale, : 200 * scale] != 90).any(1).sum())
    assert widths[1] >= widths[0] + 3


def test_names_beyond_ascii_are_written(monkeypatch):
    assert _letters("zoë", 14).sum() > 0
    monkeypatch.setattr("followspot.viz.overlay._WIDE_FONTS", ("no-such-font.ttf",))
    assert _font_for("zoë 猫", 14)[1] == "zoe ?"
    assert _font_for("plain", 14)[1] == "plain"


def test_palette_colours_stay_apart():
    colours = np.array([colour_of(k) for k in range(20)], float)
    gaps = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1e3 * np.eye(20)
    assert gaps.min() > 30
    assert len(set(PALETTE)) == len(PALETTE)
    assert all(0 <= channel <= 255 for k in range(300) for channel in colour_of(k))


def test_contact_sheet_places_pictures_in_rows():
    pictures = [np.full((30, 40, 3), 100 + k, np.uint8) for k in range(5)]
    sheet = contact_sheet(pictures, columns=3)
    assert sheet.shape == (2 * 32 + 2, 3 * 42 + 2, 3)
    assert sheet[10, 50].tolist() == [101] * 3
    assert sheet[40, 10].tolist() == [103] * 3
    assert sheet[40, 100].tolist() == [24] * 3


def test_contact_sheet_of_unequal_pictures_centres_them():
    sheet = contact_sheet([np.full((30, 40, 3), 200, np.uint8), np.full((10, 20, 3), 210, np.uint8)], columns=9)
    assert sheet.shape == (34, 86, 3)
    assert (sheet[12:22, 54:74] == 210).all()
    assert (sheet[:11, 45:] == 24).all()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: draw(GREY[..., 0], frame()), AnnotationError, "RGB uint8"),
        (lambda: draw(GREY.astype(float), frame()), AnnotationError, "float64"),
        (lambda: draw(GREY, frame(masks=np.zeros((5, 5), np.uint8))), AnnotationError, r"masks are \(5, 5\)"),
        (lambda: draw(GREY, frame(maps=np.zeros((1, 5, 5), np.float32))), AnnotationError, "maps are"),
        (lambda: contact_sheet([], columns=2), SettingError, "0 and 2"),
        (lambda: contact_sheet([GREY], columns=0), SettingError, "1 and 0"),
    ],
)
def test_errors_say_what_to_do(call, error, says):
    with pytest.raises(error, match=says):
        call()
