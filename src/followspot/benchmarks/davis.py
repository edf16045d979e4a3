"""DAVIS 2016 and 2017, semi-supervised: exactly the numbers of davis2017-evaluation, in its files.

Results are a folder a sequence with an indexed PNG for every frame: ``<results>/<sequence>/<frame>.png``, the index is the object's id.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.davis_scoring import NOTES, Protocol, global_scores, missing_frames, official_files, read_prediction, score_task
from followspot.benchmarks.parallel import score_each
from followspot.benchmarks.report import Report
from followspot.datasets.davis import DavisDataset, Year
from followspot.errors import DatasetError, SettingError
from followspot.io.masks import write_mask
from followspot.io.submission import write_submission
from followspot.io.video import open_video
from followspot.tracking.base import Tracker
from followspot.types import Masks


class DavisBenchmark:
    """DAVIS as a benchmark.

    Args:
        data: the folder with ``ImageSets``, ``JPEGImages`` and ``Annotations``; or an open split, which then needs no `split` or `year`.
        split: a list in ``ImageSets``; default val.
        protocol: ``"official"``, or ``"preliminary"`` for a quick look: all frames but the first one, each weighing the same.
        year: 2016 (all objects are one) or 2017; None takes the only one that has the split.

    Raises:
        DatasetError: the folder, the split or a sequence is missing, or the split's year is not clear.
        SettingError: no protocol has that name.
    """

    def __init__(
        self, data: Path | DavisDataset, *, split: str | None = None, protocol: str | None = None, year: Year | None = None
    ) -> None:
        require_protocol("DAVIS", protocol, NOTES)
        self.dataset = data if isinstance(data, DavisDataset) else DavisDataset(data, year=year, split=split or "val")
        self.rules: Protocol = cast(Protocol, protocol or "official")

    @property
    def name(self) -> str:
        """``"DAVIS 2016"`` or ``"DAVIS 2017"``."""
        return self.dataset.name

    @property
    def split(self) -> str:
        """The list's name."""
        return self.dataset.split

    @property
    def protocol(self) -> str:
        """``"official"`` or ``"preliminary"``; they differ in scoring, not in results."""
        return self.rules

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """In the order of the list."""
        return tuple(sequence.name for sequence in self.dataset.sequences)

    def length(self, sequence: str) -> int:
        """Frames of a sequence."""
        return len(self.dataset[sequence])

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether there is a mask for every frame."""
        return not missing_frames(self.dataset[sequence], folder)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the objects of the first annotation and writes a mask a frame; see `Benchmark.run`.

        Raises:
            DatasetError: the first annotation is missing or empty.
            SettingError: the tracker gives no masks.
        """
        video = self.dataset[sequence]
        masks = Masks(ids=video.read_mask(0))
        if not masks.ids.any():
            raise DatasetError(f"{video.mask_path(0)} has no object in it, so there is nothing to follow; restore the file")
        with open_video(video.image_folder) as frames:
            for answer in tracker.stream(frames, {0: [masks]}):
                if answer.masks is None:
                    raise SettingError(f"the tracker gave no mask for frame {answer.name} of {sequence!r}; choose one that follows masks")
                write_mask(folder / f"{answer.name}.png", answer.masks)
                if on_frame is not None:
                    on_frame(sequence, answer.index + 1, len(video))

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores masks against the annotations.

        A mask is required for every frame, the first and the last included, although these are not scored. In DAVIS 2016 whatever
        is not 0 is the object, so black and white masks are welcome. A script that scores with several workers must call this
        under ``if __name__ == "__main__":``, because workers import it.

        Args:
            results: folder with ``<sequence>/<frame>.png``.
            workers: how many processes; None for one a core. The numbers do not depend on it.
            progress: told about every finished sequence.

        Returns:
            The report; fractions, not percent. Its curve is J in every scored frame.

        Raises:
            DatasetError: masks are missing, unreadable, of the wrong size or hold other ids than the first annotation, or the split
                has no annotations to score against.
            SettingError: ``workers`` is below 1, or they could not start.
        """
        results = Path(results)
        require_folders(results, self.sequence_names, benchmark=f"{self.name} {self.split}")
        videos = self.dataset.sequences
        tasks = [(video, results / video.name) for video in videos]
        work = partial(score_task, protocol=self.rules)
        found = score_each(work, tasks, workers=workers, sizes=[len(video) for video in videos], progress=progress)
        rows = tuple(row for objects in found for row in objects)
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTES[self.rules],
            scores=global_scores(rows, protocol=self.rules),
            rows=rows,
            curve="J",
            files=official_files(rows, split=self.split, protocol=self.rules),
        )

    @property
    def hidden(self) -> bool:
        """Whether annotations of later frames are missing, as in test-dev, whose truth is on the server only."""
        return any(len(video.annotated) < len(video) for video in self.dataset.sequences)

    def pack(self, results: Path, archive: Path) -> None:
        """Writes ``<sequence>/<frame>.png`` into a ZIP file, as the server takes it; see `Submission.pack`.

        The folders of sequences lie directly in the archive (the server's own error message asks for that).

        Raises:
            DatasetError: masks are missing or unusable.
            OutputError: the archive cannot be written.
        """
        results = Path(results)
        require_folders(results, self.sequence_names, benchmark=f"{self.name} {self.split}")
        write_submission(archive, self._masks(results))

    def _masks(self, results: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for video in self.dataset.sequences:
            for index, frame in enumerate(video.frame_names):
                yield f"{video.name}/{frame}.png", read_prediction(video, index, results / video.name)

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with its result or, without results, its annotation; see `Benchmark.picture`.

        Raises:
            DatasetError: the frame, its result or its annotation is not there.
        """
        from followspot.viz.annotated import draw_annotations  # which imports torch

        video = self.dataset[sequence]
        if not 0 <= frame < len(video):
            raise DatasetError(f"{sequence!r} has no frame {frame}; its frames are 0 to {len(video) - 1}")
        ids = video.read_mask(frame) if results is None else read_prediction(video, frame, Path(results) / sequence)
        with open_video(video.image_folder) as frames:
            return draw_annotations(frames.frame(frame), [Masks(ids=ids)])


def require_folders(results: Path, sequences: Sequence[str], *, benchmark: str) -> None:
    """Refuses a results folder without a folder for every sequence, before any time is spent.

    Raises:
        DatasetError: names the first that is missing.
    """
    if not results.is_dir():
        raise DatasetError(f"{results} is not a folder; expected the results as <sequence>/<frame>.png")
    missing = [name for name in sequences if not (results / name).is_dir()]
    if missing:
        raise DatasetError(
            f"{results / missing[0]} is missing ({len(missing)} of {len(sequences)} sequences are); "
            f"run every sequence of {benchmark} before scoring"
        )
