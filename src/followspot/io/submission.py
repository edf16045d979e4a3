"""Archives of masks as the servers of benchmarks take them."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from followspot.io.files import atomic_path
from followspot.io.masks import encode_mask

# The earliest date that a ZIP file knows; the true one would make the same masks give other bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_submission(archive: Path, masks: Iterable[tuple[str, NDArray[np.uint8]]]) -> int:
    """Writes id maps into a ZIP file, as indexed PNGs with the palette of DAVIS; the same masks give the same bytes.

    Args:
        archive: appears only when complete.
        masks: name in the archive (``Annotations/cat/00005.png``), and ids ``(H, W)``.

    Returns:
        How many there were.

    Raises:
        OutputError: the archive cannot be written.
    """
    number = 0
    # PNGs are compressed already.
    with atomic_path(archive) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
        for name, ids in masks:
            file.writestr(zipfile.ZipInfo(name, _DATE), encode_mask(ids))
            number += 1
    return number
