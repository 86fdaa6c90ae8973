"""BS-Net's part of the programs, with a tiny network of random weights."""

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from models.bsnet.checkpoint import save_bsnet
from models.bsnet.network import build_bsnet
from models.bsnet.spec import ALL_IN_ONE, COMPACT
from training import brixia, evaluate
from training.data.dataset import DataError, read_manifest
from training.judging.brixia.observing import ObservedBSNet, predictor, read_film
from training.judging.brixia.readings import read_readings
from training.judging.brixia.scoring import rotated_errors, score_outcomes

SMALL = {"encoder": "resnet18", "input_shape": (64, 64)}


@pytest.fixture(scope="module")
def bsnet(tmp_path_factory):
    """A BS-Net whose lungs are what is dark: the two ellipses of the drawn films."""
    torch.manual_seed(0)
    spec = replace(COMPACT, **SMALL, roi_sizes=(8, 4, 4, 2), dropout=0.0)
    folder = tmp_path_factory.mktemp("bsnet")
    save_bsnet([build_bsnet(spec)], spec, folder)
    return folder


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("training.judging.bootstrap.interval.__defaults__", (20, 0))
    monkeypatch.setattr("training.judging.brixia.regression.bootstrap_line.__defaults__", (20,))


@pytest.fixture
def lungs_found(monkeypatch):
    """Random weights find no lungs; these tests are of what comes after, so thresholding finds them."""
    from models.bsnet import scorer
    from models.lungs import lungs_in

    def found(segmentation, threshold):
        probability = np.zeros(segmentation.probability.shape, np.float32)
        for share in (0.29, 0.71):
            rows, columns = probability.shape
            axes = (int(0.17 * columns), int(0.36 * rows))
            cv2.ellipse(probability, (int(share * columns), rows // 2), axes, 0, 0, 360, 1, -1)
        return lungs_in(replace(segmentation, probability=probability), threshold)

    monkeypatch.setattr(scorer, "lungs_in", found)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # this process, in which the lungs are found


def test_every_attention_is_seen_and_the_whole_is_their_mean(bsnet, data_folder, lungs_found):
    observed = ObservedBSNet(bsnet)
    film = read_manifest(data_folder)[1]
    found = observed.score(read_film(film.image))
    assert list(found.regions) == ["bs-net", "bs-net hard", "bs-net soft"]
    mean = (found.probabilities["bs-net hard"] + found.probabilities["bs-net soft"]) / 2
    assert found.probabilities["bs-net"] == pytest.approx(mean, abs=1e-5)
    direct = predictor(bsnet)(read_film(film.image))
    assert (direct == found.regions["bs-net"]).all()


def test_without_alignment_nothing_is_transformed(bsnet, data_folder):
    film = read_film(read_manifest(data_folder)[1].image)
    unaligned = predictor(bsnet, align=False)
    aligned = predictor(bsnet)
    # A fresh aligner estimates the identity, so both agree until it has learnt something.
    assert (unaligned(film) == aligned(film)).all()


def test_what_cannot_be_assessed_has_no_score(bsnet, data_folder, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    films = read_manifest(data_folder)[:2]
    blank = data_folder / "blank.png"
    cv2.imwrite(str(blank), np.full((80, 80), 90, np.uint8))
    outcomes, found, _ = score_outcomes([replace(films[0], image=blank, lung_masks=())], bsnet)
    assert outcomes[0].score is None
    assert outcomes[0].reason == "no-lungs"
    assert found["bs-net"][0].regions is None


def test_the_evaluation_has_the_agreed_keys(bsnet, data_folder, lungs_found, tmp_path, monkeypatch):
    file, predictions, csv = (tmp_path / name for name in ("figures.json", "predictions.csv", "films.csv"))
    arguments = ["--data", data_folder, "--split", "all", "--algorithm", "bs-net", "--weights", bsnet]
    more = ["--json", file, "--predictions", predictions, "--csv", csv]
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, (*arguments, *more))])
    evaluate.main()
    figures = json.loads(file.read_text())
    assert figures["n"] == 24
    found = figures["brixia"]
    assert found["n"] + found["not_assessable"] == 12
    assert {"region_mae", "region_mae_ci95", "global_mae", "global_mae_ci95", "t_mae"} <= set(found)
    assert found["region_mae_ci95"][0] <= found["region_mae"] <= found["region_mae_ci95"][1]
    table = pd.read_csv(predictions)
    errors = np.abs(table[list("ABCDEF")].to_numpy() - table[[f"S-{r}" for r in "ABCDEF"]].to_numpy())
    assert found["region_mae"] == pytest.approx(np.nanmean(errors), abs=1e-4)
    films = pd.read_csv(csv).set_index("id")
    scored = table.set_index("id").dropna(subset=["A"])
    assert (films.loc[scored.index, "score"] == (scored[list("ABCDEF")] >= 1).sum(axis=1)).all()
    assert {"score", "normals", "lungs"} <= set(figures)
    assert "brixia_rank" not in figures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--algorithm", "bs-net", "--legacy"], "--legacy: not for --algorithm bs-net"),
        (["--predictions", "films.csv"], "--predictions: not for --algorithm two-stage"),
        (["--algorithm", "bs-net", "--weights", "nowhere"], "cannot read"),
    ],
)
def test_a_users_mistake_is_one_line(data_folder, monkeypatch, arguments, words):
    monkeypatch.setattr(sys, "argv", ["evaluate", "--data", str(data_folder), *arguments])
    with pytest.raises(SystemExit, match=words) as stopped:
        evaluate.main()
    assert str(stopped.value).startswith("error: ")


def test_one_command_scores_turns_and_reports(bsnet, data_folder, lungs_found, tmp_path, monkeypatch):
    monkeypatch.setattr("training.judging.figures.saving.DPI", 30)
    monkeypatch.setattr("training.judging.brixia.rotation.WIDEST", 20)
    out = tmp_path / "report"
    arguments = [
        "--data",
        data_folder,
        "--split",
        "test",
        "--weights",
        bsnet,
        "--rotation",
        "10",
        "--every-split",
    ]
    arguments += ["--explain", "drawn_021"]
    monkeypatch.setattr(sys, "argv", ["brixia", *map(str, (*arguments, "--out", out))])
    brixia.main()
    five = pd.read_csv(out / "table_5.csv")
    assert {"bs-net", "bs-net hard", "bs-net soft"} <= set(five["system"])
    assert len(pd.read_csv(out / "predictions_bs-net.csv")) == 12
    rises = pd.read_csv(out / "figure_11_rise.csv")
    assert rises["system"].tolist() == ["with alignment", "alignment switched off"]
    assert pd.read_csv(out / "figure_11.csv")["degrees"].tolist() == [-20, -10, 0, 10, 20] * 2
    assert (out / "figure_11.png").is_file()
    assert cv2.imread(str(out / "figure_10_drawn_021.png")).shape[1] > 1000


def test_the_baseline_without_lungs_is_measured_too(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    spec = replace(ALL_IN_ONE, **SMALL)
    save_bsnet([build_bsnet(spec)], spec, tmp_path)
    outcomes, found, _ = score_outcomes(read_manifest(data_folder)[:2], tmp_path)
    assert list(found) == ["all-in-one"]
    assert outcomes[0].score is not None
    assert outcomes[0].lungs is None
    readings = read_readings(data_folder).head(2)
    errors, groups = rotated_errors(readings, "S", tmp_path, angles=(0, 20))
    assert list(errors) == ["all-in-one"]
    assert errors["all-in-one"].shape == (2, 2)
    assert len(groups) == 2


def test_a_film_that_is_none_is_told(tmp_path):
    (tmp_path / "film.dcm").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot read the film .*film\.dcm"):
        read_film(tmp_path / "film.dcm")


def test_a_dicom_film_is_read(sample_films):
    pixels = read_film(sample_films[0])
    assert pixels.dtype == np.float32
    assert pixels.ndim == 2
