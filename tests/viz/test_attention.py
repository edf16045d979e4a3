"""F163: a clicked point's heat map peaks at the point that matches."""

import numpy as np
import pytest
import torch

from followspot.datasets.textures import dead_leaves
from followspot.errors import SettingError
from followspot.models.encoder import encode_image, load_encoder
from followspot.viz.attention import atlas, attention, cell_centres, click_grid, draw_heat, peaks, similarity_matrix

SIZE = (96, 128)


@pytest.fixture(scope="module")
def shifted():
    """Features of two frames of one scene, the second of which has moved by 3 cells to the right and 2 down."""
    scene = dead_leaves(np.random.default_rng(5), (SIZE[0] + 16, SIZE[1] + 24), hues=(0.1, 0.5, 0.8))
    wide = np.clip(255 * scene, 0, 255).astype(np.uint8) if scene.max() <= 1.5 else scene.astype(np.uint8)
    encoder = load_encoder("descriptor")
    first, second = wide[16:, 24:], wide[: SIZE[0], : SIZE[1]]
    return [encode_image(encoder, np.ascontiguousarray(frame), size=SIZE) for frame in (first, second)]


def test_f163_the_peak_is_at_the_matched_point(shifted):
    first, second = shifted
    grid = click_grid((12, 16), SIZE, across=8)
    inside = (grid.cells[:, 0] < 9) & (grid.cells[:, 1] < 12) & (grid.cells > 0).all(1)
    found = peaks(attention(first, second, grid.cells, temperature=0.02), SIZE)
    assert inside.sum() > 20
    assert np.abs(found - grid.points - (24, 16))[inside].max() == 0


def test_a_frame_finds_itself(shifted):
    grid = click_grid((12, 16), SIZE)
    assert np.array_equal(peaks(attention(shifted[0], shifted[0], grid.cells, temperature=0.1), SIZE), grid.points)


@pytest.mark.parametrize("normalize", [True, False])
def test_maps_are_a_softmax_over_all_cells(normalize):
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 2, 6))
    cells = np.array([[2, 1], [0, 3]])
    found = attention(torch.from_numpy(query), torch.from_numpy(key), cells, temperature=0.7, normalize=normalize)
    for index, (row, column) in enumerate(cells):
        scores = np.zeros((2, 6))
        for y in range(2):
            for x in range(6):
                a, b = query[:, row, column], key[:, y, x]
                scores[y, x] = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) if normalize else 1)
        weights = np.exp(scores / 0.7)
        assert np.allclose(found[index], weights / weights.sum(), atol=1e-6)


def test_points_are_centres_of_cells_in_rows():
    grid = click_grid((6, 9), (60, 90), across=3)
    assert (grid.across, grid.down) == (3, 2)
    assert grid.cells.tolist() == [[1, 1], [1, 4], [1, 7], [4, 1], [4, 4], [4, 7]]
    assert grid.points[0].tolist() == [14.5, 14.5]
    assert np.array_equal(cell_centres(grid.cells, (6, 9), (60, 90)), grid.points)
    assert click_grid((2, 2), (480, 480), across=16).cells.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_atlas_keeps_each_map_in_its_tile():
    maps = torch.rand(5, 3, 4)
    sheet = atlas(maps, across=2)
    assert sheet.shape == (9, 8)
    for index in range(5):
        row, column = divmod(index, 2)
        tile = sheet[3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
        assert np.array_equal(tile, np.round(255 * np.sqrt(maps[index].numpy() / maps[index].numpy().max())).astype(np.uint8))
    assert not sheet[6:, 4:].any()
    assert not atlas(torch.zeros(1, 2, 2), across=1).any()


def test_similarity_of_a_frame_with_itself_is_one_on_the_diagonal(shifted):
    matrix = similarity_matrix(shifted[0], shifted[0], most=6)
    assert matrix.shape == (36, 36)
    assert np.allclose(np.diag(matrix), 1, atol=1e-5)
    assert np.allclose(matrix, matrix.T, atol=1e-5)


def test_heat_is_brightest_at_the_largest_weight():
    weights = np.zeros((6, 8), np.float32)
    weights[4, 5] = 1
    picture = draw_heat(np.full((60, 80, 3), 90, np.uint8), weights)
    assert np.unravel_index(picture.sum(2).argmax(), (60, 80))[0] // 10 == 4
    ringed = draw_heat(np.full((60, 80, 3), 90, np.uint8), weights, point=(20, 20))
    assert (ringed[20, 24:27] != picture[20, 24:27]).any()


def test_errors_say_what_is_wrong():
    with pytest.raises(SettingError, match="one encoder"):
        attention(torch.zeros(3, 2, 2), torch.zeros(4, 2, 2), np.array([[0, 0]]), temperature=1)
    with pytest.raises(SettingError, match="temperature"):
        attention(torch.zeros(3, 2, 2), torch.zeros(3, 2, 2), np.array([[0, 0]]), temperature=0)
    with pytest.raises(SettingError, match="across"):
        click_grid((2, 2), (4, 4), across=0)
