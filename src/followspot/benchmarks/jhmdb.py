"""JHMDB: the joints of the first frame followed through a clip, scored by PCK.

Results are a folder a clip: ``<results>/<class>/<clip>/tracks.npz``, beside it ``tracks.csv`` to look at and ``<number>.dat`` as the
evaluation of videowalk takes it. ``score`` also reads a folder of such ``<number>.dat``.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
from numpy.typing import NDArray

from followspot.benchmarks.base import OnFrame, Progress, require_protocol
from followspot.benchmarks.follow_points import check_frame, draw_joints, follow, known_joints
from followspot.benchmarks.report import Report, Row
from followspot.datasets.jhmdb import JOINTS, LIMBS, JhmdbClip, JhmdbDataset
from followspot.errors import DatasetError
from followspot.io.files import write_atomic
from followspot.io.pickles import read_pickle
from followspot.io.point_tracks import FILE, PointTracks, has_point_tracks, read_point_tracks, write_point_tracks
from followspot.metrics.keypoints import ALPHAS, PckProtocol, mean_of_known, near_per_frame, normalized_distances, pck_per_joint
from followspot.tracking.base import Tracker

Floats = NDArray[np.float64]

NOTES: Mapping[PckProtocol, str] = MappingProxyType(
    {
        "videowalk": "as videowalk's evaluation: lost joints are not counted, the first frame is not either",
        "legacy": "as VFS's evaluation: lost joints are not counted, the first frame is, which raises every number",
        "strict": "all annotated joints of all frames but the first; lost joints are wrong",
    }
)
CURVE_ALPHA = 0.1
"""The curve of a row: the threshold that tells trackers apart best, and the first column of published tables."""
MAP_CELLS = 40
"""Videowalk's evaluation counts positions in cells of a 40 x 40 map, which is 320 x 320 pixels at stride 8."""


class JhmdbBenchmark:
    """JHMDB as a benchmark. Which size frames are seen at is the tracker's business: published numbers are at 320 x 320.

    Args:
        data: the folder with ``Rename_Images`` and ``joint_positions``.
        split: ``"split1"`` (268 test clips, the usual one), ``"split2"``, ``"split3"``, ``"all"``, or a list of one's own.
        protocol: ``"videowalk"``, ``"legacy"`` or ``"strict"``; they differ in scoring, not in results.

    Raises:
        DatasetError: the folder, the list or a clip is missing.
        SettingError: no protocol has that name.
    """

    name = "JHMDB"

    def __init__(self, data: Path, *, split: str | None = None, protocol: str | None = None) -> None:
        require_protocol("JHMDB", protocol, NOTES)
        self.protocol: PckProtocol = cast(PckProtocol, protocol or "videowalk")
        self.split = split or "split1"
        self.dataset = JhmdbDataset(data, split=self.split)

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """``<class>/<clip>`` in the order of the list."""
        return tuple(clip.name for clip in self.dataset.clips)

    def length(self, sequence: str) -> int:
        """Frames of a clip."""
        return len(self.dataset[sequence])

    def is_complete(self, sequence: str, folder: Path) -> bool:
        """Whether the file of results is there; it is written last."""
        return has_point_tracks(folder)

    def run(self, sequence: str, tracker: Tracker, folder: Path, *, on_frame: OnFrame | None = None) -> None:
        """Follows the 15 joints of the first frame; see `Benchmark.run`.

        Raises:
            DatasetError: a frame is missing, or the file of joints is unusable.
            SettingError: the tracker gives no joints.
        """
        clip = self.dataset[sequence]
        tracks = PointTracks.empty(len(clip), JOINTS)
        done = iter(range(1, len(clip) + 1))

        def on_answer() -> None:
            if on_frame is not None:
                on_frame(sequence, next(done), len(clip))

        with clip.open() as video:
            given = known_joints(clip.joints[0], JOINTS, skeleton=LIMBS, name=sequence)
            follow(tracker, video, given, into=tracks, on_answer=on_answer)
            width, height = video.width, video.height
        number = self.sequence_names.index(sequence)
        write_atomic(folder / f"{number}.dat", _videowalk_bytes(tracks.xy, width=width, height=height))
        write_point_tracks(folder, tracks)

    def score(self, results: Path, *, workers: int | None = None, progress: Progress | None = None) -> Report:
        """Scores positions against the annotations, here and in turn: reading them takes longer than comparing.

        A joint is lost where it has no position. That a tracker has doubts about a position makes no difference, since doubtful joints
        that are left out would raise the numbers of ``videowalk`` and ``legacy``.

        Args:
            results: with ``<class>/<clip>/tracks.npz``, or with ``0.dat``, ``1.dat`` ... in the order of the list.
            workers: not used; the numbers would not depend on it.
            progress: told about every finished clip.

        Returns:
            The report; PCK is the mean over joints of their share over all frames and clips. ``lost`` is the share of joints without a
            position in all frames but the first.

        Raises:
            DatasetError: results are missing or unusable.
        """
        results = Path(results)
        distances, rows, lost = [], [], []
        for number, clip in enumerate(self.dataset.clips):
            predicted = self._read(results, number, clip)
            distances.append(normalized_distances(predicted, clip.joints, protocol=self.protocol))
            lost.append(np.asarray(np.isnan(predicted[1:]).any(axis=2)))
            rows.append(_row(clip.name, distances[-1], lost[-1]))
            if progress is not None:
                progress(number + 1, len(self.dataset))
        per_joint = {alpha: pck_per_joint(distances, alpha) for alpha in ALPHAS}
        scores = {f"PCK@{alpha}": mean_of_known(shares) for alpha, shares in per_joint.items()}
        return Report(
            benchmark=self.name,
            split=self.split,
            protocol=self.protocol,
            note=NOTES[self.protocol],
            scores=scores | {"lost": float(np.concatenate(lost).mean())},
            rows=tuple(rows),
            curve=f"PCK@{CURVE_ALPHA}",
            lower_is_better=frozenset({"lost"}),
            files={f"pck_per_joint-{self.protocol}.csv": _joint_table(per_joint)},
        )

    def picture(self, sequence: str, frame: int, results: Path | None) -> NDArray[np.uint8]:
        """A frame with its skeleton; see `Benchmark.picture`.

        Raises:
            DatasetError: the frame or its result is not there.
        """
        clip = self.dataset[sequence]
        check_frame(frame, length=len(clip), sequence=sequence)
        xy = clip.joints if results is None else self._shown(Path(results), clip)
        with clip.open() as video:
            return draw_joints(video.frame(frame).image, xy[frame], skeleton=LIMBS)

    def _shown(self, results: Path, clip: JhmdbClip) -> Floats:
        """The same without joints of which the tracker says that they are lost, where it does."""
        if not has_point_tracks(results / clip.name):
            return self._read(results, self.sequence_names.index(clip.name), clip)
        return read_point_tracks(results / clip.name, frames=len(clip), names=JOINTS).shown

    def _read(self, results: Path, number: int, clip: JhmdbClip) -> Floats:
        """``(T, 15, 2)`` in pixels; NaN where a joint is lost."""
        folder, published = results / clip.name, results / f"{number}.dat"
        if has_point_tracks(folder):
            return read_point_tracks(folder, frames=len(clip), names=JOINTS).xy
        if published.is_file():
            with clip.open() as video:
                return _from_videowalk(published, frames=len(clip), width=video.width, height=video.height)
        raise DatasetError(f"{folder / FILE} is missing, and so is {published.name}; run every clip of JHMDB {self.split} before scoring")


def _row(name: str, distances: Floats, lost: NDArray[np.bool_]) -> Row:
    values = {f"PCK@{alpha}": mean_of_known(pck_per_joint([distances], alpha)) for alpha in ALPHAS}
    return Row(
        sequence=name,
        frames=int((~np.isnan(distances)).any(axis=1).sum()),
        values=values | {"lost": float(lost.mean()) if lost.size else 0.0},
        curve=near_per_frame(distances, CURVE_ALPHA),
    )


def _joint_table(per_joint: Mapping[float, Floats]) -> str:
    lines = [",".join(["joint", *(f"PCK@{alpha}" for alpha in per_joint)])]
    lines += [",".join([joint, *(f"{shares[k]:.6f}" for shares in per_joint.values())]) for k, joint in enumerate(JOINTS)]
    return "\n".join(lines) + "\n"


def _videowalk_bytes(xy: Floats, *, width: int, height: int) -> bytes:
    """A pickled array (2, 15, T) in cells of the 40 x 40 map, -1 where a joint is lost."""
    cells = xy.transpose(2, 1, 0) * (np.array([MAP_CELLS / width, MAP_CELLS / height])[:, None, None])
    return pickle.dumps(np.nan_to_num(cells, nan=-1.0), protocol=4)


def _from_videowalk(path: Path, *, frames: int, width: int, height: int) -> Floats:
    cells = read_pickle(path)
    if not isinstance(cells, np.ndarray) or cells.shape != (2, len(JOINTS), frames) or cells.dtype.kind not in "fiu":
        shape = getattr(cells, "shape", type(cells).__name__)
        raise DatasetError(
            f"{path} holds {shape}, expected an array (2, {len(JOINTS)}, {frames}) of cells; check that lists agree in their order"
        )
    xy: Floats = cells.transpose(2, 1, 0) * np.array([width / MAP_CELLS, height / MAP_CELLS])
    return np.where(xy[..., :1] < 0, np.nan, xy)
