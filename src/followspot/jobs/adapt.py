"""Fine-tuning an encoder on the very videos that are to be followed, without labels, and only keeping what is better.

out/
  encoder.safetensors   the better of the two, always there at the end
  report.json           which was kept and why
  start.safetensors     the encoder before
  run/                  the training run, with the encoder after it (see followspot.jobs.train)
  store/                the videos as small clips
  adapt.json            what was asked for; before.json, after.json: what was checked; truth/: masks, where labels were named

Every stage leaves a file, so the same command goes on after a stop.
"""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from followspot.datasets.store import ClipStore
from followspot.errors import EncoderError, OutputError, SettingError
from followspot.io.files import write_atomic
from followspot.jobs.adapt_report import AdaptReport, Truth
from followspot.jobs.adapt_truth import TruthSource, score_truth
from followspot.jobs.label_free import Check, CheckSettings, Overlap, check, compare
from followspot.jobs.pace import fit_to_time
from followspot.jobs.prepare import PrepareSettings, prepare
from followspot.jobs.train import train
from followspot.models.encoder import SHIPPED_ENCODER, Encoder, load_encoder
from followspot.models.weights import load_weights, save_weights
from followspot.training.recipe import EncoderSettings, Recipe, read_recipe

Progress = Callable[[str, int, int | None], None]
Bars = Callable[[str], AbstractContextManager[Progress]]
"""Called with what is counted; shows progress while it is open. Training draws its own."""


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """How to adapt.

    Raises:
        SettingError: a value is outside its range.
    """

    minutes: float = 5.0
    """What training may take, if the machine goes on as fast as it starts; the check before and after comes on top."""
    steps: int | None = None
    """Steps of training, whatever they take; None: as many as fit, and at most those of the recipe."""
    changes: tuple[str, ...] = ()
    """Settings that differ from the recipe ``adapt``, as ``optimizer.lr=3e-5``."""
    check: CheckSettings = field(default_factory=CheckSettings)
    """How the two are compared."""

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise SettingError(f"minutes = {self.minutes:g} leaves no time to train; give a number above 0, such as 5")
        if self.steps is not None and self.steps < 1:
            raise SettingError(f"steps = {self.steps} trains nothing; give 1 or more, or leave it out")
        for change in self.changes:
            if change.startswith("encoder."):
                raise SettingError(f"--set {change} cannot be: what is adapted is the encoder that there is; use --encoder and --weights")


def adapt(
    given: Sequence[Path],
    out: Path,
    *,
    encoder: str | None = None,
    weights: Path | None = None,
    settings: AdaptSettings | None = None,
    device: str = "auto",
    workers: int | None = None,
    truth: TruthSource | None = None,
    bars: Bars | None = None,
) -> AdaptReport:
    """Fine-tune an encoder on videos, and keep the better of the two by a check that needs no labels.

    Args:
        given: videos, folders of frames, or anything else that :func:`followspot.jobs.prepare.prepare` takes.
        out: folder for everything; new, empty, or that of the same call, which then goes on.
        encoder: name of what to start from, see :func:`followspot.models.encoder.load_encoder`; None: what the weights say, or the default.
        weights: of it.
        settings: how.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: processes that prepare; None: one a core.
        truth: labelled clips that tell the true gain. It is reported, and decides nothing.
        bars: shows progress; None shows none.

    Raises:
        EncoderError: the encoder has nothing to learn, or cannot be loaded.
        OutputError: the folder holds something else.
        DatasetError: there is no usable video.
    """
    chosen, shown = settings or AdaptSettings(), bars or (lambda unit: nullcontext(_say_nothing))
    begun = time.monotonic()
    _claim(out, _request(given, encoder, weights, chosen))
    start = _start(out / "start.safetensors", encoder, weights)
    with shown("videos") as progress:
        prepare(given, out / "store", settings=PrepareSettings(), workers=workers, progress=progress)
    store = ClipStore(out / "store")
    before = _checked(out / "before.json", start, store, settings=chosen.check, device=device, bars=shown)
    recipe = _recipe(out, start, store, settings=chosen, device=device)
    trained = _trained(recipe, store, out / "run", device=device, progress=bars is not None)
    after = _checked(out / "after.json", trained, store, settings=chosen.check, device=device, bars=shown)
    verdict = compare(before, after)
    kept: Literal["adapted", "original"] = "adapted" if verdict.better else "original"
    _keep(out / "encoder.safetensors", trained if verdict.better else start, note={"kept": kept, "reason": verdict.reason})
    true = None if truth is None else _true(truth, out / "truth", start, trained, device=device, bars=shown)
    report = AdaptReport(
        folder=out,
        kept=kept,
        verdict=verdict,
        encoder=str(load_weights(start)[1]["encoder"]),
        steps=recipe.steps,
        clips=len(store),
        seconds=time.monotonic() - begun,
        truth=true,
    )
    report.save()
    return report


def _say_nothing(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def _request(given: Sequence[Path], encoder: str | None, weights: Path | None, settings: AdaptSettings) -> dict[str, Any]:
    """What makes two calls the same."""
    if not given:
        raise SettingError("no video is given; name at least one")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights is not None and weights.is_file() else None
    asked = {"videos": [str(path.resolve()) for path in given], "encoder": encoder, "weights": digest, **dataclasses.asdict(settings)}
    return cast(dict[str, Any], json.loads(json.dumps(asked)))


def _claim(out: Path, request: Mapping[str, Any]) -> None:
    """Make the folder ours, or see that it is."""
    marker = out / "adapt.json"
    if marker.is_file():
        earlier = _read_json(marker)
        changed = [name for name, value in request.items() if earlier.get(name) != value]
        if changed:
            raise OutputError(f"{out} holds an adaptation with other settings (different: {', '.join(changed)}); choose another --out")
        return
    if out.exists() and (not out.is_dir() or any(path.name != ".adapt.partial.json" for path in out.iterdir())):
        raise OutputError(f"{out} is not empty and holds no adaptation; choose another --out")
    write_atomic(marker, json.dumps(request, indent=2) + "\n")


def _start(path: Path, name: str | None, weights: Path | None) -> Path:
    """Keep the encoder to start from, so that the run does not depend on what becomes of the file or the default."""
    if path.is_file():
        return path
    encoder = load_encoder(SHIPPED_ENCODER if name is None and weights is None else name, weights=weights)
    module = cast(nn.Module, encoder)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        wanted = "give --weights FILE of a network, or an --encoder that learns"
        raise EncoderError(f"encoder {encoder.name!r} has nothing to learn, so it cannot adapt; {wanted}")
    kept = getattr(encoder, "card", {})
    # Weights that are shipped under a name of their own say which network they are for.
    card = {**kept, "encoder": kept.get("encoder", encoder.name.removeprefix("random:")), "stride": encoder.stride}
    save_weights(path, module, card)
    return path


def _recipe(out: Path, start: Path, store: ClipStore, *, settings: AdaptSettings, device: str) -> Recipe:
    """What to train; once training has begun, what it began with."""
    kept = out / "run" / "recipe.yaml"
    if kept.is_file():
        return read_recipe(str(kept))
    card = load_weights(start)[1]
    recipe = read_recipe("adapt", changes=settings.changes)
    encoder = EncoderSettings(name=card["encoder"], stride=card["stride"], dim=card.get("dim"), init=str(start.resolve()))
    recipe = replace(recipe, encoder=encoder)
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, freeze={**_norms(recipe), **recipe.optimizer.freeze}))
    if settings.steps is not None:
        return replace(recipe, steps=settings.steps)
    return fit_to_time(recipe, store, out / "pace", seconds=60 * settings.minutes, device=device)


def _norms(recipe: Recipe) -> dict[str, float]:
    """All normalisations, held for ever: the statistics of a few crops of one video say little, and tracking uses the kept ones."""
    modules = cast(nn.Module, recipe.build_encoder()).named_modules()
    return {f"encoder.{name}": 1.0 for name, module in modules if isinstance(getattr(module, "running_mean", None), torch.Tensor)}


def _trained(recipe: Recipe, store: ClipStore, run: Path, *, device: str, progress: bool) -> Path:
    weights = run / "encoder.safetensors"
    if weights.is_file():
        return weights
    resume = (run / "recipe.yaml").is_file()
    if not resume and run.exists():
        shutil.rmtree(run)  # killed before the recipe was written: there is nothing in it
    return train(recipe, store, run, resume=resume, device=device, progress=progress).weights


def _checked(path: Path, weights: Path, store: ClipStore, *, settings: CheckSettings, device: str, bars: Bars) -> Check:
    """Check an encoder, or read what was found."""
    if not path.is_file():
        with bars("scenes") as progress:
            found = check(load_encoder(weights=weights), store, settings=settings, device=device, progress=progress)
        write_atomic(path, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
    kept = _read_json(path)
    try:
        return Check(**{name: tuple(Overlap(**row) for row in kept[name]) for name in ("moved", "returned")})
    except (KeyError, TypeError) as error:
        raise OutputError(f"{path} is not what a check writes ({error}); delete it and run the same command again") from error


def _keep(path: Path, chosen: Path, *, note: Mapping[str, object]) -> None:
    encoder = load_encoder(weights=chosen)
    save_weights(path, cast(nn.Module, encoder), {**load_weights(chosen)[1], "adapt": dict(note)})


def _true(source: TruthSource, folder: Path, start: Path, trained: Path, *, device: str, bars: Bars) -> Truth:
    scores: dict[str, Mapping[str, float]] = {}
    for name, weights in (("before", start), ("after", trained)):
        encoder: Encoder = load_encoder(weights=weights)
        with bars("frames") as progress:
            scores[name] = score_truth(encoder, source, folder / name, weights=weights, device=device, progress=progress)
    return Truth(before=scores["before"], after=scores["after"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}); delete it and run the same command again") from error
    if not isinstance(content, dict):
        raise OutputError(f"{path} is not what adapt writes; delete it and run the same command again")
    return content
