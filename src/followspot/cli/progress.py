"""Progress on the terminal: what is done, how fast, how long still. Written to standard error."""

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        """The rate so far, blank while nobody knows."""
        rate = task.finished_speed or task.speed
        return Text(f"{rate:.1f} {task.fields['unit']}/s" if rate else "", style="progress.data.speed")


class Stages:
    """One bar a stage, made when a stage first reports.

    Args:
        unit: what is counted.
        units: the same for single stages.
    """

    def __init__(self, unit: str = "frames", *, units: Mapping[str, str] | None = None) -> None:
        columns = (
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._unit, self._units = unit, units or {}
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` are through in this stage."""
        if not self._tasks:
            self._bars.start()  # not before: an early error should stand alone, without an empty bar
        if stage not in self._tasks:
            unit = self._units.get(stage, self._unit)
            self._tasks[stage] = self._bars.add_task(stage, total=total, unit=unit, completed=max(0, done - 1))
        self._bars.update(self._tasks[stage], completed=done, total=total)
