import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.learning.reader_shares import READERS_WEIGHT, expected_count, shares_near_readers

SHARES = np.array([0.1, 0.4, 0.6, 0.0, 0.3, 0.2], np.float32)


def test_expected_count():
    assert expected_count(np.array([0.25, 0.25, 0.0]), 0.25, 0.1) == pytest.approx(1.0)
    assert expected_count(np.array([1.0, 1.0, 0.0]), 0.25, 0.01) == pytest.approx(2.0)


@pytest.mark.parametrize("readers", [1.0, 2.5, 4.0, 5.0])
def test_the_count_moves_towards_the_readers(readers):
    before = expected_count(SHARES, 0.25, 0.1)
    after = expected_count(shares_near_readers(SHARES, readers, 0.25, 0.1), 0.25, 0.1)
    assert after == pytest.approx(READERS_WEIGHT * readers + (1 - READERS_WEIGHT) * before, abs=0.15)


def test_readers_who_agree_change_nothing():
    agreed = float(expected_count(SHARES, 0.25, 0.1))
    moved = shares_near_readers(SHARES, agreed, 0.25, 0.1)
    np.testing.assert_allclose(moved, SHARES, atol=1e-6)


@given(shares=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), readers=st.floats(0, 6))
def test_order_and_empty_zones_stay(shares, readers):
    shares = np.array(shares, np.float32)
    moved = shares_near_readers(shares, readers, 0.25, 0.1)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert not moved[shares <= 0.005].any()
    order = np.argsort(shares, kind="stable")
    assert (np.diff(moved[order]) >= -1e-6).all()
