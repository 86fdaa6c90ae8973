import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from training import operating_point, report
from training.data.dataset import TEACHER_COLUMNS, DataError, read_manifest
from training.judging.film_table import film_table
from training.judging.overlap import Overlap
from training.judging.published import SYSTEMS, ZONE_COLUMNS, read_all_scores, read_outputs
from training.judging.report_figures import films_to_draw
from training.judging.scoring import FilmOutcome
from training.judging.tables.head_to_head import calibrated, head_to_head, same_films
from training.judging.tables.runs import read_run
from training.judging.tables.scores import errors_by_split
from training.judging.tables.segmentation import appendix_tables, mask_figures, stage_tables
from training.judging.tables.writing import ReportTable, markdown

# Absolute error on the 92 (87 with COVID-19) test films of good quality: MAE all, MAE, RMSE and rho COVID-19.
HEAD_TO_HEAD = {
    "U-net": (0.636, 0.672, 0.889, 0.890),
    "FPN": (0.679, 0.718, 1.010, 0.826),
    "Linknet": (0.777, 0.822, 1.087, 0.825),
    "MA-Net": (0.821, 0.868, 1.081, 0.806),
    "DeepLabV3+": (0.821, 0.868, 1.153, 0.845),
    "U-net++": (0.908, 0.960, 1.413, 0.746),
    "PAN": (0.918, 0.971, 1.389, 0.683),
    "PSPNet": (1.103, 1.167, 1.556, 0.656),
    "BS-net": (1.266, 1.121, 1.504, 0.753),
    "COVID-Net-S": (1.321, 1.270, 1.477, 0.664),
}


def run(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    module.main()


@pytest.fixture(scope="module")
def films(cxr_dataset):
    return read_manifest(cxr_dataset)


@pytest.fixture(scope="module")
def published(cxr_dataset):
    return read_all_scores(cxr_dataset / "published")


def test_published_systems_on_our_test_films(films, published):
    content = head_to_head(same_films(films, published, {}), []).content.set_index("system")
    columns = ["MAE all", "MAE COVID-19", "RMSE COVID-19", "ρ COVID-19"]
    for system, figures in HEAD_TO_HEAD.items():
        assert tuple(content.loc[system, columns].astype(float).round(3)) == figures
        assert content.loc[system, ["n all", "n COVID-19"]].tolist() == [92, 87]
    readers = content.loc["reader R against reader D"]
    assert readers["n COVID-19"] == 53
    assert tuple(readers[columns[1:]].astype(float).round(3)) == (0.774, 1.157, 0.841)
    assert round(content.loc["always 4", "MAE COVID-19"], 3) == 1.489


def test_the_whole_report(monkeypatch, films, cxr_dataset, tmp_path, capsys):
    # Our outcomes stand in for a scoring: the published U-net's zone shares on validation films.
    unet = read_outputs(cxr_dataset / "published", SYSTEMS[0]).set_index("filename")
    outcomes = [
        FilmOutcome(film, None, int(row["score"]), row[list(ZONE_COLUMNS)].to_numpy(float), 0.1)
        for film in films
        if film.split in ("val", "test") and film.published_name in unet.index
        for row in [unet.loc[film.published_name]]
    ]
    table = film_table(outcomes)
    table.to_csv(tmp_path / "ours.csv", index=False)
    out = tmp_path / "report"
    monkeypatch.setattr("training.judging.figures.saving.DPI", 30)
    run(monkeypatch, report, "--data", cxr_dataset, "--outcomes", tmp_path / "ours.csv", "--out", out)
    assert "report.md" in capsys.readouterr().out.replace("\n", "")
    names = {path.name for path in out.iterdir()}
    for table in ("table_7", "table_8", "table_9", "table_10", "table_E1", "table_E2", "table_D2"):
        assert {f"{table}.csv", f"{table}.md"} <= names
    pictures = ("table_10", "figure_2c", "figure_9", "figure_9_ours", "figure_12", "head_to_head_test")
    assert {f"{name}.png" for name in pictures} <= names
    for name in ("table_10", "table_E1", "table_E2"):
        assert (pd.read_csv(out / f"{name}.csv")["to the digit"] == "yes").all()
    same = pd.read_csv(out / "head_to_head_test.csv").set_index("system")
    assert same.loc["ours", "MAE COVID-19"] == pytest.approx(same.loc["U-net", "MAE COVID-19"])
    page = (out / "report.md").read_text()
    assert "![Fig. 12" in page
    assert "| COVID-Net-S |" in page


def test_a_search_on_published_shares(monkeypatch, cxr_dataset, tmp_path, capsys):
    folder = cxr_dataset / "published" / "model_outputs"
    table = next(folder.glob("Unet_*.csv"))
    curve = tmp_path / "curve.csv"
    monkeypatch.setattr("training.judging.threshold_search.RESAMPLES", 10)
    run(monkeypatch, operating_point, "--outputs", table, "--subset", "train", "--curve", curve)
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "first minimum of the MAE at 0.29" in shown
    assert list(pd.read_csv(curve)) == ["Threshold", "MAE", "MSE", "RMSE", "R2"]
    assert curve.with_suffix(".png").is_file()


# Without the data:


@pytest.fixture
def outputs(tmp_path):
    path = tmp_path / "system.csv"
    shares = np.zeros((4, 6))
    shares[:2, 0] = 0.6
    table = pd.DataFrame(shares, columns=list(TEACHER_COLUMNS))
    table = table.assign(
        Dataset=["A", "A", "B", "B"], Filename=list("wxyz"), Subset=["train", "test"] * 2,
        Label=["COVID-19", "COVID-19", "Normal", "Normal"], GT=[1, 0, 0, 0],
    )  # fmt: skip
    table.to_csv(path, index=False)
    return path


def test_the_search_keeps_what_is_asked_for(monkeypatch, outputs, capsys):
    run(monkeypatch, operating_point, "--outputs", outputs, "--subset", "train", "--label", "COVID-19")
    # One film whose zone of 0.6 must count: T from 0.00 to 0.59, its middle.
    assert "T = 0.29, MAE 0.000" in capsys.readouterr().out
    run(monkeypatch, operating_point, "--outputs", outputs, "--subset", "test")
    assert "T = 0.80" in capsys.readouterr().out  # that film must not count: 0.60 to 1.00
    with pytest.raises(SystemExit, match="no film of that subset"):
        run(monkeypatch, operating_point, "--outputs", outputs, "--source", "C")


def test_legacy_thresholds_need_no_data(monkeypatch, capsys):
    monkeypatch.delenv("CXR_DATASET", raising=False)
    run(monkeypatch, operating_point, "--import-legacy", "77")
    assert "T = 0.30" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, operating_point, "--import-legacy", "300")
    assert stopped.value.code == 2
    assert "a whole number from 0 to 255" in capsys.readouterr().err


def test_thresholds_are_never_chosen_on_test_films(monkeypatch, data_folder):
    with pytest.raises(SystemExit, match="test films come last"):
        run(monkeypatch, operating_point, "--data", data_folder, "--subset", "test")
    with pytest.raises(SystemExit, match="loosen the filters"):
        run(monkeypatch, operating_point, "--data", data_folder, "--source", "nowhere")


def test_tables_as_markdown(tmp_path):
    table = pd.DataFrame({"system": ["a|b", "c"], "MAE": [0.12345, np.nan], "n all": [1, np.nan]})
    assert markdown(table).splitlines() == [
        "| system | MAE | n all |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.123 | 1 |",
        "| c |  |  |",
    ]
    paths = ReportTable("t", "Title", table, "Note.", (), True).write(tmp_path)
    assert [path.name for path in paths] == ["t.csv", "t.md", "t.png"]
    assert pd.read_csv(paths[0])["MAE"][0] == 0.12345
    assert paths[1].read_text().startswith("## Title\n")


@pytest.fixture
def ours(data_folder):
    diseased = [film for film in read_manifest(data_folder) if film.consensus is not None]
    normal = next(film for film in read_manifest(data_folder) if film.normal)
    shares = np.array([0.5, 0, 0, 0, 0, 0])
    outcomes = [
        FilmOutcome(
            replace(diseased[0], split="train"), None, 1, shares, 0.1, None, Overlap(5, 0, 5, 90), 0.9
        ),
        FilmOutcome(replace(diseased[1], split="val"), None, 1, shares, 0.1, None, Overlap(8, 2, 2, 88), 0.9),
        FilmOutcome(replace(normal, split="val"), None, 0, 0 * shares, 0.1, None, Overlap(0, 1, 0, 99), 0.6),
    ]
    return film_table(outcomes)


def test_masks_and_classes_by_subset(ours):
    opacity = stage_tables({"mine": ours})[1].content
    first = opacity.iloc[0]
    assert first["system"] == "mine (ours)"
    assert first["Dice train"] == pytest.approx(2 / 3)
    assert first["Dice val"] == pytest.approx(0.8)  # the normal film has none
    assert np.isnan(first["Dice test"])
    assert first["F1 val"] == pytest.approx(2 / 3)
    assert len(opacity) == 10
    assert opacity.set_index("system").loc["DeepLabV3 (paper)", "Dice test"] == 0.5
    tables = appendix_tables({"mine": ours})
    assert [table.name for table in tables] == ["table_D1", "table_D2"]
    assert tables[1].content.loc[0, "normals at 0"] == 1
    assert tables[1].content.loc[0, "class recall"] == 1
    assert mask_figures(ours.iloc[2:], "opacity") == {}


def test_errors_by_split():
    table = pd.DataFrame({"split": ["val", "val", "test"], "consensus": [1.0, 2, 3], "a": [1, 4, np.nan]})
    content = errors_by_split(table, ["a"], "t", "T").content
    assert content.loc[0, ["n val", "MAE val"]].tolist() == [2, 1]
    assert "n test" not in content  # no film with a score


def test_a_comparator_is_calibrated_on_training_films_alone():
    films = pd.DataFrame(
        {"split": ["train"] * 3 + ["test"] * 3, "a": [1, 2, 3, 5, 0, 2], "consensus": [0, 2, 4, 9, 9, 9]}
    )
    assert calibrated(films, "a").tolist() == pytest.approx([0, 2, 4, 6, 0, 2])
    assert calibrated(films.assign(a=1), "a").isna().all()


def test_a_run_is_read_from_its_folder(trained):
    rows = {row["role"]: row for row in read_run(trained[0], "both")}
    assert rows["lungs"]["architecture"] == "unet"
    assert rows["lungs"]["input"] == "64 x 64"
    assert rows["opacity"]["parameters, M"] > rows["lungs"]["parameters, M"] > 0.5
    assert 0 < rows["lungs"]["multiply-adds, G"] < 1
    (own,) = read_run(trained[0].parent / "lungs", "lungs")
    assert own["epochs"] == 12
    assert 0.5 < own["best Dice"] <= 1


def test_a_report_without_published_outputs(monkeypatch, trained, data_folder, ours, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for part in ("manifest.csv", "images", "masks", "disease"):
        (data / part).symlink_to(data_folder / part)
    ours.to_csv(tmp_path / "mine.csv", index=False)
    monkeypatch.setattr("training.judging.figures.saving.DPI", 30)
    sources = ["--outcomes", tmp_path / "mine.csv", "--weights", f"mine={trained[0]}", "--films", "drawn_001"]
    run(monkeypatch, report, "--data", data, *sources, "--out", tmp_path / "report")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"table_5.csv", "table_6.csv", "table_7.csv", "table_D1.csv", "figure_9_ours.png"} <= names
    assert {"figure_10_drawn_001.png", "figure_11_drawn_001.png", "report.md"} <= names
    assert "table_10.csv" not in names
    networks = pd.read_csv(tmp_path / "report" / "table_5.csv")
    assert networks["system"].tolist()[:2] == ["mine (ours)", "U-net (paper)"]
    missing = tmp_path / "none"
    with pytest.raises(SystemExit, match="cannot read"):
        run(monkeypatch, report, "--data", data, "--published", missing, "--out", tmp_path / "report")


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(DataError, match="holds neither lungs"):
        read_run(tmp_path, "none")


def test_films_to_draw(data_folder):
    every = read_manifest(data_folder)
    assert films_to_draw(every, [], any_licence=False) == []
    open_films = [replace(film, licence_class="open") for film in every]
    chosen = films_to_draw(open_films, [], any_licence=False)
    assert len(chosen) == 2
    assert all(film.opacity_mask and film.split != "test" for film in chosen)
    assert films_to_draw(every, ["drawn_003"], any_licence=False)[0].name == "drawn_003"
    with pytest.raises(DataError, match="no film nothing"):
        films_to_draw(every, ["nothing"], any_licence=False)
