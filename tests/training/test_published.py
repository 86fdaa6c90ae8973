"""Parity with the papers' printed figures, from the published per-film outputs (skipped without them)."""

import numpy as np
import pandas as pd
import pytest

from training.data.dataset import DataError
from training.judging import paper_tables, published
from training.judging.metrics import score_agreement
from training.judging.published import ALL_SYSTEMS, SUBSETS, SYSTEMS, ZONE_COLUMNS, PublishedSystem
from training.judging.thresholds import (
    GRID,
    first_minimum,
    import_legacy,
    plateau,
    threshold_curve,
    zone_scores,
)

BY_NAME = {system.name: system for system in SYSTEMS}


@pytest.fixture(scope="module")
def folder(cxr_dataset):
    return cxr_dataset / "published"


@pytest.fixture(scope="module")
def metadata(folder):
    return published.read_metadata(folder)


@pytest.fixture(scope="module")
def scores(folder):
    return published.read_all_scores(folder)


@pytest.fixture(scope="module")
def outputs(folder):
    return {system.name: published.read_outputs(folder, system) for system in SYSTEMS}


def test_the_quality_filter_leaves_1320_of_1364_films(metadata):
    good = published.scored_films(metadata)
    assert (len(metadata), len(good)) == (1364, 1320)
    assert good["subset"].value_counts().to_dict() == {"train": 1055, "test": 135, "val": 130}
    assert good["label"].value_counts().to_dict() == {"Normal": 784, "COVID-19": 536}


def test_the_consensus_has_half_points(metadata):
    good = published.scored_films(metadata)["consensus"]
    counts = [785, 5, 82, 15, 33, 21, 34, 21, 63, 21, 108, 53, 79]
    assert good.value_counts().sort_index().to_dict() == dict(zip(np.arange(13) / 2, counts, strict=True))
    assert metadata["reader_r"].isna().sum() == 1
    assert metadata["reader_d"].isna().sum() == 266


def test_joining_all_systems_keeps_every_film(scores):
    assert len(scores) == 1320
    assert not scores[list(ALL_SYSTEMS)].isna().any().any()


@pytest.mark.parametrize("name", BY_NAME)
def test_every_published_score_comes_out_of_its_zone_shares(outputs, name):
    table = outputs[name]
    assert len(table) == 1320
    ours = zone_scores(table[list(ZONE_COLUMNS)], BY_NAME[name].threshold)
    assert (ours == table["score"]).all()


def test_the_unrounded_quotient_does_not_give_the_published_scores(outputs):
    wrong = [
        name
        for name, (legacy, _) in paper_tables.TABLE_9.items()
        if (zone_scores(outputs[name][list(ZONE_COLUMNS)], legacy / 255) != outputs[name]["score"]).any()
    ]
    assert len(wrong) == 5


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "DeepLabV3"])
def test_table_9(folder, name):
    curve = published.read_threshold_curve(folder, BY_NAME[name], "train")
    best = [first_minimum(curve[column].to_numpy()) for column in ("MAE", "RMSE")]
    assert best == [import_legacy(value) for value in paper_tables.TABLE_9[name]]
    minima = curve["MAE"].min(), curve["RMSE"].min()
    assert tuple(round(value, 3) for value in minima) == paper_tables.TABLE_9_MINIMA[name]


@pytest.mark.parametrize("subset", [*SUBSETS, "all"])
def test_a_published_curve_comes_out_of_the_shares_of_the_same_run(folder, outputs, subset):
    # Of DeepLabV3 alone are both published: it found nothing in either run.
    table = outputs["DeepLabV3"]
    chosen = table if subset == "all" else table[table["subset"] == subset]
    ours = threshold_curve(chosen[list(ZONE_COLUMNS)], chosen["consensus"]).table()
    theirs = published.read_threshold_curve(folder, BY_NAME["DeepLabV3"], subset)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
    if subset == "val":
        assert [round(float(ours[column].min()), 2) for column in ("MAE", "RMSE")] == [1.58, 2.75]


def test_the_last_run_has_other_best_thresholds(outputs):
    found = {}
    for name, table in outputs.items():
        train = table[table["subset"] == "train"]
        found[name] = threshold_curve(train[list(ZONE_COLUMNS)], train["consensus"]).mae
    best = {name: first_minimum(curve) for name, curve in found.items() if name != "DeepLabV3"}
    assert list(best.values()) == [0.29, 0.34, 0.31, 0.27, 0.18, 0.37, 0.39, 0.30]
    assert plateau(found["DeepLabV3"]) == 0.5
    assert len(GRID) == 101


@pytest.mark.parametrize(
    ("printed", "label"),
    [
        (paper_tables.TABLE_10, None),
        (paper_tables.TABLE_E1, "COVID-19"),
        (paper_tables.TABLE_E2, "Normal"),
    ],
    ids=["table-10", "table-E1", "table-E2"],
)
@pytest.mark.parametrize("name", ALL_SYSTEMS)
def test_score_errors_to_the_printed_digit(scores, printed, label, name):
    chosen = scores if label is None else scores[scores["label"] == label]
    maes, rmses = [], []
    for subset in SUBSETS:
        films = chosen[chosen["subset"] == subset]
        found = score_agreement(films[name], films["consensus"])
        maes.append(round(found.mae, 2))
        rmses.append(round(found.rmse, 2))
    assert (tuple(maes), tuple(rmses)) == printed[name]


@pytest.mark.parametrize("name", ALL_SYSTEMS)
def test_figure_9(scores, name):
    films = scores[scores["subset"] == "test"]
    found = score_agreement(films[name], films["consensus"])
    rho, kappa = paper_tables.FIGURE_9[name]
    assert (None if np.isnan(found.rho) else round(found.rho, 3)) == rho
    assert round(found.kappa, 3) == kappa


def test_figure_9_on_covid_films_alone(scores):
    films = scores[(scores["subset"] == "test") & (scores["label"] == "COVID-19")]
    found = {name: score_agreement(films[name], films["consensus"]) for name in ALL_SYSTEMS}
    shown = {
        name: (round(found[name].rho, 3), round(found[name].kappa, 3), round(found[name].kappa_quadratic, 3))
        for name in ("MA-Net", "U-net", "DeepLabV3+", "FPN")
    }
    assert shown == {
        "MA-Net": (0.840, 0.289, 0.835),
        "U-net": (0.837, 0.225, 0.827),
        "DeepLabV3+": (0.846, 0.173, 0.820),
        "FPN": (0.822, 0.324, 0.808),
    }
    assert round(found["MA-Net"].within_one, 2) == 0.91


def test_reader_agreement(metadata):
    read = published.scored_films(metadata).dropna(subset=["reader_r", "reader_d"])
    both = score_agreement(read["reader_d"], read["reader_r"])
    assert (both.n, round(both.rho, 3), round(both.kappa, 3)) == (1085, 0.965, 0.636)
    sick = read[read["label"] == "COVID-19"]
    found = score_agreement(sick["reader_d"], sick["reader_r"])
    assert (found.n, round(found.rho, 3), round(found.kappa, 3)) == (301, 0.820, 0.267)
    assert (round(found.kappa_quadratic, 3), round(found.mae, 2)) == (0.782, 0.81)
    assert (round(found.exact, 2), round(found.bias, 2)) == (0.40, 0.53)
    test = score_agreement(*read.loc[read["subset"] == "test", ["reader_d", "reader_r"]].to_numpy().T)
    assert (test.n, round(test.rho, 3), round(test.kappa, 3)) == (109, 0.970, 0.647)
    few = score_agreement(*sick.loc[sick["subset"] == "test", ["reader_d", "reader_r"]].to_numpy().T)
    assert (few.n, round(few.rho, 3), round(few.kappa, 3), round(few.mae, 2)) == (29, 0.851, 0.284, 0.83)


def test_bs_net_adapter_on_all_films(folder):
    table = published.read_bs_net(folder)
    assert len(table) == 1364
    assert (table["score"] == table["published"]).all()
    assert np.bincount(table["score"]).tolist() == [55, 129, 182, 163, 218, 263, 354]


def test_covid_net_adapter_on_all_films(folder):
    table = published.read_covid_net(folder)
    assert len(table) == 1364
    assert (table["score"] == table["published"]).all()
    assert np.bincount(table["score"], minlength=7).tolist() == [0, 177, 342, 475, 353, 17, 0]


def test_yardsticks(scores):
    test = scores[scores["subset"] == "test"]
    assert round(float(test["consensus"].mean()), 3) == 1.474  # always 0
    label = 4 * (test["label"] == "COVID-19")
    assert round(score_agreement(label, test["consensus"]).mae, 3) == 0.585


# Without the data:


def test_bs_net_counts_regions_whose_likeliest_class_is_not_0():
    probabilities = np.zeros((2, 3, 2, 4))
    probabilities[..., 0] = 0.4
    probabilities[0, 0, 0, 3] = 0.6
    probabilities[0, 2, 1, 1] = 0.5
    assert published.bs_net_scores(probabilities).tolist() == [2, 0]


def test_covid_net_reaches_neither_end():
    raw = np.array([1 / 6, 0.25, 0.5, 5 / 6])
    assert published.covid_net_scores(raw).tolist() == [1, 2, 3, 5]  # 1.5 rounds to the even 2


def test_the_parts_of_figure_12_are_sums_of_both_stages():
    first = paper_tables.STAGE_I[paper_tables.CHOSEN_STAGE_I]
    for name, (_, _, parameters, macs) in paper_tables.FIGURE_12.items():
        if name in paper_tables.STAGE_II:
            second = paper_tables.STAGE_II[name]
            assert parameters == pytest.approx(first.parameters_m + second.parameters_m)
            assert macs == pytest.approx(first.macs_g + second.macs_g)


def test_the_networks_of_the_paper():
    assert len(paper_tables.STAGE_I) == len(paper_tables.STAGE_II) == 9
    # The search for stage II is said to have had 2,100 runs; its table sums to more.
    assert sum(network.trials for network in paper_tables.STAGE_I.values()) == 300
    assert sum(network.trials for network in paper_tables.STAGE_II.values()) == 2136
    manet = paper_tables.STAGE_II["MA-Net"]
    assert (manet.input_px, manet.encoder, manet.batch) == (544, "timm-regnetx_064", 16)
    assert (manet.dice_tuning, manet.dice, manet.f1) == (0.876, (0.818, 0.874, 0.733), (0.978, 0.982, 0.824))
    assert paper_tables.STAGE_I["DeepLabV3+"].f1 is None


def test_a_missing_or_wrong_file_is_told(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*metadata\.csv"):
        published.read_metadata(tmp_path)
    (tmp_path / "metadata.csv").write_text("dataset,filename\na,b\n")
    with pytest.raises(DataError, match="lacks the column Score R"):
        published.read_metadata(tmp_path)
    with pytest.raises(DataError, match="no table of FPN"):
        published.read_outputs(tmp_path, PublishedSystem("FPN", "FPN_", 0.26))
    with pytest.raises(DataError, match="no threshold_selection_train_FPN"):
        published.read_threshold_curve(tmp_path, PublishedSystem("FPN", "FPN_", 0.26), "train")
    (tmp_path / "bsnet.csv").write_text("")
    with pytest.raises(DataError, match="no CSV table"):
        published.read_bs_net(tmp_path)
