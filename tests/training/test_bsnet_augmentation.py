"""What is done to films in BS-Net's training, and the synthetic alignment set."""

import cv2
import numpy as np
import pytest

from models.bsnet.aligner import aligned
from training.bsnet.alignment_set import (
    MARGIN,
    PLAUSIBLE_DEGREES,
    alignment_pair,
    frame_field,
    orientation,
    standard_frame,
)
from training.bsnet.augmentation import (
    CODE,
    PAPER,
    SWITCHES,
    Augmentation,
    draw,
    identity_field,
    rotated_field,
    warp,
)

SIDE = 128
STILL = PAPER.without_geometry().without_grey()


def lungs(side: int = SIDE, degrees: float = 0.0) -> np.ndarray:
    mask = np.zeros((side, side), np.float32)
    for share in (0.35, 0.65):
        centre = (int(share * side), side // 2)
        cv2.ellipse(mask, centre, (int(0.11 * side), int(0.27 * side)), 0, 0, 360, 1.0, -1)
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(mask, turn, (side, side))


def test_no_change_changes_nothing() -> None:
    film = np.random.default_rng(1).random((48, 48), np.float32)

    change = draw(STILL, np.random.default_rng(2), 48)

    assert np.allclose(change.film(film), film, atol=1e-6)
    assert not change.flipped


def test_a_flip_mirrors_the_film_and_swaps_the_columns_of_the_scores() -> None:
    film = np.random.default_rng(1).random((48, 48), np.float32)
    scores = np.array([[0, 1], [2, 3], [1, 0]], np.float32)

    change = draw(Augmentation(**{**vars(STILL), "flip_p": 1.0}), np.random.default_rng(2), 48)

    assert change.flipped
    assert np.allclose(change.film(film), film[:, ::-1], atol=1e-6)
    assert change.scores(scores).tolist() == [[1, 0], [3, 2], [0, 1]]


def test_film_and_lungs_move_together() -> None:
    mask = lungs()
    settings = PAPER.without_grey()
    generator = np.random.default_rng(3)
    for _ in range(20):
        change = draw(settings, generator, SIDE)
        assert np.array_equal(change.film(mask), change.lungs(mask))


@pytest.mark.parametrize("name", ["rotation_degrees", "scale", "shift"])
def test_affine_changes_stay_within_their_ranges(name: str) -> None:
    only = {"rotation_p": 0.0, "scale_p": 0.0, "shift_p": 0.0}
    only[f"{name.removesuffix('_degrees')}_p"] = 1.0
    settings = Augmentation(**{**vars(STILL), **only})
    generator = np.random.default_rng(4)
    seen = []
    for _ in range(300):
        field = draw(settings, generator, 16).field.astype(np.float64)
        across = (field[0, -1] - field[0, 0]) / (identity_field(16)[0, -1] - identity_field(16)[0, 0])[0]
        middle = field.mean(axis=(0, 1)) / 2
        seen.append(
            {
                "rotation_degrees": np.degrees(np.arctan2(across[1], across[0])),
                "scale": 1 / np.hypot(*across) - 1,
                "shift": np.abs(middle).max(),
            }[name]
        )
    limit = getattr(PAPER, name)
    assert np.abs(seen).max() <= limit * 1.001
    assert np.abs(seen).max() > 0.9 * limit


@pytest.mark.parametrize("settings", [PAPER, CODE])
def test_the_same_generator_gives_the_same_change(settings: Augmentation) -> None:
    first, second = (draw(settings, np.random.default_rng(5), 32) for _ in range(2))

    assert np.array_equal(first.field, second.field)


def test_the_code_deforms_in_one_way_at_most_and_the_switches_leave_parts_out() -> None:
    assert CODE.one_deformation_p == 0.3
    assert CODE.rotation_degrees == 30
    assert SWITCHES["all"] == PAPER
    assert (SWITCHES["geometric"].rotation_degrees, SWITCHES["geometric"].grey_p) == (25.0, 0.0)
    assert (SWITCHES["brightness-contrast"].rotation_p, SWITCHES["brightness-contrast"].grey_p) == (0.0, 0.5)
    assert SWITCHES["none"] == STILL


@pytest.mark.parametrize("degrees", [-12, -5, 0, 5, 12])
def test_orientation_finds_the_angle_of_turned_lungs(degrees: float) -> None:
    still, turned = orientation(lungs() > 0.5), orientation(lungs(degrees=degrees) > 0.5)

    assert still is not None
    assert turned is not None
    assert turned - still == pytest.approx(degrees, abs=1.0)


def test_an_implausible_angle_is_not_removed() -> None:
    assert orientation(lungs(degrees=PLAUSIBLE_DEGREES + 20) > 0.5) is None
    assert orientation(np.zeros((SIDE, SIDE), bool)) is None


def test_in_the_standard_frame_lungs_fill_the_frame_but_for_the_margin() -> None:
    mask = lungs(degrees=8)
    theta = standard_frame(mask > 0.5)
    assert theta is not None

    inside = warp(mask, frame_field(theta)) > 0.5

    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    margin = MARGIN * SIDE
    for ends in (rows, columns):
        assert ends[0] == pytest.approx(margin, abs=3)
        assert SIDE - 1 - ends[-1] == pytest.approx(margin, abs=3)


def test_the_frame_means_the_same_to_the_aligner() -> None:
    import torch

    mask = lungs(degrees=8)
    theta = standard_frame(mask > 0.5)
    assert theta is not None

    ours = warp(mask, frame_field(theta))
    theirs = aligned(torch.from_numpy(mask)[None, None], torch.from_numpy(theta)[None])[0, 0].numpy()

    assert np.abs(ours - theirs).mean() < 1e-3


def test_a_pair_has_distorted_lungs_and_an_undistorted_target() -> None:
    mask = lungs()
    theta = standard_frame(mask > 0.5)
    assert theta is not None
    generator = np.random.default_rng(6)
    still = alignment_pair(mask, theta, STILL, generator)
    pairs = [alignment_pair(mask, theta, PAPER, generator) for _ in range(10)]

    assert np.allclose(still.lungs, mask, atol=1e-6)
    assert any(np.abs(pair.lungs - mask).mean() > 0.05 for pair in pairs)
    mirrored = still.target[:, ::-1]
    assert all(np.allclose(pair.target, still.target) or np.allclose(pair.target, mirrored) for pair in pairs)


def test_a_rotated_field_turns_counter_clockwise() -> None:
    turned = warp(lungs(), rotated_field(SIDE, 10))

    assert orientation(turned > 0.5) == pytest.approx(10 + (orientation(lungs() > 0.5) or 0), abs=1)


def test_no_lungs_have_no_frame() -> None:
    assert standard_frame(np.zeros((SIDE, SIDE), bool)) is None
