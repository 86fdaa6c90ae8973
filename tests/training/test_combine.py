import sys

import numpy as np
import pandas as pd
import pytest

from training import combine as command
from training.combine import combine, measure, read_named_tables
from training.data.dataset import DataError
from training.judging.film_table import COLUMNS, read_film_table


def film_rows(**columns):
    count = len(columns["id"])
    table = pd.DataFrame({name: [np.nan] * count for name in COLUMNS}).astype(object)
    return table.assign(**columns)


@pytest.fixture
def published():
    return pd.DataFrame(
        {
            "dataset": ["A", "A", "B"],
            "filename": ["1.png", "2.png", "3.png"],
            "subset": ["train", "test", "test"],
            "label": ["COVID-19", "COVID-19", "Normal"],
            "consensus": [2.5, 4.0, 0.0],
            "FPN": [2, 5, 1],
        }
    )


@pytest.fixture
def films(tmp_path):
    path = tmp_path / "films.csv"
    ours = film_rows(
        id=["a", "b", "c"], split=["val", "test", "test"], group=["1", "2", "3"],
        published_name=["2.png", "3.png", ""], score=[4, np.nan, 6],
    )  # fmt: skip
    ours.to_csv(path, index=False)
    return path


def test_films_that_all_have_are_joined(published, films):
    joined = combine(published, {"ours": read_film_table(films)})
    assert joined["filename"].tolist() == ["2.png", "3.png"]
    assert joined["ours"].tolist()[0] == 4
    assert np.isnan(joined["ours"][1])  # not assessable is no score of 0
    assert joined["split"].tolist() == ["val", "test"]


def test_names_that_are_taken_or_tables_without_a_common_film(published, films):
    table = read_film_table(films)
    with pytest.raises(DataError, match="there is a system or a column FPN already"):
        combine(published, {"FPN": table})
    with pytest.raises(DataError, match="no film that the published tables have"):
        combine(published, {"ours": table.assign(published_name=["8.png", "9.png", ""])})
    with pytest.raises(DataError, match="are the same published film"):
        combine(published, {"ours": table.assign(published_name="9.png")})
    with pytest.raises(DataError, match="two tables are called films"):
        read_named_tables([str(films), str(films)])
    assert list(read_named_tables([f"ours={films}"])) == ["ours"]


def test_measure_filters_films(published):
    every = measure(published, ["FPN"], "consensus", {})
    assert every["n"][0] == 3
    assert every["mae"][0] == pytest.approx((0.5 + 1 + 1) / 3)
    test = measure(
        published, ["FPN"], "consensus", {"subset": ["test"], "label": ["COVID-19"], "dataset": None}
    )
    assert test.loc[0, ["n", "mae", "mse", "rmse"]].tolist() == [1, 1, 1, 1]
    with pytest.raises(DataError, match="no film with a score of FPN is left"):
        measure(published, ["FPN"], "consensus", {"dataset": ["C"]})
    with pytest.raises(DataError, match="no column PAN"):
        measure(published, ["PAN"], "consensus", {})
    with pytest.raises(DataError, match="no column split"):
        measure(published, ["FPN"], "consensus", {"split": ["test"]})


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["combine", *map(str, arguments)])
    command.main()


def test_the_commands(monkeypatch, published, tmp_path, capsys):
    table, out = tmp_path / "combined.csv", tmp_path / "figures.csv"
    published.to_csv(table, index=False)
    run(monkeypatch, "measure", "--table", table, "--subset", "test", "--out", out)
    assert pd.read_csv(out)["system"].tolist() == ["FPN"]
    assert "FPN" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: cannot read"):
        run(monkeypatch, "measure", "--table", tmp_path / "none.csv")
    with pytest.raises(SystemExit, match=r"error: cannot read .*metadata"):
        run(monkeypatch, "join", "--data", tmp_path, "--out", out)


def test_the_published_systems_join_to_1320_films(monkeypatch, cxr_dataset, tmp_path):
    out = tmp_path / "combined.csv"
    run(monkeypatch, "join", "--data", cxr_dataset, "--out", out)
    table = pd.read_csv(out)
    assert len(table) == 1320
    assert {"U-net", "MA-Net", "BS-net", "COVID-Net-S"} <= set(table)
    run(monkeypatch, "measure", "--table", out, "--subset", "test", "--out", tmp_path / "figures.csv")
    figures = pd.read_csv(tmp_path / "figures.csv").set_index("system")
    assert len(figures) == 11
    assert round(figures.loc["MA-Net", "mae"], 2) == 0.30
