"""Some sequences of a benchmark instead of all, for quick looks and searches."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from followspot.benchmarks.base import Benchmark
from followspot.errors import DatasetError
from followspot.io.files import nearest

_LISTS = ("sequences", "videos", "clips", "names")
"""What readers call their videos: in the order of `Benchmark.sequence_names`, or by name."""


@runtime_checkable
class Selectable(Protocol):
    """What a benchmark has if it knows itself how to be cut."""

    def only(self, sequences: Sequence[str]) -> Benchmark:
        """The same with these sequences, in this order; they are known to exist."""
        ...


def only(benchmark: Benchmark, sequences: Sequence[str]) -> Benchmark:
    """The same benchmark with some of its sequences.

    Its numbers are of those sequences only and stand beside no published ones.

    Args:
        benchmark: which says itself how it is cut, or keeps a reader in ``dataset`` with a list of its videos.
        sequences: names, each once.

    Raises:
        DatasetError: no such sequence (names the nearest), one is named twice, or this benchmark cannot be cut.
    """
    known = benchmark.sequence_names
    for name in sequences:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"the first of {len(known)} is {known[0]!r}"
            raise DatasetError(f"{benchmark.name} {benchmark.split} has no sequence {name!r}; {hint}")
    if not sequences or len(set(sequences)) < len(sequences):
        raise DatasetError(f"sequences {', '.join(sequences) or 'of no name'}: name at least one, and each once")
    chosen = benchmark.only(sequences) if isinstance(benchmark, Selectable) else _with_dataset(benchmark, sequences)
    if chosen is None or tuple(chosen.sequence_names) != tuple(sequences):
        raise DatasetError(f"{benchmark.name} cannot be cut to single sequences; leave --sequences out, or make a list of your own")
    return chosen


def _with_dataset(benchmark: Benchmark, sequences: Sequence[str]) -> Benchmark | None:
    place = next((name for name in ("dataset", "_dataset") if hasattr(benchmark, name)), None)
    if place is None:
        return None
    whole: Any = getattr(benchmark, place)
    listed = next((name for name in _LISTS if isinstance(getattr(whole, name, None), Mapping | tuple)), None)
    if listed is None:
        return None
    entries = getattr(whole, listed)
    by_name = entries if isinstance(entries, Mapping) else dict(zip(benchmark.sequence_names, entries, strict=True))
    kept = {name: by_name[name] for name in sequences}
    # Copies that share what was read; readers and benchmarks may be frozen, these are new.
    part, chosen = copy.copy(whole), copy.copy(benchmark)
    object.__setattr__(part, listed, kept if isinstance(entries, Mapping) else tuple(kept.values()))
    object.__setattr__(chosen, place, part)
    return chosen
