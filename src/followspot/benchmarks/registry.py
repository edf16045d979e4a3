"""Every benchmark by its name on the command line. A module is imported only when its benchmark is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import cast

from followspot.benchmarks.base import Benchmark
from followspot.errors import SettingError
from followspot.io.files import nearest


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a benchmark before it is opened."""

    module: str
    """In `followspot.benchmarks`."""
    class_name: str
    """Constructed as ``Class(data, split=..., protocol=..., **fixed)``."""
    help: str
    """One line for ``--help``."""
    splits: tuple[str, ...]
    """The usual lists, the default first; others may exist in the data, and the benchmark itself says which."""
    protocols: tuple[str, ...]
    """All protocols, the default first."""
    fixed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Further constructor arguments that the name stands for, such as the year."""
    needs_data: bool = True
    """False for one that draws its own videos."""


_DAVIS = ("official", "preliminary")
_VOT = ("toolkit", "exact", "pysot", "siammask")

NAMES: Mapping[str, Entry] = MappingProxyType(
    {
        "davis": Entry(
            module="davis",
            class_name="DavisBenchmark",
            help="DAVIS of the year that has the split: masks, J and F",
            splits=("val", "train", "test-dev"),
            protocols=_DAVIS,
        ),
        "davis-2016": Entry(
            module="davis",
            class_name="DavisBenchmark",
            help="DAVIS 2016: all objects are one",
            splits=("val", "train"),
            protocols=_DAVIS,
            fixed={"year": "2016"},
        ),
        "davis-2017": Entry(
            module="davis",
            class_name="DavisBenchmark",
            help="DAVIS 2017: objects apart",
            splits=("val", "train", "test-dev"),
            protocols=_DAVIS,
            fixed={"year": "2017"},
        ),
        "synthetic": Entry(
            module="synthetic",
            class_name="SyntheticBenchmark",
            help="drawn clips with exact masks, boxes and joints; needs no data",
            splits=("val", "easy", "hard"),
            protocols=("masks", "boxes", "keypoints"),
            needs_data=False,
        ),
        "youtube-vos": Entry(
            module="youtube_vos",
            class_name="YoutubeVosBenchmark",
            help="YouTube-VOS 2018 or 2019: masks of objects that begin late, J and F, archive for the server",
            splits=("valid", "test", "train"),
            protocols=("all-frames", "every-fifth"),
        ),
        "vip": Entry(
            module="vip",
            class_name="VipBenchmark",
            help="VIP: parts of people as classes, mean IoU",
            splits=("val",),
            protocols=("later-frames", "annotated-frames"),
        ),
        "otb": Entry(
            module="otb",
            class_name="OtbBenchmark",
            help="OTB and folders like it: boxes, success and precision in one pass",
            splits=("all",),
            protocols=("ope", "toolkit"),
        ),
        "vot2016": Entry(
            module="vot",
            class_name="VotBenchmark",
            help="VOT2016: boxes with resets, accuracy, robustness and EAO",
            splits=("all",),
            protocols=_VOT,
            fixed={"year": "2016"},
        ),
        "vot2018": Entry(
            module="vot",
            class_name="VotBenchmark",
            help="VOT2018: boxes with resets, accuracy, robustness and EAO",
            splits=("all",),
            protocols=_VOT,
            fixed={"year": "2018"},
        ),
        "vot2019": Entry(
            module="vot",
            class_name="VotBenchmark",
            help="VOT2019: boxes with resets, accuracy, robustness and EAO",
            splits=("all",),
            protocols=_VOT,
            fixed={"year": "2019"},
        ),
        "jhmdb": Entry(
            module="jhmdb",
            class_name="JhmdbBenchmark",
            help="JHMDB: 15 joints of people, PCK",
            splits=("split1", "split2", "split3", "all"),
            protocols=("videowalk", "legacy", "strict"),
        ),
        "badja": Entry(
            module="badja",
            class_name="BadjaBenchmark",
            help="BADJA: 20 joints of animals, PCK",
            splits=("public", "all"),
            protocols=("official", "pixels"),
        ),
        "tapvid": Entry(
            module="tapvid",
            class_name="TapvidBenchmark",
            help="TAP-Vid: any points, AJ, delta and OA",
            splits=("all",),
            protocols=("query-first", "strided"),
        ),
        "colors": Entry(
            module="colors",
            class_name="ColorsBenchmark",
            help="any videos without labels: colours of the first frame carried to the others, accuracy and PSNR",
            splits=("all", "val", "train"),
            protocols=("first-frame",),
        ),
    }
)
"""What `open_benchmark` knows, in the order in which it is listed."""


def open_benchmark(name: str, data: Path | None, *, split: str | None = None, protocol: str | None = None) -> Benchmark:
    """A benchmark by its name.

    Args:
        name: one of `NAMES`.
        data: its folder as it unpacks; None for one that needs no data.
        split: which list of sequences; None for the usual one.
        protocol: which of its protocols; None for the official one.

    Returns:
        The benchmark; no picture has been read yet.

    Raises:
        SettingError: no benchmark or no protocol of it has that name, or it needs data and there is none.
        DatasetError: the folder, the split or a sequence is missing.
    """
    entry = find_entry(name)
    if protocol is not None and protocol not in entry.protocols:
        raise SettingError(f'{name} has no protocol "{protocol}"; {_hint(protocol, entry.protocols)}')
    if data is None and entry.needs_data:
        raise SettingError(f"{name} needs its data; add --data FOLDER, the folder as it unpacks")
    make = getattr(import_module(f"followspot.benchmarks.{entry.module}"), entry.class_name)
    return cast(Benchmark, make(Path(data or "."), split=split, protocol=protocol, **entry.fixed))


def find_entry(name: str) -> Entry:
    """What is known of a benchmark.

    Raises:
        SettingError: there is none of that name; names the nearest one.
    """
    if name not in NAMES:
        raise SettingError(f'unknown benchmark "{name}"; {_hint(name, NAMES)}')
    return NAMES[name]


def _hint(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = nearest(name, known)
    return f'did you mean "{near}"?' if near else "choose from: " + ", ".join(known)
