"""Colours, clusters and labels of the objectives that copy colours."""

import pytest
import torch

from followspot.errors import SettingError
from followspot.objectives.base import ClipBatch
from followspot.objectives.palette import Palette, PaletteSettings
from followspot.ops.color import rgb_to_lab


def batch(size=4, seed=0):
    frames = torch.rand(size, 2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return ClipBatch(frames=frames, clean=frames)


def settled(settings=None, *, steps=3, clips=None):
    palette = Palette(settings or PaletteSettings(clusters=5, kmeans_interval=1))
    clips = clips or batch()
    torch.manual_seed(0)
    for step in range(steps):
        palette.follow(clips, palette.colours(clips.clean), step=step)
    return palette


@pytest.mark.parametrize("color", ["ab", "rgb"])
def test_f032_centres_are_found_moved_and_lie_among_the_colours(color):
    palette = settled(PaletteSettings(color=color, clusters=5, kmeans_interval=1))
    colours = palette.colours(batch().clean)
    axis = colours.transpose(1, 2).flatten(2).transpose(0, 1).flatten(1)
    assert (palette.centres >= axis.amin(1)).all()
    assert (palette.centres <= axis.amax(1)).all()
    assert torch.pdist(palette.centres).min() > 0
    assert palette.labels(colours).sum((0, 1, 3, 4)).min() > 0, "every cluster is used"


def test_f032_centres_live_in_the_state():
    palette = settled()
    other = Palette(palette.settings)
    other.load_state_dict(palette.state_dict())
    torch.manual_seed(7)
    clips = batch(seed=1)
    states = []
    for one in (palette, other):
        torch.manual_seed(7)
        one.follow(clips, one.colours(clips.clean), step=9)
        states.append(one.centres.clone())
    assert torch.equal(*states)


def test_centres_move_only_every_so_many_steps():
    palette = settled(PaletteSettings(clusters=5, kmeans_interval=4), steps=1)
    before, clips = palette.centres.clone(), batch(seed=3)
    for step in (1, 2, 3):
        palette.follow(clips, palette.colours(clips.clean), step=step)
        assert torch.equal(palette.centres, before)
    palette.follow(clips, palette.colours(clips.clean), step=4)
    assert not torch.equal(palette.centres, before)


def test_a_split_batch_sends_the_points_that_the_whole_would_take(monkeypatch):
    # What follows the gathering is the same computation on the same points in every process.
    sent = []

    def gather(rows):
        sent.append(rows)
        return rows

    monkeypatch.setattr("followspot.objectives.palette.gather_rows", gather)
    whole = batch()
    for first, count, total in ((0, 4, None), (0, 2, 4), (2, 2, 4)):
        rows = slice(first, first + count)
        settled(steps=1, clips=ClipBatch(frames=whole.frames[rows], clean=whole.clean[rows], first=first, total=total))
    assert torch.equal(sent[0], torch.cat(sent[1:]))


def test_colours_are_exact_under_autocast():
    palette, frames = Palette(PaletteSettings()), batch().frames
    with torch.autocast("cpu", torch.bfloat16):
        rounded = palette.colours(frames)
    assert torch.equal(rounded, palette.colours(frames))


def test_fixed_centres_stay():
    fixed = ((0.0, 0.0), (30.0, 40.0))
    palette = settled(PaletteSettings(clusters=2, centres=fixed, kmeans_interval=1))
    assert palette.centres.tolist() == [list(centre) for centre in fixed]


def test_b13_clusters_and_labels_see_the_same_colours():
    # Pixels alternate between two colours, cells are all their mean: clusters of cells must be one colour.
    frames = torch.zeros(2, 2, 3, 8, 8)
    frames[..., ::2] = 1
    frames[:, :, 2] = 0
    palette = Palette(PaletteSettings(clusters=3, kmeans_interval=1))
    cells = palette.colours(frames).mean((3, 4), keepdim=True).expand(-1, -1, -1, 2, 2)
    palette.follow(ClipBatch(frames=frames, clean=frames), cells, step=0)
    torch.testing.assert_close(palette.centres, cells[0, 0, :, 0, 0].expand(3, 2))


def test_pictures_have_the_targets_lightness():
    palette = settled()
    light = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(5)) * 0.2 + 0.4
    labels = palette.labels(palette.colours(light))
    shown = palette.show(labels, size=(16, 16), kind="labels", light=light)
    inside = ((shown > 0) & (shown < 1)).all(0)
    torch.testing.assert_close(rgb_to_lab(shown)[0][inside], rgb_to_lab(light)[0][inside], atol=0.1, rtol=0)
    assert rgb_to_lab(palette.show(torch.zeros(2, 4, 4), size=(8, 8), kind="values"))[0].mean().item() == pytest.approx(75, abs=0.1)
    rgb = Palette(PaletteSettings(color="rgb"))
    assert torch.equal(rgb.show(light, size=(16, 16), kind="values"), light)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"color": "hsv"}, "use ab or rgb"),
        ({"clusters": 1}, "clusters = 1 must be 2 or more"),
        ({"kmeans_interval": 0}, "kmeans_interval = 0"),
        ({"kmeans_steps": 0}, "kmeans_steps = 0"),
        ({"kmeans_memory": 1.0}, r"kmeans_memory = 1.0 must be in \[0, 1\)"),
        ({"empty_share": -0.1}, "empty_share = -0.1"),
        ({"clusters": 2, "centres": ((0.0, 1.0),)}, "do not fit 2 clusters"),
        ({"clusters": 2, "color": "rgb", "centres": ((0.0, 1.0), (1.0, 1.0))}, "give 2 lists of 3"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, message):
    with pytest.raises(SettingError, match=message):
        PaletteSettings(**settings)
