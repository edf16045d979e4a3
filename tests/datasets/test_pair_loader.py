"""F022 through the loader, and batches that are the same however they are made."""

import itertools
import logging
import shutil

import pytest
import torch

from followspot.datasets.pair_loader import PairLoader
from followspot.datasets.pair_views import ViewSettings
from followspot.datasets.pairs import PairSettings, PairSource
from followspot.datasets.targets import TargetStore
from followspot.errors import DatasetError, SettingError
from followspot.ops.anchors import Anchors, LabelRule, decode_boxes

NAMES = ("template", "search", "masks", "has_mask", "labels", "deltas", "weights")


@pytest.fixture(scope="module")
def store(draw_targets, tmp_path_factory):
    return TargetStore(draw_targets(tmp_path_factory.mktemp("targets")))


def loader_of(store, *, negatives=0.4, epoch=10, **settings):
    data = PairSettings(epoch=epoch, negatives=negatives, search=ViewSettings(shift=24, scale=0.18, blur=0.2))
    return PairLoader(store, data, **{"batch_size": 2, "seed": 0, **settings})


def first(loader, count):
    batches = iter(loader)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def test_f022_labels_are_as_many_as_the_rule_says_and_deltas_invert_to_the_box(store):
    loader = loader_of(store, batch_size=4, epoch=24)
    source = PairSource(store, loader._source._settings, seed=0)
    anchors, strangers = Anchors().boxes(), 0
    for step in range(4):
        batch = loader.batch(step)
        for row in range(4):
            pair, labels = source.pair(0, 4 * step + row), batch.labels[row]
            assert torch.equal(batch.search[row], torch.from_numpy(pair.search).permute(2, 0, 1))
            right = labels == 1
            if pair.box is None:
                strangers += 1
                assert int((labels == 0).sum()) == 16
                assert int((labels[:, 9:16, 9:16] == 0).sum()) == 16
                assert not right.any()
                assert not batch.has_mask[row]
                assert not batch.weights[row].any()
                continue
            count = int(right.sum())
            assert 1 <= count <= 16
            assert int((labels >= 0).sum()) == 64
            assert torch.allclose(batch.weights[row][right], torch.tensor(1 / count))
            boxes = decode_boxes(batch.deltas[row], anchors)[:, right]
            assert torch.allclose(boxes, torch.tensor(pair.box)[:, None].expand(-1, count), atol=1e-3)
            assert torch.equal(batch.masks[row], torch.from_numpy(pair.mask))
    assert strangers >= 2


def test_f022_the_rule_of_the_recipe_is_followed(store):
    batch = loader_of(store, rule=LabelRule(positives=3, total=9), negatives=0.0).batch(0)
    assert ((batch.labels == 1).sum((1, 2, 3)) <= 3).all()
    assert ((batch.labels >= 0).sum((1, 2, 3)) == 9).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_batches_do_not_depend_on_threads(store, threads):
    """Also where an epoch is shorter than what the threads make ahead."""
    one, several = (first(loader_of(store, threads=number, epoch=3), 6) for number in (1, threads))
    assert all(same(a, b) for a, b in zip(one, several, strict=True))


def test_batches_go_on_where_a_stopped_loader_was(store):
    whole = first(loader_of(store), 5)
    stopped = loader_of(store)
    first(stopped, 2)
    state = stopped.state_dict()
    assert state["step"] == 2, "batches made ahead do not count"
    again = loader_of(store)
    again.load_state_dict(state)
    assert all(same(a, b) for a, b in zip(first(again, 3), whole[2:], strict=True))


def test_f094_two_ranks_share_the_joined_batch(store):
    whole = loader_of(store, batch_size=4)
    parts = [loader_of(store, batch_size=2, rank=rank, world=2) for rank in range(2)]
    for step in range(3):
        halves = [part.batch(step) for part in parts]
        for name in NAMES:
            joined = torch.cat([getattr(half, name) for half in halves])
            assert torch.equal(joined, getattr(whole.batch(step), name)), name


def test_another_seed_or_store_cannot_go_on(store, draw_targets, tmp_path):
    state = loader_of(store).state_dict()
    with pytest.raises(SettingError, match="seed 1 differs from the 0 that the run began with"):
        loader_of(store, seed=1).load_state_dict(state)
    other = TargetStore(draw_targets(tmp_path, videos=2))
    with pytest.raises(DatasetError, match="began with 4 videos of targets, now 2"):
        loader_of(other).load_state_dict(state)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}, {"seed": -1}, {"rank": 2, "world": 2}])
def test_wrong_numbers_are_told(store, wrong):
    with pytest.raises(SettingError, match="a loader needs batch_size and threads of 1 or more"):
        loader_of(store, **wrong)


@pytest.fixture
def damaged(store, tmp_path):
    """A copy, and what damages the crops of some of its videos."""
    root = tmp_path / "damaged"
    shutil.copytree(store.root, root)

    def damage(pattern):
        for path in (root / "crop511/drawn").glob(f"{pattern}/*.x.jpg"):
            path.write_bytes(b"no picture")
        return TargetStore(root)

    return damage


def test_a_crop_that_cannot_be_read_gives_its_place_to_another_pair(damaged, caplog):
    broken = damaged("video-00")
    source = PairSource(broken, PairSettings(epoch=8, negatives=0.0), seed=0)
    hit = [position for position in range(8) if source.draw(0, position)[0].template[0].video == "video-00"]
    assert hit
    with caplog.at_level(logging.WARNING):
        batch = loader_of(broken, batch_size=8, epoch=8, negatives=0.0).batch(0)
    assert len(batch.template) == 8
    said = [record.getMessage() for record in caplog.records]
    assert said
    assert all("left out" in text and "video-00" in text for text in said)
    fine = next(position for position in range(8) if position not in hit)
    expected = PairSource(broken, PairSettings(epoch=8, negatives=0.0, search=ViewSettings(shift=24, scale=0.18, blur=0.2)), seed=0)
    assert torch.equal(batch.search[fine], torch.from_numpy(expected.pair(0, fine).search).permute(2, 0, 1))


def test_twenty_pairs_in_a_row_that_cannot_be_read_are_an_error(damaged, caplog):
    loader = loader_of(damaged("*"))
    with pytest.raises(DatasetError, match=r"20 pairs in a row cannot be read .*make the store of targets again"):
        next(iter(loader))
    assert sum("left out" in record.getMessage() for record in caplog.records) >= 20
