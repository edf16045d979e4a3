"""Is the suggested frame the one to annotate? What one more annotation is worth, by the frame that is chosen for it.

Each video is followed from its first annotation. Then one frame more is annotated with the truth and the video is followed both ways
again: the frame that is suggested, the middle one, the last one, random ones, and the one where the overlap is worst, which only the truth
knows. What counts is by how much J rises on the frames that are annotated in neither run; so a bad frame is worth nothing by being
chosen alone.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from followspot.datasets.davis import DavisDataset, DavisSequence
from followspot.errors import DatasetError, SettingError
from followspot.io.files import write_atomic
from followspot.io.source import ArrayVideo
from followspot.io.video import open_video
from followspot.jobs.experiments.suggestion_outcome import CHOICES, Outcome, by_sequence, draw, summarize
from followspot.jobs.results import ResultsFolder, Timing
from followspot.jobs.tables import Table
from followspot.jobs.trackers import encoder_settings
from followspot.metrics.region import region_similarity
from followspot.models.encoder import Encoder
from followspot.tracking.both_ways import follow
from followspot.tracking.presets import PRESETS, Preset
from followspot.tracking.propagation import PropagationTracker
from followspot.tracking.suggestion import suggest
from followspot.types import Masks, TrackedFrame

Progress = Callable[[int, int], None]

_FILE = "raise.json"


@dataclass(frozen=True, kw_only=True)
class SuggestionSettings:
    """How videos are followed and what is compared.

    Raises:
        SettingError: a number is below 1.
    """

    every: int = 1
    """Only every n-th frame is used: things move faster, and more goes wrong."""
    draws: int = 5
    """Random frames a video."""
    seed: int = 0
    preset: Preset = PRESETS["default"]

    def __post_init__(self) -> None:
        for name in ("every", "draws"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}, expected at least 1")


def suggestion(
    out: Path,
    dataset: DavisDataset,
    encoder: Encoder,
    settings: SuggestionSettings,
    *,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> tuple[Table, Table]:
    """Runs what is not there yet; writes ``suggestion.md``, ``.csv``, ``.png`` and ``suggestion-sequences.md``, ``.csv``.

    Args:
        out: folder for them, and for a folder a sequence with the J of every run.
        dataset: videos with masks in every frame.
        encoder: what the tracker sees with.
        settings: what is compared.
        device: where to track.
        progress: told how many videos are done.

    Returns:
        The table by choice, and the one by sequence.

    Raises:
        DatasetError: a video has no masks, or too few frames.
        OutputError: the folder holds results of other settings, or cannot be written.
    """
    folder = ResultsFolder(out, _settings(dataset, encoder, settings))
    outcomes = []
    with folder.tidied():
        for done, sequence in enumerate(dataset.sequences, 1):
            if not (folder[sequence.name] / _FILE).is_file():
                began = perf_counter()
                outcome = ask(sequence, encoder, settings, device=device)
                write_atomic(folder.begin(sequence.name) / _FILE, json.dumps(asdict(outcome)) + "\n")
                folder.keep(Timing(sequence=sequence.name, frames=len(outcome.before), seconds=perf_counter() - began))
            outcomes.append(_read(folder[sequence.name] / _FILE))
            progress(done, len(dataset))
    tables = summarize(outcomes, title=_title(dataset, encoder, settings)), by_sequence(outcomes)
    for table, name in zip(tables, ("suggestion", "suggestion-sequences"), strict=True):
        table.save(out, name)
    write_atomic(out / "suggestion.png", draw(outcomes))
    return tables


def ask(sequence: DavisSequence, encoder: Encoder, settings: SuggestionSettings, *, device: str = "auto") -> Outcome:
    """Follows one video once, chooses frames, and follows it again with each of them.

    Args:
        sequence: with masks in every frame.
        encoder: what the tracker sees with.
        settings: what is compared.
        device: where to track.

    Raises:
        DatasetError: masks are missing, or there are fewer than 3 frames.
    """
    used = range(0, len(sequence), settings.every)
    if len(used) < 3:
        raise DatasetError(f"{sequence.name!r} has {len(used)} frames to use, expected at least 3; use a longer one or every frame")
    with open_video(sequence.image_folder) as source:
        video = ArrayVideo([frame.image for frame in source.frames() if frame.index in used], fps=source.fps)
    truth = [np.where(np.isin(ids, sequence.object_ids), ids, 0).astype(np.uint8) for ids in map(sequence.read_mask, used)]
    tracker = PropagationTracker(encoder, settings.preset, device=device)
    answers, before = _follow(tracker, video, truth, [0])
    hidden = [index for index, ids in enumerate(truth) if not ids.any()]
    told = suggest(answers, annotated=[0])
    due = suggest(answers, annotated=[0], sure_enough=1.0)
    frames = choose(before, settings, suggested=due.index if due is not None else None, without=[0, *hidden], name=sequence.name)
    tracker.confidence = False
    needed = sorted({frame for some in frames.values() for frame in some})
    return Outcome(
        sequence=sequence.name,
        asked=told is not None,
        before=before,
        frames=frames,
        after={frame: _follow(tracker, video, truth, [0, frame])[1] for frame in needed},
    )


def choose(
    before: Sequence[float], settings: SuggestionSettings, *, suggested: int | None, without: Sequence[int], name: str
) -> dict[str, tuple[int, ...]]:
    """The frames to annotate, by choice.

    Args:
        before: J of each frame.
        settings: how many random ones.
        suggested: what the tracker would have annotated; None takes the middle.
        without: frames that cannot be annotated: they are already, or show nothing.
        name: of the video, so that each has random frames of its own, the same in every run.

    Raises:
        DatasetError: there is no frame to choose.
    """
    free = np.setdiff1d(np.arange(len(before)), without)
    if not len(free):
        raise DatasetError(f"{name!r} shows its objects in no frame but the first, so there is no other to annotate; leave it out")

    def nearest(frame: float) -> int:
        return int(free[np.abs(free - frame).argmin()])

    middle = (len(before) - 1) / 2
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    drawn = rng.choice(free, size=min(settings.draws, len(free)), replace=False)
    return {
        "suggested": (nearest(middle if suggested is None else suggested),),
        "middle": (nearest(middle),),
        "random": tuple(sorted(int(frame) for frame in drawn)),
        "last": (int(free[-1]),),
        "worst": (int(free[np.asarray(before)[free].argmin()]),),
    }


def _follow(
    tracker: PropagationTracker, video: ArrayVideo, truth: Sequence[NDArray[np.uint8]], marks: Sequence[int]
) -> tuple[list[TrackedFrame], tuple[float, ...]]:
    """Answers without their masks, and J of each frame, mean over the objects of the first one."""
    answers, overlaps = [], []
    objects = [int(number) for number in np.unique(truth[0]) if number]
    for _, answer in follow(tracker, video, {mark: [Masks(ids=truth[mark])] for mark in marks}):
        assert answer.masks is not None
        pairs = [(answer.masks == number, truth[answer.index] == number) for number in objects]
        overlaps.append(float(np.mean([region_similarity(*pair) for pair in pairs])))
        answers.append(replace(answer, masks=None))
    return answers, tuple(overlaps)


def _settings(dataset: DavisDataset, encoder: Encoder, settings: SuggestionSettings) -> dict[str, object]:
    """What makes results the same."""
    own = {"every": settings.every, "draws": settings.draws, "seed": settings.seed}
    return {"data": str(dataset.root.resolve()), "split": dataset.split, "tracker": encoder_settings(encoder, settings.preset), **own}


def _title(dataset: DavisDataset, encoder: Encoder, settings: SuggestionSettings) -> str:
    frames = "every frame" if settings.every == 1 else f"one frame in {settings.every}"
    return f"One annotation more: {dataset.name} {dataset.split}, {encoder.name}, {settings.preset.name}, {frames}."


def _read(path: Path) -> Outcome:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        after = {int(frame): tuple(values) for frame, values in known["after"].items()}
        frames = {choice: tuple(known["frames"][choice]) for choice in CHOICES}
        return Outcome(sequence=known["sequence"], asked=known["asked"], before=tuple(known["before"]), frames=frames, after=after)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is no result of this experiment ({error}); delete its folder and run the same command again") from error
