"""From labelled shapes to objects: one name each, and one id map for all regions of a frame."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from followspot.errors import AnnotationError
from followspot.types import Masks


class Names:
    """Gives every object of a file its own name: ``cat``, ``cat 2``, ``cat 3``.

    >>> names = Names()
    >>> [names.next(label) for label in ("cat", "dog", "cat", "cat 2", "cat")]
    ['cat', 'dog', 'cat 2', 'cat 2 2', 'cat 3']
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def next(self, label: str) -> str:
        """The first free name for another object with this label."""
        name, number = label, 1
        while name in self._taken:
            number += 1
            name = f"{label} {number}"
        self._taken.add(name)
        return name


def masks_of_regions(regions: Sequence[tuple[str, NDArray[np.bool_]]], where: str, *, small_on_top: bool) -> Masks:
    """Lay regions over each other in one id map.

    Args:
        regions: name and ``(H, W)`` bool region of each object; ids count from 1 in this order.
        where: what errors name.
        small_on_top: smaller regions cover larger ones; otherwise later ones cover earlier ones.

    Returns:
        Masks with all the names.

    Raises:
        AnnotationError: more than 255 objects, or one that has no pixel or is wholly covered by others.
    """
    if len(regions) > 255:
        raise AnnotationError(f"{where}: {len(regions)} objects in one image; at most 255 fit into one id map, leave some out")
    ids = np.zeros(regions[0][1].shape, np.uint8)
    places = list(range(len(regions)))
    if small_on_top:
        places.sort(key=lambda place: -int(regions[place][1].sum()))
    for place in places:
        ids[regions[place][1]] = place + 1
    for object_id, (name, region) in enumerate(regions, 1):
        if not (ids == object_id).any():
            why = "is wholly covered by other objects" if region.any() else "is so small or so far outside that it covers no pixel"
            raise AnnotationError(f"{where}: {name!r} {why}; remove it or draw it anew")
    return Masks(ids=ids, names={object_id: name for object_id, (name, _) in enumerate(regions, 1)})
