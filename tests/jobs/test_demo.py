"""The demonstration makes its own video and scores itself against the truth."""

import numpy as np
import pytest

from followspot.datasets.davis import read_ids
from followspot.datasets.synthetic import SyntheticVideo
from followspot.errors import OutputError
from followspot.io.export import read_tracks, write_tracks_json
from followspot.io.masks import write_mask
from followspot.io.video import open_video
from followspot.jobs.demo import _box_iou, run_demo, score_demo
from followspot.types import TrackedFrame, TrackedObject, TrackedPoint


@pytest.fixture(scope="module")
def demo(make_tracker, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    seen = []
    result, score = run_demo(
        out, make_tracker(), seed=2, num_frames=5, overwrite=False, progress=lambda stage, done, total: seen.append((stage, done, total))
    )
    return out, result, score, seen


def test_it_leaves_a_whole_run(demo, contents):
    out, result, _, seen = demo
    assert (result.frames, result.computed) == (5, 5)
    names = {f"masks/{i:05d}.png" for i in range(5)}
    assert set(contents(out)) == names | {"video.mp4", "overlay.mp4", "tracks.json", "tracks.csv"}
    assert seen == [(stage, i, 5) for stage in ("making", "tracking", "overlay") for i in range(1, 6)]
    with open_video(out / "video.mp4") as video:
        assert (video.num_frames, video.fps) == (5, 24)
    kinds = [o.kind for o in read_tracks(out / "tracks.json")[0].objects]
    assert kinds[:3] == ["mask", "mask", "box"]
    assert set(kinds[3:]) == {"point"}


def test_the_score_is_sensible(demo):
    _, _, score, _ = demo
    assert 0.4 < score.j < 1
    assert 0.1 < score.f < 1
    assert 0.4 < score.box_iou < 1
    assert 0 < score.point_error < 20


def test_again_it_only_scores(demo, make_tracker):
    out, _, score, _ = demo
    result, again = run_demo(out, make_tracker(), seed=2, num_frames=5, overwrite=False)
    assert result.computed == 0
    assert again == score


@pytest.mark.parametrize("other", [{"seed": 3, "num_frames": 5}, {"seed": 2, "num_frames": 6}])
def test_another_demo_is_refused_unless_overwritten(demo, make_tracker, contents, other):
    out = demo[0]
    before = contents(out)
    with pytest.raises(OutputError, match=r"video\.mp4 is another demo; choose another --out, or add --overwrite"):
        run_demo(out, make_tracker(), overwrite=False, **other)
    assert contents(out) == before


def test_a_video_of_another_seed_is_not_taken_even_alone(demo, make_tracker, tmp_path):
    """A run that was stopped right after making its video leaves nothing but that."""
    (tmp_path / "video.mp4").write_bytes((demo[0] / "video.mp4").read_bytes())
    with pytest.raises(OutputError, match="another demo"):
        run_demo(tmp_path, make_tracker(), seed=3, num_frames=5, overwrite=False)
    result, _ = run_demo(tmp_path, make_tracker(), seed=3, num_frames=5, overwrite=True)
    assert result.computed == 5


def perfect(out, truth, *, shift=0.0, box=True):
    """Answers that are the truth, points and boxes moved by `shift` pixels."""
    frames = []
    for index in range(len(truth)):
        write_mask(out / "masks" / f"{index:05d}.png", truth.masks(index))
        edges = truth.boxes(index)[-1]
        where = tuple(float(e) for e in edges) if box and np.isfinite(edges).all() else None
        objects = [TrackedObject(name="box", kind="box", mask_id=None, box=where, points=(), confidence=None, lost=False)]
        for i, (x, y) in enumerate(truth.points(index)[0]):
            spot = TrackedPoint(name=f"point {i}", x=x + shift, y=y, confidence=None, lost=False)
            objects.append(
                TrackedObject(name=f"point {i}", kind="point", mask_id=None, box=None, points=(spot,), confidence=None, lost=False)
            )
        frames.append(TrackedFrame(index=index, name=f"{index:05d}", time_seconds=0.0, masks=None, maps=None, objects=tuple(objects)))
    write_tracks_json(out / "tracks.json", {}, frames)


def test_perfect_answers_score_perfectly(tmp_path):
    truth = SyntheticVideo(2, num_frames=4, height=96, width=128)
    perfect(tmp_path, truth)
    score = score_demo(tmp_path, truth)
    assert (score.j, score.f, score.box_iou) == (1, 1, 1)
    assert score.point_error == pytest.approx(0, abs=1e-6)


def test_wrong_answers_cost(tmp_path):
    truth = SyntheticVideo(2, num_frames=4, height=96, width=128)
    perfect(tmp_path, truth, shift=3, box=False)
    write_mask(tmp_path / "masks/00002.png", np.zeros_like(read_ids(tmp_path / "masks/00002.png")))
    score = score_demo(tmp_path, truth)
    assert score.j == pytest.approx(2 / 3)
    assert score.box_iou == 0
    assert score.point_error == pytest.approx(3, abs=1e-6)
    write_mask(tmp_path / "masks/00000.png", np.zeros_like(truth.masks(0)))
    assert score_demo(tmp_path, truth) == score  # the first frame was given and does not count


def test_overlap_of_boxes():
    assert _box_iou((0, 0, 4, 4), np.array([2.0, 0, 6, 4])) == pytest.approx(8 / 24)
    assert _box_iou((0, 0, 1, 1), np.array([5.0, 5, 6, 6])) == 0
    assert _box_iou(None, np.array([5.0, 5, 6, 6])) == 0
