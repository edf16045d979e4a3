"""What others published: the tables of the systems that this one unites, each number with where it was read.

The numbers lie in ``published.csv`` beside this file, one method of one table a line, so that two tables that disagree are both there.
They are quotations. Nothing here is measured by us, and no row mixes what was published with what was measured.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from followspot.errors import DatasetError

Reading = Literal["first-hand", "second-hand", "recalled"]
"""Read in the source itself; read where others quote it; or from memory, to be checked before it is quoted."""

FILE = Path(__file__).with_name("published.csv")

_SAME = {"a": "accuracy", "r": "robustness", "js": "jseen", "ju": "junseen", "fs": "fseen", "fu": "funseen"}
"""Short names of scores that reports and papers use for the same thing."""


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One method in one published table."""

    system: str
    """Whose table it is: ``"corrflow"``."""
    benchmark: str
    """As reports name it: ``"DAVIS 2017"``."""
    split: str
    protocol: str
    """Which of our protocols gives numbers of this kind; empty where the source does not let one tell."""
    method: str
    supervision: str
    """What labels the method learnt from: none, image labels, masks."""
    scores: dict[str, float]
    """By their names in the field; fractions where they are fractions. Empty where a system published no number."""
    reading: Reading
    source: str
    note: str


def read_published(path: Path = FILE) -> tuple[PublishedRow, ...]:
    """All rows, in the order of the file.

    Args:
        path: a CSV file with the columns of `PublishedRow`; scores are ``NAME VALUE; NAME VALUE``.

    Raises:
        DatasetError: a line cannot be read; names it.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_rows(csv.DictReader(file), path))


def published_for(benchmark: str, split: str | None = None) -> tuple[PublishedRow, ...]:
    """The rows of a benchmark that hold numbers.

    Args:
        benchmark: its name, in any spelling of case, spaces and dashes.
        split: only of this list of sequences; None for all.

    >>> [row.method for row in published_for("vot2019")]
    ['SiamMask-LD (pysot siammask_r50_l3)']
    """
    wanted = plain_name(benchmark)
    return tuple(
        row for row in read_published() if row.scores and plain_name(row.benchmark) == wanted and (split is None or row.split == split)
    )


def plain_name(name: str) -> str:
    """A name of a benchmark or a score without what spellings differ in.

    >>> plain_name("DAVIS-2017"), plain_name("PCK@.1") == plain_name("PCK@0.1"), plain_name("Js")
    ('davis2017', True, 'jseen')
    """
    spelled = re.sub(r"(?<!\d)\.(?=\d)", "0.", name.lower())
    bare = re.sub(r"[^a-z0-9&.]", "", spelled)
    return _SAME.get(bare, bare)


def _rows(lines: "csv.DictReader[str]", path: Path) -> Iterator[PublishedRow]:
    for line in lines:
        try:
            if line["reading"] not in get_args(Reading) or not line["source"]:
                raise ValueError(f"reading {line['reading']!r} from {line['source']!r}")
            yield PublishedRow(
                system=line["system"],
                benchmark=line["benchmark"],
                split=line["split"],
                protocol=line["protocol"],
                method=line["method"],
                supervision=line["supervision"],
                scores=_scores(line["scores"]),
                reading=cast(Reading, line["reading"]),
                source=line["source"],
                note=line["note"],
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path}:{lines.line_num} is no published row ({error}); correct the line") from error


def _scores(text: str) -> dict[str, float]:
    pairs = (pair.strip().rsplit(" ", 1) for pair in text.split(";") if pair.strip())
    return {name: float(value) for name, value in pairs}
