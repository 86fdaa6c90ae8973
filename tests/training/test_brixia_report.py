"""The whole command on drawn readings, without a network."""

import sys

import numpy as np
import pandas as pd
import pytest

from training import brixia
from training.judging.brixia.predictions import Prediction, prediction_table, read_predictions
from training.judging.brixia.readings import read_readings, scores_of

REGIONS = "ABCDEF"


def write_manifest(folder, films=24):
    generator = np.random.default_rng(5)
    senior = generator.integers(0, 4, (films, 6))
    junior = np.clip(senior + generator.integers(-1, 2, (films, 6)), 0, 3)
    rows = []
    for number in range(films):
        row = {
            "id": f"film_{number:02d}",
            "file": f"images/film_{number:02d}.png",
            "patient_group": f"patient-{number // 2}",
            "split": ("train", "val", "test", "test")[number % 4],
            "sex": "FM"[number % 2],
            "finding_group": "covid",
            "LO": f"{0.3 * senior[number].sum():.2f}",
            "GE": "",
        }
        for reader, scores in (("S", senior), ("J", junior)):
            row |= {
                f"brixia_{reader}_{region}": str(score)
                for region, score in zip(REGIONS, scores[number], strict=True)
            }
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return senior


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    senior = write_manifest(folder)
    readings = read_readings(folder)
    predictions = []
    for name, scores in zip(readings["id"], senior.astype(float), strict=True):
        probabilities = np.eye(4)[scores.astype(int)]
        predictions.append(Prediction(name, scores, probabilities, lungs=(80, 10, 10, 900)))
    predictions[2] = Prediction("film_02", None, None, "no-lungs")
    table = prediction_table(readings, predictions)
    table.to_csv(tmp_path / "ours.csv", index=False)
    worse = table.assign(**{region: np.minimum(table[region] + 1, 3) for region in REGIONS})
    worse.to_csv(tmp_path / "worse.csv", index=False)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("training.judging.figures.saving.DPI", 30)
    monkeypatch.setattr("training.judging.brixia.regression.bootstrap_line.__defaults__", (20,))
    monkeypatch.delenv("CXR_DATASET", raising=False)
    monkeypatch.setattr(sys, "argv", ["brixia", *map(str, arguments)])
    brixia.main()


def test_one_command_writes_every_table_and_figure(monkeypatch, data, capsys):
    (data / "run").mkdir()
    (data / "run" / "log.jsonl").write_text(
        '{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "loss": 1.5, "val": {"mae": 0.5}}\n'
    )
    out = data / "report"
    files = [f"ours={data / 'ours.csv'}", f"worse={data / 'worse.csv'}"]
    run(monkeypatch, "--data", data / "data", "--predictions", *files, "--runs", data / "run", "--out", out)
    assert "report.md" in capsys.readouterr().out.replace("\n", "")
    names = {path.name for path in out.iterdir()}
    for table in (
        "table_4",
        "table_5",
        "table_6",
        "table_7",
        "table_8",
        "table_9",
        "table_10_11",
        "acceptable",
    ):
        assert {f"{table}.csv", f"{table}.md"} <= names
    assert {f"figure_{name}.png" for name in ("3", "6", "7", "8", "9_raters")} <= names
    five = pd.read_csv(out / "table_5.csv").set_index(["system", "figure"])
    assert five.loc[("ours", "MAE"), "n films"] == 11  # of 12 test films one has no score
    assert five.loc[("ours", "MAE"), "global"] == 0
    assert five.loc[("worse", "ME"), "mean"] > 0  # too high is positive
    assert five.loc[("BS-Net ENS, printed", "MAE"), "mean"] == 0.441
    four = pd.read_csv(out / "table_4.csv").set_index("system")
    assert four.loc["ours", "Dice"] == pytest.approx(160 / 180)
    runs = pd.read_csv(out / "table_10_11.csv").set_index("run")
    assert runs.loc["ours", "n train"] == 6
    eight = pd.read_csv(out / "table_8.csv").set_index("system")
    assert eight.loc["ours", "slope"] == "0.30 ± 0.00"
    page = (out / "report.md").read_text()
    assert "Signoroni et al. 2021" in page
    assert "1 of them could not be assessed" in page


def test_predictions_alone_are_enough(monkeypatch, data):
    out = data / "report"
    run(monkeypatch, "--predictions", data / "ours.csv", "--split", "all", "--out", out)
    five = pd.read_csv(out / "table_5.csv").set_index(["system", "figure"])
    assert five.loc[("ours", "MAE"), "n films"] == 23
    assert "left out" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--predictions", "ours.csv", "--reader", "R3"], "there is no reader R3.*S, J"),
        (["--predictions", "none.csv"], "cannot read"),
        (["--predictions", "x=ours.csv", "x=worse.csv"], "two tables are called x"),
        ([], "--data"),
        (["--data", "nowhere"], "there is no folder"),
        (["--predictions", "ours.csv", "--rotation"], "needs the films"),
        (["--predictions", "ours.csv", "--data", "data", "--explain", "film_99"], "no film film_99"),
        (["--predictions", "ours.csv", "--runs", "data"], "cannot read the log"),
    ],
)
def test_a_users_mistake_is_one_line(monkeypatch, data, arguments, words):
    monkeypatch.chdir(data)
    with pytest.raises(SystemExit, match=words) as stopped:
        run(monkeypatch, *arguments, "--out", "report")
    assert str(stopped.value).startswith("error: ")
    assert "\n" not in str(stopped.value)


def test_a_table_without_readers_takes_them_from_the_data(data):
    table = pd.read_csv(data / "ours.csv")[["id", *REGIONS]]
    table.to_csv(data / "bare.csv", index=False)
    readings = read_readings(data / "data")
    read = read_predictions(data / "bare.csv", readings)
    assert (scores_of(read, "J") == scores_of(readings, "J")).all()
    assert read["patient_group"].iloc[3] == "patient-1"


def test_a_table_survives_writing(data):
    read = read_predictions(data / "ours.csv")
    read.to_csv(data / "again.csv", index=False)
    pd.testing.assert_frame_equal(read, read_predictions(data / "again.csv"))
