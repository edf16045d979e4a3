"""``followspot targets video``."""

import pytest

from followspot.datasets.targets import TargetStore
from followspot.datasets.twins import TwinVideo
from followspot.io.video import VideoWriter


@pytest.fixture
def clips(followspot, tmp_path):
    """A store with one clip of two discs."""
    with VideoWriter(tmp_path / "videos/discs.mp4", height=128, width=192, fps=12) as writer:
        for frame in TwinVideo(0, look="hue", meeting="pass", height=128, width=192):
            writer.write(frame.image)
    said = followspot("prepare", tmp_path / "videos", "--out", tmp_path / "clips", "--workers", "1", "--licence", "CC0")
    assert said.code == 0, said.err
    return tmp_path / "clips"


def test_f019_targets_without_labels(followspot, clips, tmp_path):
    said = followspot("targets", "video", clips, "--out", tmp_path / "s", "--workers", "1")
    assert said.code == 0, said.err
    assert "video: 1 videos, " in said.out
    store = TargetStore(tmp_path / "s")
    card = store.cards["video"]
    assert (card.labelled_by, card.licence) == ("propagation", "CC0")
    assert len(store) >= 2
    assert "(1 were there already), 0 new crops" in followspot("targets", "video", clips, "--out", tmp_path / "s").out


def test_what_is_no_store_is_told(followspot, clips, tmp_path):
    out = ("--out", tmp_path / "s")
    assert followspot("targets", "video", tmp_path / "none", *out).refuses("is no folder, expected one with a store of clips")
    assert followspot("targets", "video", tmp_path / "videos", *out).refuses("is not a store of clips", "followspot prepare")
