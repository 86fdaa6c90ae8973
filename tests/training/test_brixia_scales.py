"""Lines between scales, other systems on the 0-6 scale, rotation."""

import numpy as np
import pandas as pd
import pytest

from training.data.dataset import DataError
from training.judging.brixia.comparators import (
    COHEN_EXTENT,
    COHEN_OPACITY,
    calibration,
    film_t_scores,
    side_by_side,
)
from training.judging.brixia.regression import PUBLISHED_LO, bootstrap_line, fit_line, line_figures
from training.judging.brixia.rotation import ReadFilm, film_errors, rise_table, rotate_film, rotation_curve
from training.judging.brixia.score import region_probabilities, t_scores
from training.judging.published import (
    bs_net_scores,
    covid_net_scores,
    read_bs_net,
    read_covid_net,
    read_table,
)


def test_a_line_is_found_again():
    total = np.arange(19.0)
    line = fit_line(total, 0.31 * total + 0.09, 0, 6)
    assert (line.slope, line.intercept) == pytest.approx((0.31, 0.09))
    assert line.apply(np.array([18.0, 30.0])) == pytest.approx([5.67, 6.0])  # cut at the scale's end
    assert PUBLISHED_LO.apply(np.array([18.0])) == pytest.approx([5.67])
    figures = line_figures(line, total, line.apply(total) + 1)
    assert (figures["MAE"], figures["MSE"], figures["correlation"]) == pytest.approx((1, 1, 1))
    with pytest.raises(ValueError, match="two films with different scores"):
        fit_line(np.ones(3), np.arange(3.0), 0, 6)


def test_bootstrap_lines_are_measured_on_patients_they_did_not_see():
    generator = np.random.default_rng(0)
    total = generator.integers(0, 19, 40).astype(float)
    exact = bootstrap_line(total, 0.3 * total, [str(number) for number in range(40)], (0, 6), repeats=20)
    assert exact["slope"] == pytest.approx((0.3, 0))
    assert exact["MAE"][0] == pytest.approx(0, abs=1e-9)
    # Noise that is learnt by heart would give a smaller error than its own spread.
    noisy = bootstrap_line(
        total,
        np.clip(0.3 * total + generator.normal(0, 0.5, 40), 0, 6),
        [str(n) for n in range(40)],
        (0, 6),
        40,
    )
    assert 0.2 < noisy["MAE"][0] < 0.7
    assert 0 < noisy["slope"][1] < 0.1


def test_no_film_of_a_draw_is_measured_by_its_line(monkeypatch):
    from training.judging.brixia import regression

    seen = []

    def fit(values, target, low, high):
        seen.append(set(values))
        return fit_line(values, target, low, high)

    def figures(line, values, target):
        assert not seen[-1] & set(values)
        return line_figures(line, values, target)

    monkeypatch.setattr(regression, "fit_line", fit)
    monkeypatch.setattr(regression, "line_figures", figures)
    total = np.arange(12.0)
    bootstrap_line(total, total / 2, [str(number // 2) for number in range(12)], (0, 6), repeats=10)
    assert seen


def test_cohens_constants_and_clamps():
    outputs = np.array([-100.0, 0.0, 1.0, 100.0])
    assert COHEN_EXTENT.apply(outputs) == pytest.approx([0, 3.4137437, 4.2842685, 8])
    assert COHEN_OPACITY.apply(outputs) == pytest.approx([0, 2.5535977, 3.1020400, 6])


def test_bs_net_counts_regions_that_are_likeliest_not_zero():
    probabilities = np.zeros((2, 3, 2, 4))
    probabilities[..., 0] = 1
    probabilities[0, 1, 0] = (0.4, 0.3, 0.3, 0.0)  # 0 is the likeliest class though more likely wrong
    probabilities[1, 2, 1] = (0.2, 0.1, 0.3, 0.4)
    assert bs_net_scores(probabilities).tolist() == [0, 1]
    regions = region_probabilities(probabilities).argmax(axis=-1)
    assert t_scores(regions).sum(axis=1).tolist() == [0, 1]


def test_covid_net_stays_between_1_and_5():
    assert covid_net_scores(np.array([1 / 6, 0.25, 0.5, 0.59153, 5 / 6])).tolist() == [1, 2, 3, 4, 5]


def test_all_1364_published_rows(cxr_dataset):
    folder = cxr_dataset / "published"
    table = read_bs_net(folder)
    assert len(table) == 1364
    assert (table["score"] == table["published"]).all()
    assert np.bincount(table["score"]).tolist() == [55, 129, 182, 163, 218, 263, 354]
    columns = tuple(f"raw_score_{r}{c}{k}" for r in range(3) for c in range(2) for k in range(4))
    raw = read_table(folder / "bsnet.csv", columns)[list(columns)].to_numpy(float).reshape(-1, 3, 2, 4)
    assert raw.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    assert (t_scores(region_probabilities(raw).argmax(axis=-1)).sum(axis=1) == table["published"]).all()
    other = read_covid_net(folder)
    assert (other["score"] == other["published"]).all()
    assert other["score"].value_counts().sort_index().to_dict() == {1: 177, 2: 342, 3: 475, 4: 353, 5: 17}


def comparison_films():
    return pd.DataFrame(
        {
            "split": ["train"] * 4 + ["test"] * 3,
            "group": list("abcdefg"),
            "covid": [True] * 6 + [False],
            "consensus": [0.0, 1.0, 2.0, 3.0, 2.0, np.nan, 0.0],
            "ours": [1.0, 3.0, 5.0, 7.0, 5.0, 6.0, np.nan],
        }
    )


def test_calibration_sees_training_films_alone():
    films = comparison_films()
    table = side_by_side(films, ["ours"], "test").content.set_index("system")
    assert table.loc["ours", "MAE all"] == 3
    assert table.loc["ours, calibrated", "MAE all"] == pytest.approx(0)  # (score - 1) / 2
    assert table.loc["ours", "n all"] == 1  # one film unread, one without a score
    films.loc[films["split"] == "test", "consensus"] = 6.0
    again = side_by_side(films, ["ours"], "test").content.set_index("system")
    assert again.loc["ours, calibrated", "MAE all"] == pytest.approx((4 + 3.5) / 2)
    with pytest.raises(DataError, match="no film of the split val"):
        side_by_side(films, ["ours"], "val")


def test_a_system_without_training_films_stays_as_mapped():
    films = comparison_films()
    films.loc[films["split"] == "train", "ours"] = np.nan
    assert side_by_side(films, ["ours"], "test").content["system"].tolist() == ["ours"]


def test_calibration_is_cut_at_the_scale():
    line = calibration(np.array([0.0, 1.0, np.nan]), np.array([0.0, 5.0, 1.0]))
    assert line.apply(np.array([-1.0, 2.0])).tolist() == [0, 6]


def test_t_scores_of_a_table():
    table = pd.DataFrame({"id": ["a", "b"], **{region: [1.0, np.nan] for region in "ABCDEF"}})
    scores = film_t_scores(table)
    assert scores["a"] == 6
    assert np.isnan(scores["b"])


def bar():
    film = np.zeros((41, 41), np.float32)
    film[18:23, 2:39] = 1
    return film


def test_a_film_turns_about_its_centre_counter_clockwise():
    upright = rotate_film(bar(), 90)
    assert np.abs(upright - bar().T).max() < 1e-3
    tilted = rotate_film(bar(), 20)
    assert tilted[20, 20] == 1
    assert tilted[:15, 30:].sum() > tilted[26:, 30:].sum()  # the right end goes up
    assert rotate_film(tilted, 0) is tilted
    assert tilted.dtype == np.float32


def test_the_rise_of_the_error():
    films = [ReadFilm(bar(), np.ones(6), group) for group in ("a", "b", "c")]
    angles = (-30, -20, 0, 20, 30)

    def fragile(pixels):
        return np.full(6, 1.5 if np.allclose(pixels, bar()) else 2.0)

    errors = {"with": film_errors(films, lambda _: np.full(6, 1.5), angles)}
    errors["without"] = film_errors(films, fragile, angles)
    assert errors["without"].tolist() == [[1, 1, 0.5, 1, 1]] * 3
    rises = rise_table(errors, [film.group for film in films], angles).content.set_index("system")
    assert rises.loc["with", "rise, %"] == 0
    assert rises.loc["without", "rise, %"] == 100
    assert rises.loc["without", "95 %"] == "100.0 to 100.0"
    curve = rotation_curve(errors, [film.group for film in films], angles)
    assert len(curve) == 10
    assert curve["low"].tolist() == curve["MAE"].tolist()


def test_an_error_of_nothing_cannot_rise():
    perfect = {"ours": np.zeros((2, 3))}
    assert np.isnan(rise_table(perfect, ["a", "b"], (-20, 0, 20)).content["rise, %"]).all()
