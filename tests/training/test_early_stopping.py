import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.learning.config import ConfigError
from training.learning.early_stopping import EarlyStopping


def stops_at(values, patience, min_delta):
    stopping = EarlyStopping(patience, min_delta)
    return next((number for number, value in enumerate(values, 1) if stopping.step(value)), None)


def test_a_rising_figure_never_stops():
    assert stops_at([0.02 * step for step in range(50)], patience=2, min_delta=0.01) is None


def test_a_flat_figure_stops_after_patience():
    assert stops_at([0.5] * 20, patience=6, min_delta=0.01) == 7


def test_small_steps_add_up_against_the_best_accepted_value():
    # 0.506 and 0.512 are small steps; 0.512 is more than 0.01 above 0.5, the value accepted last.
    stopping = EarlyStopping(2, 0.01)
    assert [stopping.step(value) for value in (0.5, 0.506, 0.512)] == [False] * 3
    assert (stopping.best, stopping.waited) == (0.512, 0)
    # A value that is better, but not by enough, neither counts as the best nor resets the count.
    assert [stopping.step(value) for value in (0.519, 0.521)] == [False, True]
    assert (stopping.best, stopping.waited) == (0.512, 2)


def test_exactly_the_least_improvement_is_none():
    assert stops_at([0.5, 0.75], patience=1, min_delta=0.25) == 2
    assert stops_at([0.5, 0.75 + 1e-9], patience=1, min_delta=0.25) is None


def test_nan_is_no_improvement():
    assert stops_at([math.nan, math.nan], patience=2, min_delta=0.0) == 2
    assert stops_at([0.3, math.nan, 0.5, math.nan], patience=2, min_delta=0.0) is None


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(0, 30), st.integers(1, 5))
def test_goes_on_after_a_round_trip(values, cut, patience):
    whole, first = EarlyStopping(patience, 0.01), EarlyStopping(patience, 0.01)
    expected = [whole.step(value) for value in values]
    answers = [first.step(value) for value in values[:cut]]
    second = EarlyStopping.from_dict(json.loads(json.dumps(first.as_dict(), allow_nan=False)))
    assert answers + [second.step(value) for value in values[cut:]] == expected


@pytest.mark.parametrize("settings", [(0, 0.01), (3, -0.01), (3, math.nan)])
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match="patience must be at least 1"):
        EarlyStopping(*settings)


def test_a_state_that_is_none():
    with pytest.raises(ConfigError, match="no state of early stopping"):
        EarlyStopping.from_dict({"patience": 3, "mood": 1})
