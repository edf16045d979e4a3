"""Annotations in COCO's JSON layout."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.io.fields import as_count, as_list, as_mapping, as_mappings, as_numbers, as_size, as_text, check_size, load_json
from followspot.io.files import nearest
from followspot.io.objects import Names, masks_of_regions
from followspot.io.raster import decode_runs, fill_polygon, unpack_counts
from followspot.types import Annotation, Boxes, Keypoints


@dataclass(frozen=True)
class _Category:
    name: str
    joints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]


@dataclass
class _Image:
    stem: str
    size: tuple[int, int] | None
    names: Names = field(default_factory=Names)
    regions: list[tuple[str, NDArray[np.bool_]]] = field(default_factory=list)
    boxes: list[tuple[str, list[float]]] = field(default_factory=list)
    keypoints: list[Keypoints] = field(default_factory=list)


def read_coco(
    path: Path | str, *, file_name: str | None = None, stems: Collection[str] | None = None, size: tuple[int, int] | None = None
) -> dict[str, tuple[Annotation, ...]]:
    """Read a COCO file: instances, keypoints or both.

    An annotation becomes keypoints if it has any annotated joint, else a region of the image's id map if it has a segmentation
    (polygons, or run lengths plain or compressed), else a box. Smaller regions cover larger ones. ``iscrowd`` changes nothing, since
    annotation tools also set it for single objects saved as run lengths. Objects are called by their category: ``dog``, ``dog 2``.
    COCO's boxes and polygons count from the corner of the top-left pixel, as our boxes do; its keypoints are pixel indices, as our
    points are.

    Args:
        path: the JSON file.
        file_name: only this image (its ``file_name``, with or without folder and suffix).
        stems: only images with one of these file stems.
        size: ``(H, W)`` of the video's frames, if known.

    Returns:
        Image file stem -> its annotations, for images that have some.

    Raises:
        AnnotationError: not such a file, no such image, drawn on images of another size, or an annotation that is no object.
    """
    path = Path(path)
    document = load_json(path)
    categories = _read_categories(document, path)
    images = _read_images(document, path, file_name=file_name, stems=stems)
    for place, entry in enumerate(as_mappings(document.get("annotations"), f"{path}: annotations")):
        where = f"{path}: annotations[{place}]"
        image = images.get(_key(entry.get("image_id"), f"{where}.image_id"))
        if image is not None:
            check_size(image.size, size, f"{path}: image {image.stem}")
            _add_annotation(entry, image, categories, where)
    found = {image.stem: _assemble(image, path) for image in images.values() if image.regions or image.boxes or image.keypoints}
    if not found:
        raise AnnotationError(f"{path} annotates none of its {len(images)} images asked for; annotate at least one object")
    return found


def _read_categories(document: Mapping[str, object], path: Path) -> dict[int | str, _Category]:
    categories = {}
    for place, entry in enumerate(as_mappings(document.get("categories", []), f"{path}: categories")):
        where = f"{path}: categories[{place}]"
        joints = tuple(as_text(name, f"{where}.keypoints") for name in as_list(entry.get("keypoints") or [], f"{where}.keypoints"))
        limbs = [as_numbers(limb, f"{where}.skeleton", count=2) for limb in as_list(entry.get("skeleton") or [], f"{where}.skeleton")]
        # COCO numbers the joints of a limb from 1.
        skeleton = tuple((int(first) - 1, int(second) - 1) for first, second in limbs)
        key = _key(entry.get("id"), f"{where}.id")
        categories[key] = _Category(name=as_text(entry.get("name"), f"{where}.name"), joints=joints, skeleton=skeleton)
    return categories


def _read_images(
    document: Mapping[str, object], path: Path, *, file_name: str | None, stems: Collection[str] | None
) -> dict[int | str, _Image]:
    images: dict[int | str, _Image] = {}
    files: dict[str, str] = {}
    all_files: list[str] = []
    for place, entry in enumerate(as_mappings(document.get("images"), f"{path}: images")):
        where = f"{path}: images[{place}]"
        file = as_text(entry.get("file_name"), f"{where}.file_name").replace("\\", "/")
        all_files.append(file)
        stem = PurePosixPath(file).stem
        if (file_name is not None and not _is_called(file, file_name)) or (stems is not None and stem not in stems):
            continue
        if stem in files:
            raise AnnotationError(f"{path}: two images are called {stem} ({files[stem]} and {file}); say which by file_name")
        files[stem] = file
        sized = entry.get("height") is not None and entry.get("width") is not None
        size = as_size(entry["height"], entry["width"], where) if sized else None
        images[_key(entry.get("id"), f"{where}.id")] = _Image(stem=stem, size=size)
    if not images:
        near = nearest(file_name, all_files) if file_name is not None else None
        meant = f"did you mean {near}?" if near else f"it has {', '.join(all_files[:3]) or 'none'}{', ...' if len(all_files) > 3 else ''}"
        asked = repr(file_name) if file_name is not None else "like one of the video's frames" if stems is not None else "anything"
        raise AnnotationError(f"{path} has no image called {asked}; {meant}")
    return images


def _is_called(file: str, name: str) -> bool:
    path = PurePosixPath(file)
    return name in (file, path.name, path.stem) or file.endswith(f"/{name}")


def _key(value: object, where: str) -> int | str:
    if not isinstance(value, int | str):
        raise AnnotationError(f"{where}: expected an id (a whole number), got {str(value)[:40]!r}; correct the file")
    return value


def _add_annotation(entry: Mapping[str, object], image: _Image, categories: Mapping[int | str, _Category], where: str) -> None:
    key = _key(entry.get("category_id"), f"{where}.category_id")
    if key not in categories:
        raise AnnotationError(f"{where}: category {key!r} is not among the file's categories; add it there")
    category = categories[key]
    xy = _joints(entry, category, where)
    if xy is not None and not np.isnan(xy).all():
        name = image.names.next(category.name)
        image.keypoints.append(Keypoints(xy=xy, joints=category.joints, skeleton=category.skeleton, name=name))
    elif entry.get("segmentation"):
        region = decode_region(entry["segmentation"], image.size, f"{where}.segmentation")
        image.regions.append((image.names.next(category.name), region))
    elif entry.get("bbox"):
        x, y, width, height = as_numbers(entry["bbox"], f"{where}.bbox", count=4)
        image.boxes.append((image.names.next(category.name), [x, y, x + width, y + height]))
    else:
        raise AnnotationError(f"{where}: has no keypoints, segmentation or bbox; remove it or annotate it")


def _joints(entry: Mapping[str, object], category: _Category, where: str) -> NDArray[np.float64] | None:
    if not entry.get("keypoints"):
        return None
    triples = np.array(as_numbers(entry["keypoints"], f"{where}.keypoints", count=3 * len(category.joints))).reshape(-1, 3)
    # v = 0: not annotated (x and y are then 0); 1: annotated but hidden; 2: visible.
    triples[triples[:, 2] == 0] = np.nan
    return triples[:, :2].copy()


def decode_region(value: object, size: tuple[int, int] | None, where: str) -> NDArray[np.bool_]:
    """The pixels of a ``segmentation``.

    Args:
        value: run lengths, plain or compressed, or a list of polygons; no polygon covers nothing.
        size: ``(H, W)`` of the image; run lengths say it themselves.
        where: what errors name.

    Returns:
        ``(H, W)``.

    Raises:
        AnnotationError: it is neither, or of another size.
    """
    if isinstance(value, Mapping):
        return _decode(as_mapping(value, where), size, where)
    if size is None:
        raise AnnotationError(f"{where}: a polygon needs the image's height and width; add them to its entry under images")
    region = np.zeros(size, np.bool_)
    for part in as_list(value, where):
        numbers = as_numbers(part, where)
        if len(numbers) < 6 or len(numbers) % 2:
            raise AnnotationError(f"{where}: a polygon is x1,y1,x2,y2,x3,y3,..., got {len(numbers)} numbers; correct the file")
        region |= fill_polygon(np.reshape(numbers, (-1, 2)), height=size[0], width=size[1])
    return region


def _decode(coded: Mapping[str, object], size: tuple[int, int] | None, where: str) -> NDArray[np.bool_]:
    stated = as_numbers(coded.get("size"), f"{where}.size", count=2)
    height, width = as_size(stated[0], stated[1], where)
    if size is not None and size != (height, width):
        raise AnnotationError(f"{where}: the mask is {width}x{height}, but its image {size[1]}x{size[0]}; export the file again")
    counts = coded.get("counts")
    if isinstance(counts, str):
        runs = unpack_counts(counts, where=where)
    else:
        runs = [as_count(run, f"{where}.counts") for run in as_list(counts, f"{where}.counts")]
    return decode_runs(runs, height=height, width=width, where=where)


def _assemble(image: _Image, path: Path) -> tuple[Annotation, ...]:
    annotations: list[Annotation] = []
    if image.regions:
        shapes = {region.shape for _, region in image.regions}
        if len(shapes) > 1:
            raise AnnotationError(f"{path}: image {image.stem} has masks of several sizes; give its height and width under images")
        annotations.append(masks_of_regions(image.regions, f"{path}: image {image.stem}", small_on_top=True))
    if image.boxes:
        annotations.append(Boxes(xyxy=np.array([box for _, box in image.boxes]), names=tuple(name for name, _ in image.boxes)))
    return (*annotations, *image.keypoints)
