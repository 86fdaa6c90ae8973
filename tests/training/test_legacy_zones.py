import cv2
import numpy as np
import pytest

from training.judging.legacy_zones import legacy_cuts, legacy_lungs, legacy_shares


def ellipse(rows=512, columns=512, centre=(256, 256), axes=(90, 220)):
    return cv2.ellipse(np.zeros((rows, columns), np.uint8), centre, axes, 0, 0, 360, 1, -1) > 0


def test_the_published_cuts_of_an_ellipse():
    upturned = ellipse()[::-1]
    first, second = legacy_cuts(upturned)
    assert (first, second) == (198, 313)  # rows from the bottom
    areas = [int(upturned[rows].sum()) for rows in (slice(0, 198), slice(198, 313), slice(313, None))]
    assert areas == [21_051, 20_571, 21_055]


@pytest.fixture
def lungs():
    return ellipse(centre=(150, 256), axes=(70, 180)) | ellipse(centre=(360, 256), axes=(70, 180))


def test_zones_come_from_the_base_up_and_the_left_of_the_image_first(lungs):
    opacity = np.zeros_like(lungs)
    opacity[330:, :256] = True  # below: the lowest zone of the lung at the image's left
    shares = legacy_shares(lungs, opacity)
    assert shares[0] > 0.5
    assert shares[1:].tolist() == [0] * 5
    opacity[:] = False
    opacity[:130, 256:] = True
    assert np.argmax(legacy_shares(lungs, opacity)) == 5


def test_a_speck_at_the_top_takes_the_place_of_a_lung(lungs):
    speckled = lungs.copy()
    speckled[2:6, 300:304] = True
    first, second = legacy_lungs(speckled)
    # The speck is first in raster order, the left lung second; the right lung is lost.
    assert {int(first.sum()), int(second.sum())} == {16, int(lungs[:, :256].sum())}


def test_a_single_blob_counts_as_both_lungs():
    blob = ellipse()
    first, second = legacy_lungs(blob)
    assert (first == second).all()
    shares = legacy_shares(blob, blob)
    assert shares == pytest.approx(np.ones(6))


def test_a_lung_is_all_that_lies_in_its_rectangle():
    mask = np.zeros((40, 60), bool)
    mask[5:35, 5:25] = True
    mask[10:30, 40:55] = True
    mask[12:20, 27:38] = True  # a third blob, between them
    mask[5, 5:39] = True  # makes the first rectangle reach over it
    first, _ = legacy_lungs(mask)
    assert first[15, 30]


def test_no_lungs_no_shares():
    nothing = np.zeros((20, 20), bool)
    assert legacy_shares(nothing, nothing).tolist() == [0] * 6
