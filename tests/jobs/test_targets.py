"""F019: cutting targets as a job: in threads, resumable, counting what is left out."""

import time

import numpy as np
import pytest

from followspot.datasets.sources.base import LabelledFrame, LabelledObject, LabelledSource, LabelledVideo, Least, LeftOut
from followspot.datasets.targets import TargetCard, TargetStore
from followspot.errors import DatasetError, OutputError, SettingError
from followspot.jobs.targets import make_targets

CARD = TargetCard(dataset="toy", labelled_by="people", still=False, frame_range=20)


def video(name, *, fails=False, frames=2, box=(10, 10, 40, 40)):
    def read():
        for number in range(frames):
            if fails and number == 1:
                raise DatasetError(f"{name} is damaged")
            image = np.full((60, 80, 3), 100 + number, np.uint8)
            mask = np.zeros((60, 80), bool)
            left, top, right, bottom = (max(0, int(edge)) for edge in box)
            mask[top:bottom, left:right] = True
            yield LabelledFrame(number=number, image=image, objects=[LabelledObject(track=0, box=box, mask=mask)])
        yield LeftOut("crowds")

    return LabelledVideo(name=name, read=read)


def source(*videos, **changes):
    return LabelledSource(**({"card": CARD, "videos": videos} | changes))


@pytest.mark.parametrize("workers", [1, 4])
def test_it_cuts_and_counts(tmp_path, workers):
    said = []
    report = make_targets(
        source(*(video(f"v{number}") for number in range(5))), tmp_path, workers=workers, progress=lambda *told: said.append(told)
    )
    assert (report.videos, report.new, report.crops, report.left_out) == (5, 5, 10, {"crowds": 5})
    assert report.text() == "toy: 5 videos, 10 new crops\nleft out: 5 crowds"
    assert said == [("cutting", done, 5) for done in range(1, 6)]
    store = TargetStore(tmp_path)
    assert [(target.video, len(target.frames)) for target in store.targets] == [(f"v{number}", 2) for number in range(5)]
    assert store.mask(store.targets[0], store.targets[0].frames[0]).any()


def test_it_goes_on_after_an_error_and_does_nothing_twice(tmp_path):
    with pytest.raises(DatasetError, match="b is damaged"):
        make_targets(source(video("a"), video("b", fails=True)), tmp_path, workers=1)
    report = make_targets(source(video("a"), video("b")), tmp_path)
    assert (report.new, report.crops) == (1, 2)
    assert "2 videos (1 were there already), 2 new crops" in report.text()
    assert make_targets(source(video("a"), video("b")), tmp_path).crops == 0
    assert len(TargetStore(tmp_path)) == 2


def test_after_an_error_other_videos_end_with_their_frame(tmp_path):
    seen = []

    def read():
        for number in range(4000):
            time.sleep(0.002)
            seen.append(number)
            yield LeftOut("crowds")

    with pytest.raises(DatasetError, match="b is damaged"):
        make_targets(source(LabelledVideo(name="long", read=read), video("b", fails=True)), tmp_path, workers=2)
    assert len(seen) < 4000


def test_small_objects_are_left_out(tmp_path):
    thin, small = video("thin", box=(0, 0, 80, 7)), video("small", box=(0, 0, 19, 20))
    report = make_targets(source(thin, small, video("good", box=(0, 0, 20, 20))), tmp_path)
    assert report.left_out == {"crowds": 3, "smaller than 8 pixels a side or 400 in all": 4}
    assert [target.video for target in TargetStore(tmp_path).targets] == ["good"]
    make_targets(source(thin, small, least=Least(side=0, area=0)), tmp_path)
    assert [target.video for target in TargetStore(tmp_path).targets] == ["good", "small", "thin"]


def test_boxes_end_at_the_image(tmp_path):
    make_targets(source(video("a", box=(-20, -5, 30, 90)), video("out", box=(-50, 5, -10, 50))), tmp_path)
    assert (tmp_path / "toy.json").read_text() == '{"a": {"00": {"000000": [0.0, 0.0, 30.0, 60.0], "000001": [0.0, 0.0, 30.0, 60.0]}}}\n'


def test_where_nothing_can_be_used_that_is_said_and_no_index_is_left(tmp_path):
    with pytest.raises(DatasetError, match=r"toy: no object can be used .2 crowds, 4 smaller"):
        make_targets(source(video("a", box=(1, 1, 3, 3)), video("b", box=(1, 1, 3, 3))), tmp_path)
    assert not list(tmp_path.glob("toy*"))


def test_settings_that_cannot_be_are_told(tmp_path):
    with pytest.raises(SettingError, match="0 workers"):
        make_targets(source(video("a")), tmp_path, workers=0)
    with pytest.raises(SettingError, match="are no sizes"):
        Least(side=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        make_targets(source(video("a")), tmp_path / "file")
