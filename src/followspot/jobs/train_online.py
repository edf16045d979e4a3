"""A training run of an online tracker on disk.

out/
  first/                the run of the stage before, where the recipe has one and no weights were given
  targets/              targets made of unlabelled clips, where those were given
  recipe.yaml, environment.json, metrics.csv, log.txt, tensorboard/, checkpoints/    as of every run
  held_out.csv          losses and mask IoU on videos that are not trained on
  network.safetensors   the trained network with its card; `--tracker out` takes it
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import torch

from followspot.datasets.pair_loader import PairLoader, join_pairs, label_pair
from followspot.datasets.pairs import PairSource
from followspot.datasets.store import INDEX, ClipStore
from followspot.datasets.target_index import has_dataset
from followspot.datasets.targets import TargetStore
from followspot.errors import SettingError
from followspot.jobs.own_targets import OwnTargetSettings, own_targets
from followspot.jobs.train import TrainResult
from followspot.jobs.training_run import TARGETS, begin_run, fit, is_begun, process_rank
from followspot.models.online_networks import save_online_network
from followspot.models.s2iammask import S2iamMask
from followspot.models.siammask import SiamMask
from followspot.models.siammask_init import fill_backbone, fill_from_stage, stage_weights
from followspot.models.weights import read_card
from followspot.training.callbacks import RunCallbacks
from followspot.training.environment import describe_environment
from followspot.training.held_out import HeldOut
from followspot.training.online import OnlineModule
from followspot.training.online_recipe import OnlineRecipe, parse_online_recipe
from followspot.training.recipe import read_content
from followspot.training.steps import Loader
from followspot.training.watched import Interval

WEIGHTS: Final = "network.safetensors"
FIRST: Final = "first"
_OWN_TARGETS: Final = "video"
"""What targets made of clips are called in a store."""
_PATIENCE: Final = 1.0
"""Seconds between looks for what another process makes."""

Show = Callable[[str, int, int | None], None]


def read_online_recipe(name_or_path: str, *, changes: tuple[str, ...] = ()) -> OnlineRecipe:
    """A recipe of an online tracker, by name or file.

    Args:
        name_or_path: such as ``siammask-lite`` or ``mine.yaml``.
        changes: texts like ``optimizer.lr=1e-3``.

    Raises:
        SettingError: see :func:`followspot.training.recipe.read_recipe`.
    """
    return parse_online_recipe(read_content(name_or_path, changes=changes))


def train_online(
    recipe: OnlineRecipe,
    targets: Path,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    devices: int = 1,
    first_changes: tuple[str, ...] = (),
    progress: bool = True,
) -> TrainResult:
    """Train an online tracker; where the recipe begins with an earlier stage, that first.

    Args:
        recipe: what to do.
        targets: a store of them; see `prepare_targets`.
        out: the run's folder; must be new or empty unless `resume`.
        resume: go on where a stopped run was, in whichever stage; all else must be as it was.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: processes on this machine, unless torchrun or SLURM started several.
        first_changes: settings of the earlier stage that differ from its recipe, such as ``steps=100``.
        progress: show bars.

    Raises:
        OutputError: the folder holds another run, or nothing to resume.
        SettingError: the recipe does not fit the data.
        DatasetError: there are no targets.
        EncoderError: the weights to begin with are unusable.
    """
    first = check_first(recipe, first_changes)
    store = TargetStore(targets)
    module = OnlineModule(recipe, _loader_of(recipe, store))
    _check_targets(recipe, store, module)
    begins_with = None if recipe.network.init is None else stage_weights(Path(recipe.network.init))
    if first is None and not resume:
        _initialize(module, recipe, begins_with)  # before there is a folder: what is wrong is told while nothing has to be cleared away
    checkpoint = begin_run(recipe, out, resume=resume, read=read_online_recipe)
    if first is not None:
        begins_with = out / FIRST / WEIGHTS
        if checkpoint is None:
            _first_stage(first, targets, out / FIRST, resume=resume, device=device, devices=devices, progress=progress)
    if checkpoint is None and (resume or first is not None):
        _initialize(module, recipe, begins_with)

    def card() -> dict[str, Any]:
        return card_of(recipe, store, module, seconds=callbacks.seconds, begins_with=begins_with)

    callbacks = RunCallbacks(out, recipe, card=card, progress=progress)
    watching = callbacks.all()
    if recipe.data.held_out:
        interval = Interval(recipe.log.score_every, recipe.steps)
        judge = HeldOut(_judged(recipe, store), interval, table=out / "held_out.csv", folder=out / "tensorboard")
        watching.insert(0, judge)
    trainer = fit(module, recipe, out, device=device, devices=devices, callbacks=watching, checkpoint=checkpoint)
    weights = out / WEIGHTS
    if trainer.is_global_zero:
        save_online_network(weights, cast("SiamMask | S2iamMask", module.trained_encoder), card())
    trainer.strategy.barrier()  # the next stage reads them in every process
    loss = module.step_logs.get("loss", float("nan"))
    return TrainResult(folder=out, weights=weights, steps=module.steps_done, skipped=module.skipped, loss=loss, best_score=None)


def check_first(recipe: OnlineRecipe, changes: tuple[str, ...]) -> OnlineRecipe | None:
    """The recipe of the stage before; None where there is none, or its weights are given.

    Raises:
        SettingError: there are changes for it, which are wrong or for nothing.
    """
    name = recipe.network.first_stage
    if name is None and changes:
        why = f"{recipe.name} does not" if recipe.network.after is None else "network.init gives the weights of that already"
        raise SettingError(f"{FIRST}.{changes[0]} is for recipes that begin with another; {why}; leave it out")
    return None if name is None else read_online_recipe(name, changes=changes)


def prepare_targets(data: Path, out: Path, *, resume: bool = False, show: Show | None = None) -> Path:
    """The store of targets to train on: the one given, or one made in the run's folder of the unlabelled clips given.

    Args:
        data: a store of targets or of clips.
        out: the run's folder.
        resume: whether a run in it goes on.
        show: told about targets that are made: stage, done, total.

    Raises:
        DatasetError: the clips cannot be used.
        OutputError: no run can be in that folder, or none is there to resume.
    """
    if not (data / INDEX).is_file():
        return data
    made = out / TARGETS
    if process_rank() != 0:
        while not has_dataset(made, _OWN_TARGETS):
            time.sleep(_PATIENCE)  # the first process makes them; nothing else joins the processes yet
        return made
    if not is_begun(out, resume=resume) or not has_dataset(made, _OWN_TARGETS):
        own_targets(ClipStore(data), made, settings=OwnTargetSettings(), show=show)
    return made


def card_of(
    recipe: OnlineRecipe, store: TargetStore, module: OnlineModule, *, seconds: float, begins_with: Path | None = None
) -> dict[str, Any]:
    """What a weight file says about itself, and about the weights that it began with: their targets trained it too.

    Args:
        recipe: of the run.
        store: the targets.
        module: as it was trained.
        seconds: that it took.
        begins_with: the weights of the stage before.
    """
    used = [name for name in store.cards if not recipe.data.shares or recipe.data.shares.get(name, 0) > 0]
    counts = Counter(target.dataset for target in store.targets)
    return {
        **recipe.about(),
        "data": {
            name: {"targets": counts[name], "labelled_by": card.labelled_by, "licence": card.licence, "source": card.source}
            for name, card in store.cards.items()
            if name in used
        },
        "steps": module.steps_done,
        "skipped": module.skipped,
        "hours": round(seconds / 3600, 4),
        "hardware": describe_environment(module.trained_on)["device" if module.trained_on.type == "cuda" else "cpu"],
        "versions": {"followspot": version("followspot"), "torch": str(torch.__version__)},
        **({"begins_with": read_card(begins_with)} if begins_with is not None and begins_with.is_file() else {}),
    }


def _check_targets(recipe: OnlineRecipe, store: TargetStore, module: OnlineModule) -> None:
    """Complain about targets that the recipe cannot be trained or judged on."""
    source = PairSource(store, recipe.data, seed=recipe.seed)
    if recipe.data.held_out:
        PairSource(store, recipe.data, seed=recipe.seed, held_out=True)
    draws = cast("SiamMask | S2iamMask", module.encoder).mask_side > 0
    if draws and not any(frame.has_mask for targets in source.videos for target in targets for frame in target.frames):
        raise SettingError(
            f"the targets in {store.root} have boxes only, and {recipe.network.name} learns masks; train a network of boxes, such as "
            "siammask-lite-box, or add targets with masks"
        )


def _first_stage(recipe: OnlineRecipe, targets: Path, folder: Path, *, resume: bool, device: str, devices: int, progress: bool) -> None:
    """Train the stage before, or go on with it, where it is not finished."""
    begun = resume and (folder / "recipe.yaml").is_file()
    if begun and (folder / WEIGHTS).is_file():
        begin_run(recipe, folder, resume=True, read=read_online_recipe)  # which tells where it was another
        return
    train_online(recipe, targets, folder, resume=begun, device=device, devices=devices, progress=progress)


def _initialize(module: OnlineModule, recipe: OnlineRecipe, weights: Path | None) -> None:
    """Fill the network, and its average where there is one, with what training begins with."""
    network = cast("SiamMask | S2iamMask", module.encoder)
    if weights is not None:
        fill_from_stage(network, weights)
    elif recipe.network.backbone is not None:
        fill_backbone(network, recipe.network.backbone)
    if module.average is not None:
        module.average.module.load_state_dict(network.state_dict())


def _loader_of(recipe: OnlineRecipe, store: TargetStore) -> Callable[[int, int, torch.device], Loader]:
    def make(rank: int, world: int, device: torch.device) -> Loader:
        if recipe.batch_size % world:
            raise SettingError(f"batch_size {recipe.batch_size} does not divide by {world} processes; choose a multiple")
        size = recipe.batch_size // world
        made = PairLoader(
            store, recipe.data, batch_size=size, seed=recipe.seed, rank=rank, world=world, threads=recipe.workers, rule=recipe.anchors
        )
        return cast(Loader, made)

    return make


def _judged(recipe: OnlineRecipe, store: TargetStore) -> list[object]:
    """Fixed batches of the videos that are held out, without negatives: what is judged is how well objects are found."""
    settings = replace(recipe.data, negatives=0.0)
    source = PairSource(store, settings, seed=recipe.seed, held_out=True)
    pairs = [source.readable(0, position) for position in range(recipe.judged)]
    labels = [label_pair(pair, rule=recipe.anchors, seed=(recipe.seed, row)) for row, pair in enumerate(pairs)]
    size = recipe.batch_size
    return [join_pairs(pairs[start : start + size], labels[start : start + size]) for start in range(0, len(pairs), size)]
