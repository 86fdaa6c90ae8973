"""An explanation lights what a score rests on, for the class that rests on it, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bsnet.explain import ExplanationSettings, explain, explain_with_facts, superpixels_on

SIDE = 96
SETTINGS = ExplanationSettings(kernel_share=2 / SIDE, contrast_kernels=200)


def tiles(period=16):
    """A view of flat squares, each of a grey of its own: super-pixels follow their edges."""
    grid = np.random.default_rng(5).permutation(np.linspace(0.15, 0.95, (SIDE // period) ** 2))
    grid = grid.reshape(SIDE // period, -1).astype(np.float32)
    return np.kron(grid, np.ones((period, period), np.float32))


def tile(row, column, period=16):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[row * period : (row + 1) * period, column * period : (column + 1) * period] = True
    return mask


LUNGS = np.zeros((SIDE, SIDE), bool)
LUNGS[16:80, 16:80] = True


class Rests:
    """Answers by the mean grey of given places: the brighter each is, the likelier its class.

    ``on`` maps a class to the place that speaks for it, ``regions`` says in how many of the six.
    """

    def __init__(self, on, regions=6, sign=1.0):
        self.on, self.regions, self.sign = on, regions, sign
        self.seen = 0

    def __call__(self, views):
        self.seen = max(self.seen, len(views))
        answer = np.full((len(views), 6, 4), 0.1, np.float32)
        for label, mask in self.on.items():
            means = views[:, 0, mask].mean(axis=1)
            answer[:, : self.regions, label] = (0.1 + self.sign * 0.08 * means)[:, None]
        return answer.reshape(-1, 3, 2, 4)


def test_exactly_what_the_answer_rests_on_is_lit():
    known = tile(2, 3)
    maps = explain(Rests({2: known}), tiles(), LUNGS, SETTINGS)
    assert maps.shape == (3, SIDE, SIDE)
    assert maps.dtype == np.float32
    # occluding any super-pixel within the tile takes something away; no other does
    assert (maps[1][known] > 0).all()
    assert (maps[1][~known] == 0).all()
    assert maps[1].max() == 1
    assert not maps[[0, 2]].any()


def test_each_class_has_what_speaks_for_it():
    places = {1: tile(1, 1), 2: tile(2, 4), 3: tile(4, 2)}
    maps = explain(Rests(places), tiles(), LUNGS, SETTINGS)
    for label, place in places.items():
        assert np.array_equal(maps[label - 1] > 0, place)


def test_what_speaks_against_a_class_is_not_lit():
    """The sign: what is lost by occlusion counts, what is gained does not (the paper prints it reversed)."""
    maps = explain(Rests({3: tile(2, 3)}, sign=-1.0), tiles(), LUNGS, SETTINGS)
    assert not maps.any()


def test_an_answer_that_rests_on_nothing_is_white():
    class Rounding(Rests):
        def __call__(self, views):
            noise = np.random.default_rng(len(views)).normal(0, 1e-6, (len(views), 3, 2, 4))
            return (super().__call__(views) + noise).astype(np.float32)

    assert not explain(Rests({}), tiles(), LUNGS, SETTINGS).any()
    assert not explain(Rounding({}), tiles(), LUNGS, SETTINGS).any()


def test_healthy_is_not_explained():
    assert not explain(Rests({0: tile(2, 3)}), tiles(), LUNGS, SETTINGS).any()


def test_regions_are_summed_and_maps_share_one_scale():
    view = tiles()
    two, three = tile(2, 2), tile(3, 4)
    judges = [Rests({2: two}, 6), Rests({3: three}, 3)]

    def both(views):
        return sum(judge(views) for judge in judges) / 2

    maps, facts = explain_with_facts(both, view, LUNGS, SETTINGS)
    labels = superpixels_on(view, LUNGS, SETTINGS)

    def lost(place, regions):
        shares = np.bincount(labels[place]).max() / place.sum()
        return regions * 0.04 * view[place].mean() * shares

    assert maps[2].max() / maps[1].max() == pytest.approx(lost(three, 3) / lost(two, 6), rel=0.02)
    assert float(facts["largest_drop"]) == pytest.approx(max(lost(three, 3), lost(two, 6)), abs=1e-4)


def test_only_the_lungs_are_lit_and_only_what_touches_them_is_tried():
    view, outside, across, lungs = tiles(), tile(0, 0), tile(1, 2), LUNGS.copy()
    lungs[:24] = False  # through the middle of a super-pixel
    maps, facts = explain_with_facts(Rests({1: outside | across}), view, lungs, SETTINGS)
    assert np.array_equal(maps[0] > 0, across & lungs)
    labels = superpixels_on(view, lungs, SETTINGS)
    assert int(facts["occlusions"]) == labels.max() == len(np.unique(labels[lungs]))
    assert (labels[lungs] > 0).all()
    assert (labels[across] > 0).all()
    assert (labels[outside] == 0).all()


def test_without_lungs_nothing_is_tried():
    def never(views):
        raise AssertionError

    assert not explain(never, tiles(), np.zeros_like(LUNGS), SETTINGS).any()


def test_the_same_again_whatever_the_batch():
    judge, view = Rests({1: tile(1, 1), 3: tile(4, 2)}), tiles()
    first = explain(judge, view, LUNGS, SETTINGS)
    assert judge.seen == SETTINGS.batch_size
    assert np.array_equal(first, explain(judge, view, LUNGS, SETTINGS))
    smaller = explain(judge, view, LUNGS, replace(SETTINGS, batch_size=3))
    np.testing.assert_allclose(first, smaller, atol=1e-5)


def test_a_view_is_left_as_it_was():
    view = tiles()
    explain(Rests({1: tile(1, 1)}), view, LUNGS, SETTINGS)
    assert np.array_equal(view, tiles())


@pytest.mark.parametrize("most", [40, 7, 1])
def test_a_noisy_view_is_cut_coarsely_enough(most):
    noise = np.random.default_rng(1).random((SIDE, SIDE)).astype(np.float32)
    limited = replace(SETTINGS, most_superpixels=most)
    assert superpixels_on(noise, LUNGS, SETTINGS).max() > 40
    labels = superpixels_on(noise, LUNGS, limited)
    assert labels.shape == noise.shape
    assert 1 <= labels.max() <= most


def test_views_of_any_size_are_cut_alike():
    """Lengths are shares of the view: the same picture, larger, falls into about as many pieces."""
    counts = []
    for factor in (1, 2):
        larger = np.kron(tiles(), np.ones((factor, factor), np.float32))
        whole = np.ones(larger.shape, bool)
        counts.append(superpixels_on(larger, whole, SETTINGS).max())
    assert counts[0] == pytest.approx(counts[1], rel=0.5)


def test_what_a_map_was_made_by_is_told():
    facts = explain_with_facts(Rests({}), tiles(), LUNGS, SETTINGS)[1]
    assert facts["superpixels"] == "quick shift"
    assert facts["least_drop"] == "0.01"
    assert set(map(type, facts.values())) == {str}


@pytest.mark.parametrize("answer", [np.zeros((1, 4, 2, 3)), np.full((1, 3, 2, 4), np.nan)])
def test_a_judge_that_answers_wrongly_is_refused(answer):
    with pytest.raises(ValueError, match="the judge answered"):
        explain(lambda views: answer, tiles(), LUNGS, SETTINGS)


def test_lungs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="have to be one"):
        explain(Rests({}), tiles(), LUNGS[1:], SETTINGS)


@pytest.mark.parametrize(
    "wrong", [{"kernel_share": 0}, {"least_drop": float("nan")}, {"batch_size": 0}, {"most_superpixels": 0}]
)
def test_settings_that_cannot_be_worked_with_are_refused(wrong):
    with pytest.raises(ValueError, match="have to be"):
        ExplanationSettings(**wrong)
