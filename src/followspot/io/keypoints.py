"""Named joints from JSON files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from followspot.errors import AnnotationError
from followspot.io.fields import as_count, as_list, as_mapping, as_mappings, as_numbers, as_size, as_text, check_size, load_json
from followspot.types import Keypoints


def read_keypoints(path: Path | str, *, size: tuple[int, int] | None = None) -> dict[int | None, tuple[Keypoints, ...]]:
    """Read joints.

    Three layouts are told apart by their fields:

    * ours: ``{"objects": [{"name": "dog", "joints": {"nose": [x, y], "tail": null}, "skeleton": [["nose", "tail"]], "frame": 0}]}``;
      ``skeleton`` and ``frame`` may be left out;
    * BADJA-like, one object over time: ``{"sequence", "joint_names": [K], "frames": [T], "xy": [T][K] of [x, y] or null}``,
      ``resolution`` [width, height] and ``visible`` [T][K] of 0 or 1 may be left out;
    * COCO keypoints of one image; see :func:`followspot.io.coco.read_coco`.

    Coordinates are taken as they are: pixel centres at whole numbers.

    Args:
        path: the JSON file.
        size: ``(H, W)`` of the video's frames, if known.

    Returns:
        Frame index (from 0) -> objects; under None those whose frame the file does not say.

    Raises:
        AnnotationError: not such a file, or drawn on frames of another size.
    """
    path = Path(path)
    document = load_json(path)
    if "joint_names" in document:
        return _read_sequence(document, path, size)
    if "objects" in document:
        return _read_objects(document, path)
    if "annotations" in document:
        return {None: _read_coco_image(path, size)}
    raise AnnotationError(f'{path} has neither "objects" nor "joint_names" nor "annotations"; see followspot.io.keypoints for the layouts')


def _read_objects(document: Mapping[str, object], path: Path) -> dict[int | None, tuple[Keypoints, ...]]:
    found: dict[int | None, list[Keypoints]] = {}
    for place, entry in enumerate(as_mappings(document["objects"], f"{path}: objects")):
        where = f"{path}: objects[{place}]"
        joints = as_mapping(entry.get("joints"), f"{where}.joints")
        frame = None if entry.get("frame") is None else as_count(entry["frame"], f"{where}.frame")
        keypoints = Keypoints(
            xy=_joint_array(list(joints.values()), f"{where}.joints"),
            joints=tuple(joints),
            skeleton=_limbs(entry.get("skeleton") or [], list(joints), f"{where}.skeleton"),
            name=as_text(entry.get("name", "keypoints"), f"{where}.name"),
        )
        found.setdefault(frame, []).append(keypoints)
    if not found:
        raise AnnotationError(f"{path}: objects is empty; add at least one object with joints")
    return {frame: tuple(objects) for frame, objects in found.items()}


def _read_sequence(document: Mapping[str, object], path: Path, size: tuple[int, int] | None) -> dict[int | None, tuple[Keypoints, ...]]:
    if document.get("resolution") is not None:
        width, height = as_numbers(document["resolution"], f"{path}: resolution", count=2)
        check_size(as_size(height, width, f"{path}: resolution"), size, str(path))
    joints = tuple(as_text(name, f"{path}: joint_names") for name in as_list(document["joint_names"], f"{path}: joint_names"))
    frames = [as_count(frame, f"{path}: frames") for frame in as_list(document.get("frames"), f"{path}: frames")]
    rows = as_list(document.get("xy"), f"{path}: xy")
    visible = as_list(document.get("visible") or [None] * len(rows), f"{path}: visible")
    if not frames or not len(frames) == len(rows) == len(visible) or len(set(frames)) != len(frames):
        raise AnnotationError(
            f"{path}: lists {len(frames)} frames ({len(set(frames))} different), {len(rows)} rows of xy and {len(visible)} of visible; "
            "these must agree"
        )
    name = as_text(document.get("sequence", "keypoints"), f"{path}: sequence")
    found: dict[int | None, tuple[Keypoints, ...]] = {}
    for place, (frame, row, seen) in enumerate(zip(frames, rows, visible, strict=True)):
        xy = _joint_array(as_list(row, f"{path}: xy[{place}]"), f"{path}: xy[{place}]")
        flags = [1.0] * len(joints) if seen is None else as_numbers(seen, f"{path}: visible[{place}]")
        if not len(xy) == len(flags) == len(joints):
            raise AnnotationError(
                f"{path}: row {place} has {len(xy)} joints and {len(flags)} flags for {len(joints)} names; correct the file"
            )
        xy[np.equal(flags, 0)] = np.nan
        found[frame] = (Keypoints(xy=xy, joints=joints, name=name),)
    return found


def _read_coco_image(path: Path, size: tuple[int, int] | None) -> tuple[Keypoints, ...]:
    from followspot.io.coco import read_coco

    images = read_coco(path, size=size)
    if len(images) > 1:
        raise AnnotationError(f"{path} annotates {len(images)} images; read it with read_coco, and say which by file_name")
    found = tuple(a for annotations in images.values() for a in annotations if isinstance(a, Keypoints))
    if not found:
        raise AnnotationError(f"{path} has no annotated joints; annotate keypoints, or read it with read_coco")
    return found


def _joint_array(values: Sequence[object], where: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows = [[np.nan, np.nan] if value is None else as_numbers(value, f"{where}[{place}]", count=2) for place, value in enumerate(values)]
    if not rows:
        raise AnnotationError(f"{where}: no joints; name at least one")
    return np.array(rows, np.float64)


def _limbs(value: object, joints: list[str], where: str) -> tuple[tuple[int, int], ...]:
    limbs = []
    for place, limb in enumerate(as_list(value, where)):
        ends = as_list(limb, f"{where}[{place}]")
        if len(ends) != 2 or any(end not in joints for end in ends):
            raise AnnotationError(f"{where}[{place}]: a limb joins two of the joints {', '.join(joints)}; got {str(ends)[:60]}")
        limbs.append((joints.index(str(ends[0])), joints.index(str(ends[1]))))
    return tuple(limbs)
