"""A labelled dataset in, a store of targets out: in several threads, resumable, counting what was left out."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from followspot.datasets.sources.base import LabelledObject, LabelledSource, LabelledVideo, Least, LeftOut
from followspot.datasets.sources.coco import read_coco_instances
from followspot.datasets.sources.id_maps import read_davis, read_youtube_vos
from followspot.datasets.sources.imagenet import read_det, read_vid
from followspot.datasets.sources.yolo import read_yolo
from followspot.datasets.target_index import Box
from followspot.datasets.targets import TargetWriter
from followspot.errors import DatasetError, SettingError

Progress = Callable[[str, int, int | None], None]
Reader = Callable[[Sequence[Path]], LabelledSource]


def _read_clips(given: Sequence[Path]) -> LabelledSource:
    from followspot.jobs.own_targets import read_clips  # which needs a tracker, and this module

    return read_clips(given)


FORMATS: Mapping[str, Reader] = {
    "coco": read_coco_instances,
    "youtube-vos": read_youtube_vos,
    "davis": read_davis,
    "vid": read_vid,
    "det": read_det,
    "yolo": read_yolo,
    "video": _read_clips,
}
"""What reads a format, by its name on the command line."""

_CROPS = ""
"""Stands among the reasons for what was not left out."""


@dataclass(frozen=True, kw_only=True)
class TargetReport:
    """What became of a dataset."""

    dataset: str
    videos: int
    """Videos or photographs asked for, whether finished now or before."""
    new: int
    """Those finished now."""
    crops: int
    """Cut now."""
    left_out: Mapping[str, int]
    """Objects of which no crop was cut now, by reason."""
    still: bool
    """Whether they are photographs."""

    def text(self) -> str:
        """Lines for people: what there is, and a warning where something was left out."""
        kind = "photographs" if self.still else "videos"
        before = f" ({self.videos - self.new} were there already)" if self.new < self.videos else ""
        lines = [f"{self.dataset}: {self.videos} {kind}{before}, {self.crops} new crops"]
        return "\n".join(lines + [f"left out: {_listing(self.left_out)}"] * bool(self.left_out))


def make_targets(source: LabelledSource, out: Path, *, workers: int | None = None, progress: Progress | None = None) -> TargetReport:
    """Cut the targets of a dataset, or those that are not there yet.

    Args:
        source: what to cut; its videos are what is asked for.
        out: the store; made if missing, other datasets in it stay.
        workers: threads; None: one a core. A source that cannot read several videos at once needs 1.
        progress: told ``("cutting", done, total)`` in videos.

    Raises:
        DatasetError: a file is missing or damaged, or no object can be used.
        OutputError: the store cannot be written. What was finished stays; the same call goes on from there.
        SettingError: there is no worker.
    """
    if workers is not None and workers < 1:
        raise SettingError(f"{workers} workers cannot work; give 1 or more")
    counts = Counter(source.left_out)
    with TargetWriter(out, source.card) as writer:
        todo = [video for video in source.videos if not writer.done(video.name)]
        done = len(source.videos) - len(todo)
        for found in _in_threads(todo, writer, least=source.least, workers=workers or os.cpu_count() or 1):
            counts += found
            done += 1
            if progress is not None:
                progress("cutting", done, len(source.videos))
    crops = counts.pop(_CROPS, 0)
    report = TargetReport(
        dataset=source.card.dataset, videos=len(source.videos), new=len(todo), crops=crops, left_out=dict(counts), still=source.card.still
    )
    if not writer.targets:
        raise DatasetError(f"{report.dataset}: no object can be used ({_listing(counts) or 'nothing is labelled'}); give other files")
    return report


def _in_threads(videos: Sequence[LabelledVideo], writer: TargetWriter, *, least: Least, workers: int) -> Iterator[Counter[str]]:
    """What became of each video, in the order in which they are finished."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(_cut, video, writer, least=least, stop=stop) for video in videos]):
            yield future.result()
    finally:
        stop.set()  # after an error or an interrupt the others end with their frame
        pool.shutdown(cancel_futures=True)


def _cut(video: LabelledVideo, writer: TargetWriter, *, least: Least, stop: threading.Event) -> Counter[str]:
    counts: Counter[str] = Counter()
    for found in video.read():
        if stop.is_set():
            return counts
        if isinstance(found, LeftOut):
            counts[found.reason] += 1
            continue
        for thing in found.objects:
            box = _inside(thing.box, found.image.shape)
            if _is_large(thing, box, least):
                writer.add(video.name, thing.track, found.number, image=found.image, box=box, mask=thing.mask)
                counts[_CROPS] += 1
            else:
                counts[f"smaller than {least.side:g} pixels a side or {least.area:g} in all"] += 1
    writer.finish(video.name)
    return counts


def _inside(box: Box, shape: tuple[int, ...]) -> Box:
    """The part of a box that lies in the image; without area where none does."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(shape[1])), min(bottom, float(shape[0]))


def _is_large(thing: LabelledObject, box: Box, least: Least) -> bool:
    width, height = box[2] - box[0], box[3] - box[1]
    if min(width, height) <= 0:
        return False
    area = width * height if thing.mask is None else int(thing.mask.sum())
    return area > 0 and min(width, height) >= least.side and area >= least.area


def _listing(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
