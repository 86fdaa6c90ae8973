import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.judging import paper_tables
from training.judging.published import SYSTEMS
from training.judging.thresholds import (
    GRID,
    first_minimum,
    import_legacy,
    plateau,
    threshold_curve,
    threshold_interval,
    zone_scores,
)

FIGURE_6 = [[0.09, 0.64, 0.57, 0.01, 0.54, 0.33]]
"""Danilov et al. 2022, Fig. 6: L1 to L3, R1 to R3."""


@pytest.mark.parametrize(("threshold", "score"), [(0.5, 3), (0.31, 4), (0.33, 3), (0.54, 2)])
def test_the_papers_worked_example(threshold, score):
    assert zone_scores(FIGURE_6, threshold).tolist() == [score]


def test_a_share_that_equals_t_does_not_count():
    assert zone_scores([[0.3] * 6], 0.3).tolist() == [0]
    assert zone_scores([[np.nextafter(0.3, 1)] * 6], 0.3).tolist() == [6]


@settings(max_examples=40, deadline=None)
@given(
    arrays(float, (5, 6), elements=st.floats(0, 1)),
    arrays(float, 5, elements=st.sampled_from(np.arange(13) / 2)),
)
def test_the_curve_is_what_scoring_at_each_t_gives(shares, readers):
    curve = threshold_curve(shares, readers)
    for index in (0, 30, 100):
        errors = zone_scores(shares, GRID[index]) - readers
        assert curve.mae[index] == pytest.approx(np.abs(errors).mean())
        assert curve.rmse[index] == pytest.approx(np.sqrt((errors**2).mean()))
    assert curve.mae[-1] == pytest.approx(readers.mean())  # no share is above 1
    assert list(curve.table()) == ["Threshold", "MAE", "MSE", "RMSE", "R2"]


def test_a_width_counts_expected_zones():
    shares = np.array([[0.29] * 4 + [0.0] * 2, [0.9, 0.01, 0, 0, 0, 0]])
    assert zone_scores(shares, 0.3).tolist() == [0, 1]
    assert zone_scores(shares, 0.3, 0.05).tolist() == [2, 1]  # four zones with a chance of 0.45 each
    curve = threshold_curve(shares, [2, 1], 0.05)
    assert curve.mae[30] == 0
    assert curve.mae[60] == 1


def test_the_middle_of_the_longest_plateau():
    values = np.ones(101)
    values[[10, 11, 12]] = 0.5
    values[40:50] = 0.5
    assert plateau(values) == 0.44
    assert first_minimum(values) == 0.10
    assert plateau(np.zeros(101)) == 0.5


def test_rounding_noise_does_not_break_a_plateau():
    values = np.full(101, 0.3)
    values[20] += 1e-12
    assert plateau(values) == 0.5


def test_curves_need_films():
    with pytest.raises(ValueError, match="as many scores"):
        threshold_curve(np.zeros((0, 6)), [])
    with pytest.raises(ValueError, match="as many scores"):
        threshold_curve(np.zeros((2, 6)), [1])


def test_the_interval_of_t_covers_it():
    generator = np.random.default_rng(1)
    readers = generator.integers(0, 7, 60)
    shares = np.where(np.arange(6) < readers[:, None], 0.6, 0.1) + generator.normal(0, 0.02, (60, 6))

    def choose(drawn):
        return plateau(threshold_curve(shares[drawn], readers[drawn]).mae)

    low, high = threshold_interval(choose, [str(index) for index in range(60)], 50)
    assert 0.2 < low <= choose(np.arange(60)) <= high < 0.5


def test_legacy_thresholds_are_shares_of_255():
    assert import_legacy(77) == 0.30
    assert import_legacy(0) == 0
    assert import_legacy(255) == 1
    for system in SYSTEMS:
        assert import_legacy(paper_tables.TABLE_9[system.name][0]) == system.threshold


@pytest.mark.parametrize("value", [-1, 256, 0.3, True])
def test_other_numbers_are_no_legacy_threshold(value):
    with pytest.raises(ValueError, match="whole numbers from 0 to 255"):
        import_legacy(value)
