"""All that a training run writes into its folder, while it runs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from followspot.training.checkpoints import Checkpoints, last_checkpoint
from followspot.training.csv_log import MetricsCsv
from followspot.training.panels import Panels
from followspot.training.progress import ProgressBar
from followspot.training.run_settings import RunSettings
from followspot.training.scores import Score, Scores
from followspot.training.text_log import TextLog
from followspot.training.watched import Interval

__all__ = ["RunCallbacks", "last_checkpoint"]


class RunCallbacks:
    """The callbacks of a run.

    They write ``metrics.csv``, ``log.txt``, ``tensorboard/`` and ``checkpoints/``, and with scores ``scores.csv`` and ``best.safetensors``.

    Args:
        folder: of the run.
        recipe: says how often.
        score: judges the encoder at intervals; None: nothing does, and there is no best.
        card: what goes into the best encoder's file, asked for when it is written; None: the encoder and the recipe.
        progress: draw a bar.
    """

    def __init__(
        self,
        folder: Path,
        recipe: RunSettings,
        *,
        score: Score | None = None,
        card: Callable[[], Mapping[str, Any]] | None = None,
        progress: bool = True,
    ) -> None:
        log, steps = recipe.log, recipe.steps
        rows, pictures = Interval(log.every, steps), Interval(log.pictures_every, steps)

        self._scores = None
        if score is not None:
            times, weights = Interval(log.score_every, steps), folder / "best.safetensors"
            self._scores = Scores(score, times, table=folder / "scores.csv", weights=weights, card=card or recipe.about)
        self._metrics = MetricsCsv(folder / "metrics.csv", rows)
        # Scores come first, since others show them; checkpoints last, since they keep the state of the others.
        self._all: list[pl.Callback] = [] if self._scores is None else [self._scores]
        self._all += [self._metrics, TextLog(folder / "log.txt", rows, scores=self._scores)]
        self._all += [Panels(folder / "tensorboard", scalars=rows, pictures=pictures, scores=self._scores)]
        self._all += [ProgressBar(steps)] if progress else []
        saves = Interval(log.checkpoint_every, steps)
        self._all += [Checkpoints(folder / "checkpoints", saves, keep=log.keep, scores=self._scores)]

    def all(self) -> list[pl.Callback]:
        """In the order that they need."""
        return list(self._all)

    @property
    def seconds(self) -> float:
        """Time in training, that before a resume included."""
        return self._metrics.seconds

    @property
    def best_score(self) -> float | None:
        """The highest score; None where there was none."""
        return None if self._scores is None or self._scores.best is None else self._scores.best.value
