"""From label maps to an answer: read out, put annotations back exactly as given, and say how sure it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from followspot.ops.box_frame import decode_box_frame
from followspot.ops.masks import mask_box
from followspot.ops.points import encode_points
from followspot.tracking.channels import Channels
from followspot.tracking.confidence import BOXES, LOST_BELOW, MASKS, POINTS, Agreement, Anchor, Calibration, agreement, box_agreement
from followspot.types import Annotation, Boxes, Frame, Keypoints, LabelMaps, Masks, Points, TrackedFrame, TrackedObject, TrackedPoint

Key = tuple[str, str, str]
"""Role, object and joint: what `Channel.key` gives."""


def answer(
    frame: Frame,
    channels: Channels,
    labels: Tensor,
    *,
    features: Tensor | None,
    anchors: Mapping[str, Anchor],
    fixed: frozenset[Key] = frozenset(),
    annotations: Sequence[Annotation] = (),
) -> TrackedFrame:
    """Reads label maps out and says how sure that is.

    Args:
        frame: the frame the labels are of.
        channels: the books.
        labels: ``(L, h, w)``.
        features: ``(C, h, w)`` of the frame; None leaves confidence out.
        anchors: for each object the annotated frame it is compared with.
        fixed: keys of the channels that are annotated on this very frame.
        annotations: those annotations; they are returned exactly as given.

    Returns:
        The answer for the frame.
    """
    decoded = channels.decode(labels)
    masks = paste_masks(decoded.masks, channels, annotations)
    annotated = {name for _, name, _ in fixed}
    objects = [_exact(o, annotations, masks) if o.name in annotated else o for o in decoded.objects]
    if features is not None:
        sure = _confidences(channels, labels, features, anchors, decoded.objects)
        objects = [_with_confidence(o, sure | dict.fromkeys(fixed, 1.0)) for o in objects]
    return TrackedFrame(
        index=frame.index,
        name=frame.name,
        time_seconds=frame.time_seconds,
        masks=masks,
        maps=_paste_maps(decoded.maps, channels, annotations),
        objects=tuple(objects),
    )


def journeys(
    channels: Channels, labels: Tensor, features: Tensor, anchor: Anchor, *, rows: Sequence[int], objects: Sequence[TrackedObject]
) -> dict[int, tuple[Calibration, Agreement, int]]:
    """Sends the answers of some channels back to one annotated frame.

    Args:
        channels: the books.
        labels: ``(L, h, w)`` of this frame.
        features: ``(C, h, w)`` of this frame.
        anchor: the annotated frame.
        rows: the channels to ask about; of a box only its "box" channel is.
        objects: what was read out of the labels.

    Returns:
        By channel: the model for its kind, figures, and its row in them.
    """
    boxes = [i for i in rows if channels.items[i].role == "box"]
    answers: dict[int, tuple[Calibration, Agreement, int]] = {}
    if boxes:
        names = [channels.items[i].name for i in boxes]
        now = {o.name: o.box for o in objects if o.kind == "box"}
        then = [decode_box_frame(anchor.labels[channels.frame(name)], channels.image_size) for name in names]
        present = [now[name] for name in names]
        figures = box_agreement(features, labels, anchor, boxes, boxes=present, given=then, image_size=channels.image_size)
        answers |= {i: (BOXES, figures, row) for row, i in enumerate(boxes)}
    for model, roles in ((MASKS, ("mask", "map")), (POINTS, ("point", "keypoints"))):
        mine = [i for i in rows if channels.items[i].role in roles]
        if mine:
            drawn = _drawn_points(channels, mine, objects) if model is POINTS else None
            figures = agreement(features, labels, anchor, mine, drawn=drawn)
            answers |= {i: (model, figures, row) for row, i in enumerate(mine)}
    return answers


def _drawn_points(channels: Channels, rows: Sequence[int], objects: Sequence[TrackedObject]) -> Tensor:
    spots: dict[tuple[str, str, str], tuple[float, float]] = {(o.kind, o.name, p.name): (p.x, p.y) for o in objects for p in o.points}
    xy = np.array([spots[channels.items[i].key] for i in rows], np.float64)
    return encode_points(xy, channels.image_size, channels.grid)


def _confidences(
    channels: Channels, labels: Tensor, features: Tensor, anchors: Mapping[str, Anchor], objects: Sequence[TrackedObject]
) -> dict[Key, float]:
    sure: dict[Key, float] = {}
    for anchor in {id(a): a for a in anchors.values()}.values():
        mine = [i for i, c in enumerate(channels.items) if c.name and anchors.get(c.name) is anchor]
        found = journeys(channels, labels, features, anchor, rows=mine, objects=objects)
        overlaps = {model: model.expected_overlap(figures).tolist() for model, figures, _ in found.values()}
        sure |= {channels.items[i].key: overlaps[model][row] for i, (model, _, row) in found.items()}
    return sure


def _with_confidence(item: TrackedObject, sure: Mapping[Key, float]) -> TrackedObject:
    if item.points:
        points = []
        for p in item.points:
            figure = 0.0 if p.lost else sure[(item.kind, item.name, p.name)]
            points.append(replace(p, confidence=figure, lost=figure < LOST_BELOW))
        mean = sum(p.confidence or 0.0 for p in points) / len(points)
        return replace(item, points=tuple(points), confidence=mean, lost=mean < LOST_BELOW)
    figure = 0.0 if item.lost else sure[(item.kind, item.name, "")]
    return replace(item, confidence=figure, lost=figure < LOST_BELOW)


def paste_masks(predicted: NDArray[np.uint8] | None, channels: Channels, annotations: Sequence[Annotation]) -> NDArray[np.uint8] | None:
    """Puts annotated masks over predicted ones: what is listed is as given, the rest stays where that leaves room.

    Args:
        predicted: id map ``(H, W)``, or None where no object is a mask.
        channels: the books, which know the ids of the annotated names.
        annotations: of the frame.

    Returns:
        A new id map, or None.
    """
    if predicted is None:
        return None
    ids_of = {c.name: c.mask_id or 0 for c in channels.items if c.role == "mask"}
    for annotation in annotations:
        if isinstance(annotation, Masks):
            listed = [int(i) for i in np.unique(annotation.ids) if i]
            table = np.zeros(256, np.uint8)
            for i in listed:
                table[i] = ids_of[annotation.name_of(i)]
            given = table[annotation.ids]
            again = np.isin(predicted, [ids_of[annotation.name_of(i)] for i in listed])
            predicted = np.where(given > 0, given, np.where(again, 0, predicted)).astype(np.uint8)
    return predicted


def _paste_maps(predicted: NDArray[np.float32] | None, channels: Channels, annotations: Sequence[Annotation]) -> NDArray[np.float32] | None:
    if predicted is None:
        return None
    order = [channels.items[i].name for i in channels.indices("map")]
    for annotation in annotations:
        if isinstance(annotation, LabelMaps):
            for name, weights in zip(annotation.names, annotation.weights, strict=True):
                predicted[order.index(name)] = weights
    return predicted


def _exact(item: TrackedObject, annotations: Sequence[Annotation], masks: NDArray[np.uint8] | None) -> TrackedObject:
    """The object as it was annotated on this frame, not as it came out of the grid."""
    for annotation in annotations:
        match annotation, item.kind:
            case Boxes(), "box" if item.name in annotation.names:
                x1, y1, x2, y2 = (float(v) for v in annotation.xyxy[annotation.names.index(item.name)])
                return replace(item, box=(x1, y1, x2, y2), lost=False)
            case Points(), "point" if item.name in annotation.names:
                x, y = annotation.xy[annotation.names.index(item.name)]
                spot = TrackedPoint(name=item.name, x=float(x), y=float(y), confidence=None, lost=False)
                return replace(item, points=(spot,), lost=False)
            case Keypoints(), "keypoints" if item.name == annotation.name:
                where = dict(zip(annotation.joints, annotation.xy.tolist(), strict=True))
                points = tuple(
                    replace(p, x=where[p.name][0], y=where[p.name][1], lost=False) if np.isfinite(where.get(p.name, (np.nan,))).all() else p
                    for p in item.points
                )
                return replace(item, points=points, lost=all(p.lost for p in points))
            case _:
                pass
    if item.kind == "mask" and masks is not None:
        box = mask_box(masks == item.mask_id)
        return replace(item, box=box, lost=box is None)
    return item
