"""Annotations drawn as if they were answers."""

import numpy as np
import pytest

from followspot.errors import AnnotationError
from followspot.types import Boxes, Frame, Keypoints, LabelMaps, Masks, Points
from followspot.viz.annotated import draw_annotations

GREY = np.full((60, 80, 3), 128, np.uint8)


def changed(annotation):
    """Pixels (H, W) that drawing changed."""
    frame = Frame(image=GREY, index=3, time_seconds=0.0, name="00003")
    picture = draw_annotations(frame, [annotation])
    assert picture.shape == GREY.shape
    assert (GREY == 128).all()
    return (picture != GREY).any(axis=2)


def test_each_kind_is_drawn_where_it_is():
    ids = np.zeros((60, 80), np.uint8)
    ids[30:50, 40:70] = 5
    assert changed(Masks(ids=ids))[30:50, 40:70].all()
    outline = changed(Boxes(xyxy=np.array([[40.0, 20.0, 70.0, 50.0]]), names=("b",)))
    assert outline[35, 40]
    assert outline[35, 69]
    assert not outline[35, 55]
    assert changed(Points(xy=np.array([[60.0, 40.0]]), names=("p",)))[40, 60]
    joints = changed(Keypoints(xy=np.array([[40.0, 40.0], [70.0, 40.0], [np.nan, np.nan]]), joints=("a", "b", "c"), skeleton=((0, 1),)))
    assert joints[40, 41:69].all()


def test_soft_maps_are_left_out():
    frame = Frame(image=GREY, index=0, time_seconds=0.0, name="0")
    maps = LabelMaps(weights=np.ones((1, 60, 80), np.float32), names=("m",))
    assert (draw_annotations(frame, [maps]) == GREY).all()


def test_masks_of_another_size_are_refused():
    with pytest.raises(AnnotationError, match="masks are"):
        changed(Masks(ids=np.ones((30, 40), np.uint8)))
