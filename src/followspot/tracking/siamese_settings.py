"""Named settings of the siamese tracker with their sources (docs/siammask.md prints the table)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import yaml

from followspot.errors import SettingError
from followspot.io.files import missing_file, nearest, write_atomic

Output = Literal["rotated", "axis-aligned"]


@dataclass(frozen=True, kw_only=True)
class SiameseSettings:
    """How the best of many proposals is chosen and what is made of it.

    Names are those of SiamMask's published configurations where it has them.

    Raises:
        SettingError: a value is out of range.
    """

    name: str
    source: str
    """Where the values come from."""
    penalty_k: float
    """How much a change of size or shape costs: the score is multiplied by ``exp(-penalty_k (r s - 1))``."""
    window_influence: float
    """In [0, 1]: weight of the cosine window, which prefers places near the last one, beside the score."""
    lr: float
    """In [0, 1]: how fast the size follows the proposal, times its penalised score."""
    seg_thr: float
    """In [0, 1]: a pixel whose probability is above belongs to the object."""
    output: Output = "rotated"
    """``"axis-aligned"``: boxes only, the mask head is never called; an object given as a mask is answered by its box filled in."""
    min_area: float = 100.0
    """Pixels: a smaller contour gives no rotated box (SiamMask)."""
    vote_n: int = 1
    """How many of the best proposals draw a mask and vote on each pixel; 1: the best alone, no vote."""
    vote_ratio: float = 0.3
    """In [0, 1]: weight of the penalised score when voters are chosen; the rest is their overlap with the last rotated box."""
    vote_enlarge: float = 0.4
    """A voter's box grows on each side by this share of its width or height; beyond it has no voice."""
    vote_seg_thr: float = 0.2
    """In [0, 1]: a voter is for a pixel whose probability is above."""
    vote_threshold: float = 0.5
    """In [0, 1]: a pixel with a larger share of the votes belongs to the object."""
    vote_min_area: float = 1600.0
    """Pixels: the outline of the vote gives place and size to the tracker if its area is larger."""
    lost_below: float = 0.0
    """In [0, 1]: a score below says that the object may be gone; 0: it is never given up."""
    lost_after: int = 1
    """After so many such frames in a row it is lost, and looked for around the place where it was last seen for sure."""
    found_above: float = 0.95
    """In [0, 1]: the score of a proposal that ends the search."""
    search_growth: int = 2
    """While it is lost the searched square grows by one search window a frame, up to this many more than one."""

    def __post_init__(self) -> None:
        shares = ("window_influence", "lr", "seg_thr", "vote_ratio", "vote_seg_thr", "vote_threshold", "lost_below", "found_above")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} = {getattr(self, name):g} is outside 0..1; see docs/siammask.md for usual values")
        for name, least in {"penalty_k": 0, "min_area": 0, "vote_enlarge": 0, "vote_min_area": 0}.items():
            if not getattr(self, name) >= least:
                raise SettingError(f"{name} = {getattr(self, name):g} must be {least} or more")
        for name, least, most in (("vote_n", 1, 1000), ("lost_after", 1, 10**6), ("search_growth", 0, 8)):
            if not least <= getattr(self, name) <= most:
                raise SettingError(f"{name} = {getattr(self, name)} is outside {least}..{most}")
        if self.output not in get_args(Output):
            raise SettingError(f'output "{self.output}" is unknown; choose from: {", ".join(get_args(Output))}')


_SOURCE = "Wang et al., SiamMask (CVPR 2019), published configuration"
_VOT = SiameseSettings(name="vot", source=f"{_SOURCE} for VOT2016 and 2018", penalty_k=0.04, window_influence=0.42, lr=0.25, seg_thr=0.30)

_LITE = SiameseSettings(
    name="lite",
    source="our search for siammask-lite on box videos (results/siammask.md): a network that saw little is held to its size",
    penalty_k=0.6,
    window_influence=0.40,
    lr=0.3,
    seg_thr=0.34,
)

SIAMESE_PRESETS: Mapping[str, SiameseSettings] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            _VOT,
            SiameseSettings(
                name="vot18", source=f"{_SOURCE} for the LD weights", penalty_k=0.10, window_influence=0.41, lr=0.32, seg_thr=0.15
            ),
            SiameseSettings(
                name="davis", source=f"{_SOURCE} for DAVIS and YouTube-VOS", penalty_k=0.04, window_influence=0.40, lr=1.0, seg_thr=0.35
            ),
            _LITE,
            replace(_VOT, name="vote", source="S2iamMask's description: 10 voters over the values of vot", vote_n=10),
            replace(
                _VOT,
                name="long",
                source="thresholds and region of DaSiamRPN (Zhu et al., ECCV 2018, section 4.2) over the values of vot",
                lost_below=0.8,
            ),
        )
    }
)

SIAMESE_TUNABLE: Mapping[str, str] = MappingProxyType(
    {"penalty_k": "0.0:1.5", "window_influence": "0.1:0.7", "lr": "0.05:1.0", "seg_thr": "0.1:0.5"}
)
"""What a search varies unless told otherwise, as `followspot.jobs.search_space` reads it: around the published presets, and up to ten times
their penalty, which a network wants whose boxes are less exact (results/siammask.md)."""


def find_siamese_preset(name: str) -> SiameseSettings:
    """Settings by name.

    Raises:
        SettingError: there are none; names the nearest.
    """
    if name not in SIAMESE_PRESETS:
        near = nearest(name, SIAMESE_PRESETS)
        hint = f'did you mean "{near}"?' if near else "choose from: " + ", ".join(SIAMESE_PRESETS)
        raise SettingError(f'unknown preset "{name}" of a siamese tracker; {hint}')
    return SIAMESE_PRESETS[name]


def change_siamese(settings: SiameseSettings, values: Mapping[str, object]) -> SiameseSettings:
    """The same settings with other values; their name says so where one differs.

    Args:
        settings: to start from.
        values: by name; texts are read as on the command line.

    Raises:
        SettingError: an unknown name (names the nearest) or a value out of range.

    >>> change_siamese(SIAMESE_PRESETS["vot"], {"vote_n": "10", "lr": 0.5}).name
    'vot (changed)'
    """
    known = describe_siamese(settings)
    read: dict[str, object] = {}
    for name, value in values.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else "there are " + ", ".join(known)
            raise SettingError(f"a siamese tracker has no setting {name!r}; {hint}")
        read[name] = _read(name, value, like=known[name])
    changed = replace(settings, **read)  # type: ignore[arg-type]
    return changed if changed == settings else replace(changed, name=f"{settings.name.removesuffix(' (changed)')} (changed)")


def describe_siamese(settings: SiameseSettings) -> dict[str, object]:
    """All settings but name and source, by name; `change_siamese` takes them back."""
    return {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in ("name", "source")}


def write_siamese_preset(path: Path, settings: SiameseSettings) -> None:
    """Save settings, one a line, with their name and source.

    Args:
        path: a file that ends in ``.yaml``.
        settings: what to write.

    Raises:
        OutputError: the file cannot be written.
    """
    content = {"name": settings.name, "source": settings.source, **describe_siamese(settings)}
    write_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=140))


def choose_siamese_preset(name_or_path: str) -> SiameseSettings:
    """Settings by name, or from a file; what the file leaves out is as in ``vot``.

    Args:
        name_or_path: such as ``davis`` or ``out/best.yaml``.

    Raises:
        SettingError: there is none of that name, or the file is none.
    """
    if not name_or_path.endswith((".yaml", ".yml")):
        return find_siamese_preset(name_or_path)
    path = Path(name_or_path)
    wrong = missing_file(path)
    if wrong is not None:
        raise SettingError(f"there is no preset file {path}: {wrong}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SettingError(f"{path} is not YAML ({' '.join(str(error).split())}); mend it") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path} is not a preset: expected settings by name, got {type(content).__name__}")
    own = {str(key): value for key, value in content.items()}
    name, source = (str(own.pop(key, path.stem)) for key in ("name", "source"))
    try:
        return replace(change_siamese(_VOT, own), name=name, source=source)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def _read(name: str, value: object, *, like: object) -> object:
    if isinstance(like, str):
        return str(value)
    try:
        number = float(str(value))
    except ValueError as error:
        raise SettingError(f"{name}: {value!r} is not a number") from error
    if isinstance(like, float):
        return number
    if not number.is_integer():
        raise SettingError(f"{name}: {value!r} is not a whole number")
    return int(number)
