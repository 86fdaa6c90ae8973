import numpy as np
import pytest

from training.judging.bootstrap import interval, multiplicities, resamples
from training.judging.brixia.agreement import consensus, fleiss_kappa, pairwise
from training.judging.brixia.errors import (
    acceptable_errors,
    brixia_errors,
    confusion,
    error_figures,
    mean_interval,
    row_normalised,
)
from training.judging.brixia.readings import read_readings, scores_of

NAN = np.nan


def films(*texts):
    return np.array([[float(digit) for digit in text] for text in texts])


def test_figures_closed_form():
    reference = films("012300", "012300", "111100", "000000")
    predicted = films("112300", "032300", "111100", "000030")
    figures = error_figures(predicted, reference)
    me, mae, sd, cc = figures
    assert me[:6] == pytest.approx([0.25, 0.5, 0, 0, 0.75, 0])  # prediction - reference: too high is positive
    assert mae[6] == pytest.approx((0.25 + 0.5 + 0.75) / 6)
    assert mae[7] == pytest.approx((1 + 2 + 0 + 3) / 4)
    assert sd[1] == pytest.approx(np.std([0, 2, 0, 0]))
    assert sd[7] == pytest.approx(np.std([1, 2, 0, 3]))
    assert cc[1] == pytest.approx(np.corrcoef([1, 3, 1, 0], [1, 1, 1, 0])[0, 1])
    assert np.isnan(cc[5])  # a constant side has no correlation,
    assert np.isnan(cc[6])  # and neither has the mean of the regions then


def test_the_sd_is_that_of_the_absolute_error():
    reference, predicted = films("000000", "333333"), films("111111", "222222")
    figures = error_figures(predicted, reference)
    assert figures[1:3, 0].tolist() == [1, 0]  # errors of +1 and -1


def test_weighted_draws_give_what_drawing_films_gives():
    generator = np.random.default_rng(3)
    reference = generator.integers(0, 4, (30, 6)).astype(float)
    predicted = np.clip(reference + generator.integers(-1, 2, (30, 6)), 0, 3)
    groups = [str(number // 2) for number in range(30)]
    found = brixia_errors(predicted, reference, groups, repeats=60)
    drawn = [error_figures(predicted[index], reference[index]) for index in resamples(groups, 60)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
    assert found.low.to_numpy() == pytest.approx(low)
    assert found.high.to_numpy() == pytest.approx(high)
    values = np.abs(predicted - reference).mean(axis=1)
    ends = interval(lambda index: float(values[index].mean()), groups)
    assert mean_interval(values, groups)[1:] == pytest.approx(ends)


def test_whole_patients_are_drawn():
    times = multiplicities(["a", "a", "b", "c"], 50)
    assert (times[:, 0] == times[:, 1]).all()
    assert (times[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_one_patient_has_no_interval():
    found = brixia_errors(films("000000", "111111"), films("000000", "111110"), ["a", "a"])
    assert np.isnan(found.low.to_numpy()).all()
    assert found.shown("MAE", "F") == "0.500"


def test_a_missing_score_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        brixia_errors(np.full((1, 6), NAN), films("000000"), ["a"])
    with pytest.raises(ValueError, match="equally long"):
        brixia_errors(films("000000"), films("000000", "000000"), ["a"])


def test_acceptable_errors():
    reference = films("000000", "000000", "000000")
    predicted = films("000000", "110000", "111100")
    shares, ends = acceptable_errors(predicted, reference, ["a", "b", "c"])
    assert shares == pytest.approx([12 / 18, 2 / 3, 2 / 3])
    assert ends.shape == (2, 3)


def test_confusion_has_the_reference_in_rows():
    counts = confusion(films("010000"), films("230000"), 4)
    assert counts[2, 0] == counts[3, 1] == 1
    assert counts[0, 0] == 4
    shares = row_normalised(counts)
    assert shares[0].tolist() == [1, 0, 0, 0]
    assert np.isnan(shares[1]).all()


def test_consensus_is_the_majority_and_ties_go_by_seniority():
    readings = np.array([[[0]], [[1]], [[1]], [[2]], [[2]]], float)
    readings = np.repeat(readings, 6, axis=2)
    # 1 and 2 are equally frequent: the most senior reader who gave one of them said 1, reader 0's 0 is out.
    assert consensus(readings)[0, 0] == 1
    assert consensus(readings[::-1])[0, 0] == 2
    assert consensus(readings[:2])[0, 0] == 0  # two readers: the senior one
    assert consensus(readings[[0, 3, 4]])[0, 0] == 2  # a majority beats seniority
    absent = readings.copy()
    absent[0] = NAN
    assert consensus(absent)[0, 0] == 1
    assert np.isnan(consensus(np.full((2, 1, 6), NAN))).all()


def test_fleiss_kappa_closed_form():
    same = np.stack([films("012301"), films("012301"), films("012301")])
    assert fleiss_kappa(same) == 1
    first, second = films("000111"), films("001011")
    # observed 4/6; both scores as frequent, so one half is expected by chance
    assert fleiss_kappa(np.stack([first, second])) == pytest.approx((4 / 6 - 0.5) / 0.5)
    assert np.isnan(fleiss_kappa(np.stack([films("000000"), films("000000")])))
    assert np.isnan(fleiss_kappa(films("000111")[None]))


def test_pairs_are_compared_on_films_both_read():
    senior = np.vstack([films("000000", "111111"), np.full((1, 6), NAN)])
    table = pairwise(
        {"S": senior, "J": films("100000", "111111", "333333"), "model": films("000000", "111112", "000000")}
    )
    by_pair = table.set_index(["rater", "against"])
    assert by_pair.loc[("S", "J"), "n"] == 2
    assert by_pair.loc[("S", "J"), "region MAE"] == pytest.approx(1 / 12)
    assert by_pair.loc[("S", "J"), "global MAE"] == 0.5
    assert by_pair.loc[("J", "model"), "n"] == 3


def test_junior_against_senior_on_the_data_folder(cxr_dataset):
    # All 192 films: 0.407, 1.943, 0.131 and kappa 0.497 (from the public CSV); these are 166 of them.
    table = read_readings(cxr_dataset)
    figures = error_figures(scores_of(table, "J"), scores_of(table, "S"))
    row = pairwise({"S": scores_of(table, "S"), "J": scores_of(table, "J")}).iloc[0]
    assert row["n"] == 166
    assert figures[1, 6:].round(3).tolist() == [0.415, 2.042]
    assert round(figures[0, 6], 3) == -0.152  # the junior reader is lower; the paper prints it as positive
    assert round(row["κ"], 3) == 0.485
