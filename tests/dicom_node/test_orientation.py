"""Every way to hang a film is brought to the standard display, and points find their way back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dicom_node.orientation import (
    STANDARD,
    Orientation,
    frontal_orientation,
    principal_directions,
)

# A film in the standard display: R/L left and right, H/F up and down.
SHOWN = np.arange(12).reshape(3, 4)
STORED = {
    ("L", "F"): SHOWN,
    ("R", "F"): SHOWN[:, ::-1],
    ("L", "H"): SHOWN[::-1],
    ("R", "H"): SHOWN[::-1, ::-1],
    ("F", "L"): SHOWN.T,
    ("F", "R"): SHOWN[:, ::-1].T,
    ("H", "L"): SHOWN[::-1].T,
    ("H", "R"): SHOWN[::-1, ::-1].T,
}


@pytest.mark.parametrize("directions", STORED, ids="".join)
def test_each_orientation_is_displayed_in_the_standard_way(directions):
    orientation = frontal_orientation(directions)
    assert np.array_equal(orientation.to_display(STORED[directions]), SHOWN)
    assert np.array_equal(orientation.to_stored(SHOWN), STORED[directions])


@pytest.mark.parametrize(
    "orientation", [Orientation(*flags) for flags in itertools.product((False, True), repeat=3)]
)
def test_points_go_where_their_pixels_go(orientation):
    stored = orientation.to_stored(SHOWN)
    for row, column in np.ndindex(SHOWN.shape):
        ((x, y),) = orientation.points_to_stored(np.array([[column + 0.5, row + 0.5]]), SHOWN.shape)
        assert stored[int(y), int(x)] == SHOWN[row, column]
        assert (x % 1, y % 1) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (("L", "F"), ("L", "F")),
        (("LH", "FA"), ("L", "F")),
        (("l ", "f"), ("L", "F")),
        (("A", "F"), ("A", "F")),
        (("L", "R"), None),
        (("L", "L"), None),
        (("L",), None),
        (("L", ""), None),
        (("", ""), None),
        (("X", "F"), None),
        (("LE", "DV"), None),
        ((), None),
    ],
)
def test_stated_directions_are_read_or_set_aside(stated, found):
    assert principal_directions(stated) == found


def test_a_side_view_has_no_frontal_orientation():
    assert frontal_orientation(("A", "F")) is None
    assert frontal_orientation(None) is None
    assert frontal_orientation(("L", "F")) == STANDARD
