"""Alignment, attention and the six regions."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bsnet.aligner import Aligner, aligned, identity
from models.bsnet.attention import attended
from models.bsnet.film_regions import film_regions, frame_heights, rotation
from models.bsnet.regions import COLUMNS, REGIONS, ROWS, region_crops
from models.zones import Lungs, zone_map

FRAME = (240, 240)
"""A frame that toy lungs fill, as the target of the alignment has it."""


def toy_lungs(shape: tuple[int, int] = FRAME) -> Lungs:
    rows, columns = shape
    masks = []
    for centre in (0.24, 0.76):
        mask = np.zeros(shape, np.uint8)
        axes = (int(0.22 * columns), int(0.48 * rows))
        cv2.ellipse(mask, (int(centre * columns), rows // 2), axes, 0, 0, 360, 1, -1)
        masks.append(mask > 0)
    return Lungs(masks[0], masks[1])


def moved(
    degrees: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float32]:
    """Theta of lungs that lie turned clockwise, scaled and shifted (x, y) on a square film."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.hstack([turn, np.array(shift)[:, None]]).astype(np.float32)


def on_film(mask: NDArray[np.bool_], theta: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Draw what fills the frame where theta says it lies on the film, with another library than torch."""
    side = mask.shape[0]
    # Normalised edges -1, 1 are pixel centres -0.5 and side - 0.5.
    to_pixels = np.array([[side / 2, 0, (side - 1) / 2], [0, side / 2, (side - 1) / 2], [0, 0, 1]])
    whole = to_pixels @ np.vstack([theta, [0, 0, 1]]) @ np.linalg.inv(to_pixels)
    drawn = cv2.warpAffine(mask.astype(np.float32), whole[:2], (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(drawn) > 0.5


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


MOVES = [
    moved(),
    moved(degrees=15, scale=0.6, shift=(0.1, -0.15)),
    moved(degrees=-18, scale=0.7, shift=(-0.1, 0.1)),
]


@pytest.mark.parametrize("theta", MOVES)
def test_the_right_transform_brings_toy_lungs_to_the_frame(theta: NDArray[np.float32]) -> None:
    frame = toy_lungs()
    both = frame.right | frame.left
    film = torch.from_numpy(on_film(both, theta).astype(np.float32))[None, None]
    back = aligned(film, torch.from_numpy(theta)[None])[0, 0].numpy() > 0.5
    assert dice(back, both) > 0.97


@pytest.mark.parametrize("theta", MOVES)
def test_the_regions_of_the_frame_come_back_to_the_film(theta: NDArray[np.float32]) -> None:
    frame = toy_lungs()
    lungs = Lungs(on_film(frame.right, theta), on_film(frame.left, theta))
    regions = film_regions(lungs, theta)
    assert regions.warnings == ()
    np.testing.assert_array_equal(regions.zones > 0, lungs.right | lungs.left)
    third = np.minimum(3 * np.arange(FRAME[0]) // FRAME[0], 2)[:, None]
    for number in range(6):
        lung = frame.right if number < 3 else frame.left
        expected = on_film(lung & (third == number % 3), theta)
        assert dice(regions.zones == number + 1, expected) > 0.94


def test_the_turn_of_the_chest_is_told_beyond_what_the_score_was_tried_for() -> None:
    theta = moved(degrees=-27, scale=0.6)
    assert rotation(theta, FRAME) == pytest.approx(-27, abs=0.01)
    frame = toy_lungs()
    lungs = Lungs(on_film(frame.right, theta), on_film(frame.left, theta))
    assert any("turned by 27°" in warning for warning in film_regions(lungs, theta).warnings)


def test_the_turn_is_measured_on_the_film_s_square_pixels() -> None:
    # 20 degrees on a film of 400 x 200: in normalised coordinates its axes have other lengths.
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * 100 / np.array([[100], [200]]) * np.array([1.2, 0.8])
    theta = np.hstack([linear, np.zeros((2, 1))]).astype(np.float32)
    assert rotation(theta, (400, 200)) == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("theta", [np.zeros((2, 3), np.float32), moved(shift=(0.0, 5.0)), -moved(scale=0.05)])
def test_a_transform_that_cannot_be_leaves_thirds_of_equal_area(theta: NDArray[np.float32]) -> None:
    lungs = toy_lungs()
    regions = film_regions(lungs, theta)
    np.testing.assert_array_equal(regions.zones, zone_map(lungs))
    assert "could not be aligned" in regions.warnings[0]


def test_heights_run_from_the_upper_to_the_lower_edge() -> None:
    heights = frame_heights(moved(), (10, 4))
    assert heights is not None
    np.testing.assert_allclose(heights[:, 0], (np.arange(10) + 0.5) / 10, atol=1e-6)
    np.testing.assert_array_equal(heights[:, :1].repeat(4, 1), heights)
    assert frame_heights(moved() * np.array([[1, 1, 1], [-1, -1, 1]], np.float32), (4, 4)) is None


def test_an_aligner_starts_at_the_identity_and_the_identity_changes_nothing() -> None:
    maps = torch.rand(2, 3, 31, 64)
    assert torch.equal(Aligner().eval()(torch.rand(2, 1, 100, 90)), identity(maps))
    torch.testing.assert_close(aligned(maps, identity(maps)), maps)


def test_beyond_the_film_there_is_nothing() -> None:
    assert aligned(torch.ones(1, 1, 8, 8), torch.from_numpy(moved(scale=2.0))[None])[0, 0, 0].sum() == 0


def test_an_aligner_learns_to_bring_shifted_lungs_to_the_frame() -> None:
    torch.manual_seed(0)
    frame = toy_lungs((128, 128))
    target = torch.from_numpy((frame.right | frame.left).astype(np.float32))[None, None]
    moves = [moved(scale=0.7, shift=(x, y)) for x in (-0.2, 0.2) for y in (-0.2, 0.2)]
    films = np.stack([on_film(target[0, 0].numpy() > 0, theta) for theta in moves]).astype(np.float32)
    lungs = torch.from_numpy(films)[:, None]
    aligner = Aligner()
    optimizer = torch.optim.Adam(aligner.parameters(), 1e-3)

    def loss() -> torch.Tensor:
        found = aligned(lungs, aligner(lungs))
        return 1 - 2 * (found * target).sum() / (found.sum() + len(lungs) * target.sum())

    before = loss().item()
    for _ in range(35):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    assert before > 0.4
    assert loss().item() < 0.15


def test_hard_attention_sees_nothing_where_there_is_no_lung() -> None:
    lungs = torch.zeros(1, 1, 32, 32)
    lungs[..., :16, :] = 1
    lungs[..., 16:24, :] = 0.5
    levels = [torch.rand(1, 5, side, side) for side in (32, 16, 8, 4)]
    for level, seen in zip(levels, attended(levels, lungs), strict=True):
        side = level.shape[2]
        torch.testing.assert_close(seen[..., : side // 2, :], level[..., : side // 2, :])
        quarter = slice(side // 2, 3 * side // 4)
        torch.testing.assert_close(seen[..., quarter, :], level[..., quarter, :] / 2)
        assert not seen[..., 3 * side // 4 :, :].any()


def test_regions_overlap_by_a_quarter_of_their_height_and_not_sideways() -> None:
    assert len(REGIONS) == 6
    for above, below in pairwise(ROWS):
        assert (above[1] - below[0]) / (above[1] - above[0]) == pytest.approx(0.25)
    assert COLUMNS[0][1] == COLUMNS[1][0]
    assert ROWS[0][0] == COLUMNS[0][0] == 0
    assert ROWS[-1][1] == COLUMNS[-1][1] == 1


def test_crops_come_row_by_row_and_show_their_boxes() -> None:
    rows = ((torch.arange(20) + 0.5) / 20)[:, None].expand(20, 20)
    maps = torch.stack([rows, rows.T])[None]
    crops = region_crops(maps, (8, 10))
    assert crops.shape == (1, 6, 2, 8, 10)
    for index, (expected_rows, expected_columns) in enumerate(REGIONS):
        row_values, column_values = crops[0, index, 0, :, 5], crops[0, index, 1, 4]
        for values, (first, last) in ((row_values, expected_rows), (column_values, expected_columns)):
            step = (last - first) / len(values)
            expected = first + step * (torch.arange(len(values)) + 0.5)
            torch.testing.assert_close(values, expected.clamp(0.025, 0.975), atol=1e-4, rtol=0)
    # A upper and D upper, then B and E: the layout (3, 2) row by row.
    assert [(rows[0], columns[0]) for rows, columns in REGIONS] == [
        (row, column) for row in (0.0, 0.3, 0.6) for column in (0.0, 0.5)
    ]
