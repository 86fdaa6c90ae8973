import cv2
import numpy as np
import pytest

from models.result import ZONE_ORDER, NotAssessableReason
from models.severity import measure
from models.zones import Lungs, NoLungs, clean, implausible, separate, thirds, zone_map

SHAPE = (512, 512)


def ellipse(centre, axes, shape=SHAPE):
    canvas = np.zeros(shape, np.uint8)
    cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1)
    return canvas > 0


RIGHT = ellipse((150, 260), (80, 180))
LEFT = ellipse((362, 260), (75, 170))


def test_golden_ellipse():
    lung = ellipse((256, 256), (90, 220))
    assert lung.sum() == 62677
    upper, lower = thirds(lung)
    areas = lung[:upper].sum(), lung[upper:lower].sum(), lung[lower:].sum()
    widest = lung.sum(axis=1).max()
    assert all(abs(area - 62677 / 3) <= widest for area in areas)
    # The published code cuts at 198 and 313 from the bottom, or one row off either way.
    assert abs((512 - upper) - 313) <= 1
    assert abs((512 - lower) - 198) <= 1


def test_thirds_of_a_rectangle_are_exact():
    lung = np.zeros((100, 20), bool)
    lung[10:40] = True
    assert thirds(lung) == (20, 30)


def test_thirds_take_the_upper_of_two_equal_cuts():
    lung = np.ones((4, 1), bool)
    # 4/3 lies nearer to 1 than to 2, 8/3 nearer to 3; a weight of two rows makes a tie at 1.5 rows.
    assert thirds(lung) == (1, 3)
    tie = np.zeros((2, 3), bool)
    tie[0, :3] = tie[1, :3] = True
    assert thirds(tie) == (1, 1)


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (1, 3), (3, 3)])
def test_zones_do_not_change_with_stretching(rows, columns):
    lungs = Lungs(RIGHT, LEFT)
    plain = np.bincount(zone_map(lungs).ravel(), minlength=7)[1:]
    large = Lungs(*(np.kron(lung, np.ones((rows, columns), bool)) for lung in (RIGHT, LEFT)))
    stretched = np.bincount(zone_map(large).ravel(), minlength=7)[1:]
    np.testing.assert_allclose(stretched / rows / columns, plain, atol=200)


def test_zone_map_numbers_zones_by_side_and_height():
    zones = zone_map(Lungs(RIGHT, LEFT))
    centres = {
        number: tuple(float(axis.mean()) for axis in np.nonzero(zones == number)) for number in range(1, 7)
    }
    assert centres[1][0] < centres[2][0] < centres[3][0]
    assert centres[4][0] < centres[5][0] < centres[6][0]
    assert centres[2][1] < 256 < centres[5][1]  # the patient's right at the image's left
    assert [str(side) for side, _ in ZONE_ORDER] == ["right"] * 3 + ["left"] * 3
    np.testing.assert_array_equal(zones > 0, RIGHT | LEFT)


def test_clean_drops_what_is_small_for_the_frame():
    mask = RIGHT | LEFT
    mask[5:60, 230:260] = True  # 1650 px, 0.6 % of the frame
    cleaned = clean(mask)
    assert not cleaned[5:60, 230:260].any()
    assert (cleaned & RIGHT).sum() > 0.97 * RIGHT.sum()


def test_clean_scales_with_the_frame():
    small = cv2.resize((RIGHT | LEFT).astype(np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST) > 0
    large = np.kron(small, np.ones((4, 4), bool))
    share_small, share_large = clean(small).mean(), clean(large).mean()
    assert share_small == pytest.approx(share_large, abs=0.02)
    assert share_small > 0.25


def test_clean_closes_no_gap_between_lungs_but_fills_notches():
    mask = RIGHT.copy()
    mask[260, 60:120] = False  # a slit one pixel high
    assert clean(mask | LEFT)[260, 90]


def test_separate_names_the_sides():
    lungs = separate(LEFT | RIGHT)
    assert isinstance(lungs, Lungs)
    np.testing.assert_array_equal(lungs.right, RIGHT)
    np.testing.assert_array_equal(lungs.left, LEFT)
    assert lungs.warnings == ()


def test_separate_takes_the_two_largest_not_the_first_two():
    mask = LEFT | RIGHT
    stray = ellipse((256, 45), (60, 40))  # first in raster order, smaller than either lung
    lungs = separate(mask | stray)
    assert isinstance(lungs, Lungs)
    np.testing.assert_array_equal(lungs.right, RIGHT)
    assert len(lungs.warnings) == 1


def test_separate_cuts_a_merged_blob_at_its_lowest_column():
    mask = RIGHT | LEFT
    mask[250:256, 220:300] = True
    lungs = separate(mask)
    assert isinstance(lungs, Lungs)
    assert "separated by force" in lungs.warnings[0]
    assert not (lungs.right & lungs.left).any()
    assert (lungs.right & RIGHT).sum() == RIGHT.sum()
    assert (lungs.left & LEFT).sum() == LEFT.sum()


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros(SHAPE, bool), NotAssessableReason.NO_LUNGS),
        (ellipse((256, 256), (20, 20)), NotAssessableReason.NO_LUNGS),
        (RIGHT, NotAssessableReason.ONE_LUNG),
        (LEFT, NotAssessableReason.ONE_LUNG),
    ],
)
def test_separate_says_what_is_missing(mask, reason):
    found = separate(mask)
    assert isinstance(found, NoLungs)
    assert found.reason is reason


def test_lungs_of_a_chest_are_plausible():
    assert implausible(Lungs(RIGHT, LEFT)) is None


@pytest.mark.parametrize(
    ("right", "left", "reason", "words"),
    [
        (RIGHT, ellipse((362, 260), (40, 100)), NotAssessableReason.ONE_LUNG, "other's area"),
        (RIGHT, np.zeros(SHAPE, bool), NotAssessableReason.ONE_LUNG, "one lung"),
        (ellipse((80, 80), (40, 45)), ellipse((260, 80), (40, 45)), "implausible-lungs", "both lungs cover"),
        (ellipse((130, 260), (120, 45)), ellipse((380, 260), (120, 45)), "implausible-lungs", "height of"),
        (
            ellipse((130, 260), (125, 60)),
            ellipse((380, 260), (125, 60)),
            "implausible-lungs",
            "height over width",
        ),
        (ellipse((130, 130), (80, 120)), ellipse((380, 380), (80, 120)), "implausible-lungs", "share"),
        (
            ellipse((220, 260), (35, 200)),
            ellipse((295, 260), (35, 200)),
            "implausible-lungs",
            "height over width",
        ),
        (ellipse((215, 260), (40, 130)), ellipse((300, 260), (40, 130)), "implausible-lungs", "distance"),
    ],
)
def test_implausible_lungs_are_refused_with_the_figure(right, left, reason, words):
    found = implausible(Lungs(right, left))
    assert found is not None
    assert found.reason == reason
    assert words in found.message


def test_involvement_needs_more_than_the_threshold():
    zones = np.repeat(np.arange(1, 7, dtype=np.uint8), 10)[None]
    opacity = np.zeros_like(zones, bool)
    opacity[0, :3] = True  # 3 of 10 in the first zone
    opacity[0, 10:14] = True  # 4 of 10 in the second
    involvement = measure(zones, opacity, 0.3)
    assert [zone.score for zone in involvement] == [0, 1, 0, 0, 0, 0]
    assert [zone.opacity_area_px for zone in involvement] == [3, 4, 0, 0, 0, 0]
    assert involvement[1].involved_fraction == pytest.approx(0.4)
    assert [(zone.side, zone.level) for zone in involvement] == list(ZONE_ORDER)


def test_published_worked_example():
    # Fig. 6 of Danilov et al. 2022; theirs run from the bottom, and the total does not depend on the order.
    shares = np.array([0.09, 0.64, 0.57, 0.01, 0.54, 0.33])
    zones = np.repeat(np.arange(1, 7, dtype=np.uint8), 100)[None]
    opacity = (np.arange(100)[None] < np.round(shares * 100)[:, None]).reshape(1, -1)
    assert sum(zone.score for zone in measure(zones, opacity, 0.5)) == 3
    assert sum(zone.score for zone in measure(zones, opacity, 0.31)) == 4


def test_an_empty_opacity_mask_is_a_genuine_zero():
    zones = zone_map(Lungs(RIGHT, LEFT))
    assert sum(zone.score for zone in measure(zones, np.zeros_like(zones, bool), 0.0)) == 0
