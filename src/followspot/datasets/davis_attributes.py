"""What makes the sequences of DAVIS 2016 hard: the attributes of ``db_info.yaml``, which comes with the official evaluation code.

::

    sequences:
    - name: bear
      attributes: [DEF, ...]      sequences that are new in 2017 have none
      set: train
      year: 2016
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from followspot.errors import DatasetError

ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AC": "appearance change",
        "BC": "background clutter",
        "CS": "camera shake",
        "DB": "dynamic background",
        "DEF": "deformation",
        "EA": "edge ambiguity",
        "FM": "fast motion",
        "HO": "heterogeneous object",
        "IO": "interacting objects",
        "LR": "low resolution",
        "MB": "motion blur",
        "OCC": "occlusion",
        "OV": "out of view",
        "ROT": "rotation",
        "SC": "shape complexity",
        "SV": "scale variation",
    }
)
"""The attributes and what they mean (Perazzi et al., CVPR 2016, table 1)."""

_PLACES: Final = ("db_info.yaml", "db_info.yml", "data/db_info.yaml", "Annotations/db_info.yml", "Annotations/db_info.yaml")


def find_attributes(root: Path) -> Path | None:
    """The file of attributes in a folder of DAVIS, or None if it is not there."""
    return next((root / place for place in _PLACES if (root / place).is_file()), None)


def read_attributes(path: Path) -> dict[str, frozenset[str]]:
    """Attributes by sequence.

    Args:
        path: ``db_info.yaml``.

    Returns:
        Every sequence that the file names; an empty set where it has no attributes.

    Raises:
        DatasetError: the file cannot be read, is not of this kind, or has an attribute that DAVIS does not know.
    """
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        sequences = {str(entry["name"]): frozenset(entry.get("attributes") or ()) for entry in content["sequences"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{path} cannot be read ({' '.join(str(error).split())}); expected DAVIS' db_info.yaml") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} is not of DAVIS: expected a list 'sequences' of name and attributes; take db_info.yaml") from error
    for name, attributes in sequences.items():
        unknown = sorted(str(attribute) for attribute in attributes - set(ATTRIBUTES))
        if unknown:
            raise DatasetError(f"{path}: {name!r} has the attribute {unknown[0]!r}; known are {', '.join(ATTRIBUTES)}")
    return sequences
