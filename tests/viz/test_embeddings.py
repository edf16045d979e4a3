import numpy as np
import pytest
import torch

from followspot.errors import SettingError
from followspot.viz.embeddings import as_pictures, pca_colors


def features(seed=0, channels=12):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, channels, 5, 7, generator=generator) * torch.arange(1, channels + 1).view(1, -1, 1, 1)


def test_colours_are_the_scores_of_a_plain_pca():
    found = pca_colors(features())
    rows = features().double().permute(0, 2, 3, 1).reshape(-1, 12).numpy()
    rows = rows - rows.mean(0)
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    for color, direction in enumerate(directions[:3]):
        score = rows @ (direction * np.sign(direction[np.abs(direction).argmax()]))
        expected = np.clip(0.5 + score / score.std() / 5, 0, 1)
        assert np.allclose(found[:, color].reshape(-1).numpy(), expected, atol=1e-5)
    assert found.shape == (3, 3, 5, 7)
    assert found.dtype == torch.float32


def test_a_colour_means_the_same_in_each_frame():
    clip = features()
    clip[2] = clip[0]
    found = pca_colors(clip)
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[1], atol=0.1)


def test_scale_and_offset_do_not_matter():
    assert torch.allclose(pca_colors(features()), pca_colors(features() * 1e-3 + 7), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 2])
def test_missing_channels_and_constant_features_are_gray(channels):
    found = pca_colors(features(channels=channels))
    assert (found[:, channels:] == 0.5).all()
    assert found[:, :channels].std() > 0.1
    assert (pca_colors(torch.full((2, 8, 3, 3), 3.7)) == 0.5).all()
    one_way = torch.randn(2, 1, 4, 4).expand(2, 8, 4, 4)
    assert (pca_colors(one_way)[:, 1:] == 0.5).all()


def test_bad_features_are_explained():
    with pytest.raises(SettingError, match=r"\(T, C, h, w\), got \(3, 4, 4\)"):
        pca_colors(torch.zeros(3, 4, 4))
    with pytest.raises(SettingError, match="not finite"):
        pca_colors(torch.full((1, 4, 2, 2), float("nan")))


def test_colours_of_cells_become_pictures_of_the_frames_size():
    colours = torch.zeros(2, 3, 2, 2)
    colours[1, 0, :, 1] = 1
    first, second = as_pictures(colours, (20, 40))
    assert first.shape == second.shape == (20, 40, 3)
    assert not first.any()
    assert second[:, 30:].reshape(-1, 3).tolist()[0] == [255, 0, 0]
    assert (np.diff(second[10, :, 0].astype(int)) >= 0).all()
