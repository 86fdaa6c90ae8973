import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics

from training.judging.legacy_metrics import batch_means, rounded_presence
from training.judging.metrics import cohen_kappa, score_agreement, whole_scores
from training.judging.overlap import EmptyPolicy, Overlap

MASKS = arrays(bool, (5, 7))


def test_the_ratios_of_a_toy_table():
    counts = Overlap(tp=6, fp=2, fn=4, tn=8)
    assert counts.figures() == pytest.approx(
        {"dice": 12 / 18, "iou": 0.5, "accuracy": 0.7, "precision": 0.75, "recall": 0.6, "specificity": 0.8}
    )


def test_counts_of_two_masks():
    first, second = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    assert Overlap.of(first, second) == Overlap(1, 1, 1, 1)
    with pytest.raises(ValueError, match="one shape"):
        Overlap.of(first, second[:, :2])


@settings(max_examples=25, deadline=None)
@given(MASKS, MASKS)
def test_the_ratios_agree_with_a_library(first, second):
    counts = Overlap.of(first, second)
    arguments = second.ravel(), first.ravel()
    for policy, division in ((EmptyPolicy.ONE, 1.0), (EmptyPolicy.ZERO, 0.0)):
        assert counts.dice(policy) == pytest.approx(
            sklearn_metrics.f1_score(*arguments, zero_division=division)
        )
        assert counts.iou(policy) == pytest.approx(
            sklearn_metrics.jaccard_score(*arguments, zero_division=division)
            if (first | second).any()
            else division
        )
        assert counts.precision(policy) == pytest.approx(
            sklearn_metrics.precision_score(*arguments, zero_division=division)
        )
        assert counts.recall(policy) == pytest.approx(
            sklearn_metrics.recall_score(*arguments, zero_division=division)
        )


@pytest.mark.parametrize(("policy", "worth"), [("skip", math.nan), ("one", 1.0), ("zero", 0.0)])
def test_two_empty_masks_are_worth_what_the_policy_says(policy, worth):
    nothing = Overlap(0, 0, 0, 100)
    for value in (nothing.dice(EmptyPolicy(policy)), nothing.iou(EmptyPolicy(policy))):
        assert value == pytest.approx(worth, nan_ok=True)
    assert (
        Overlap(0, 3, 0, 97).dice(EmptyPolicy.ONE) == 0
    )  # a finding where there is none is no matter of policy


def test_pooled_counts_weigh_films_by_their_pixels():
    parts = [Overlap(90, 0, 0, 10), Overlap(0, 5, 5, 90)]
    assert Overlap.pooled(parts).dice() == pytest.approx(180 / 190)
    assert np.mean([part.dice() for part in parts]) == 0.5
    assert Overlap.pooled([]) == Overlap(0, 0, 0, 0)


def test_agreement_of_scores_closed_form():
    found = score_agreement([0, 1, 2, 6], [0, 2.5, 2, 4])
    assert (found.n, found.exact, found.within_one) == (4, 0.5, 0.5)
    assert found.mae == pytest.approx(3.5 / 4)
    assert found.mse == pytest.approx((2.25 + 4) / 4)
    assert found.rmse == pytest.approx(math.sqrt(6.25 / 4))
    assert found.bias == pytest.approx(0.125)
    assert found.r2 == pytest.approx(1 - 6.25 / 8.1875)
    assert found.spearman == pytest.approx(0.8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=2, max_size=40))
def test_agreement_of_a_reading_with_itself_and_its_bounds(pairs):
    ours, theirs = np.array(pairs, float).T
    theirs /= 2
    found = score_agreement(ours, theirs)
    assert found.mae <= found.rmse + 1e-12
    assert found.exact <= found.within_one
    assert math.isnan(found.kappa) or -1 <= found.kappa <= 1
    itself = score_agreement(ours, ours)
    assert (itself.mae, itself.exact) == (0, 1)
    assert np.ptp(ours) == 0 or itself.kappa == itself.kappa_quadratic == pytest.approx(1)


def test_r2_agrees_with_a_library():
    ours, theirs = [0, 3, 5, 6, 1], [0.5, 2.5, 5, 4, 1]
    assert score_agreement(ours, theirs).r2 == pytest.approx(sklearn_metrics.r2_score(theirs, ours))


def test_constant_scores_have_no_correlation():
    found = score_agreement([0, 0, 0], [0, 1, 4])
    assert math.isnan(found.rho)
    assert math.isnan(found.spearman)
    assert found.kappa == 0
    assert math.isnan(cohen_kappa([3, 3], [3, 3]))
    assert math.isnan(score_agreement([1], [2]).rho)


def test_half_points_are_rounded_to_even_for_kappa():
    assert whole_scores([0.5, 1.5, 2.5, 3.5, 4.5, 5.5]).tolist() == [0, 2, 2, 4, 4, 6]
    assert cohen_kappa([0, 2, 2, 4, 4, 6], [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]) == 1


def test_kappa_closed_form():
    # Agreement 3 of 4; by chance (2·1 + 2·3)/16 = 0.5.
    assert cohen_kappa([0, 0, 1, 1], [0, 1, 1, 1]) == pytest.approx(0.5)
    # Far misses weigh more with quadratic weights: 0.25·1 against 0.5·36/36… over all pairs.
    near, far = (
        cohen_kappa([0, 3, 6], [1, 3, 6], quadratic=True),
        cohen_kappa([0, 3, 6], [6, 3, 6], quadratic=True),
    )
    assert near > 0.9 > far


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [([], [], "equally long"), ([1, 2], [1], "equally long"), ([1], [math.nan], "not a number")],
)
def test_scores_that_cannot_be_compared(ours, theirs, words):
    with pytest.raises(ValueError, match=words):
        score_agreement(ours, theirs)


# Danilov et al. 2022, section 2 and Table 8: films in the loader's order, set by set; True is COVID-19.
VALIDATION = [(3, True), (43, False), (10, True), (36, True), (3, True), (35, False)]
TEST = [(4, True), (44, False), (11, True), (37, True), (3, True), (36, False)]


@pytest.mark.parametrize(("sets", "batch_mean"), [(VALIDATION, 6 / 13), (TEST, 7 / 14)])
def test_a_network_that_finds_nothing_gets_the_published_batch_mean(sets, batch_mean):
    films = [Overlap(0, 0, 50 if sick else 0, 950) for count, sick in sets for _ in range(count)]
    means = batch_means(films, 10)
    assert means["dice"] == pytest.approx(batch_mean, abs=1e-6)
    assert means["iou"] == pytest.approx(batch_mean, abs=1e-6)
    assert f"{means['dice']:.3f}" == {6 / 13: "0.462", 0.5: "0.500"}[batch_mean]
    # What this package reports instead: films that show disease, one by one.
    assert np.nanmean([film.dice() for film in films]) == 0


def test_a_small_last_batch_weighs_as_much_as_a_full_one():
    films = [Overlap(10, 0, 0, 0)] * 10 + [Overlap(0, 5, 5, 0)]
    assert batch_means(films, 10)["dice"] == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match="batch means need films"):
        batch_means([], 10)


def test_presence_of_exactly_one_half():
    assert rounded_presence([0.49, 0.5, 0.51]).tolist() == [False, False, True]
