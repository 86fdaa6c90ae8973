import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.film_record import FilmRecord, PrepareError, Problem, ReaderScores, Reading
from training.data.manifest import read_data_folder
from training.data.pictures import GreyFile, MaskFile
from training.data.readers.supervisely import SuperviselyMask
from training.judging.data_pictures import example_pictures, plot_scores, reader_pictures
from training.judging.data_tables import (
    demographics_table,
    score_table,
    stage_one_table,
    stage_two_table,
    tuning_table,
)
from training.judging.describe import describe

GREY = GreyFile(Path("unused"))


def film(number, **values):
    return FilmRecord(
        f"a_{number}", "A", values.pop("group", f"p{number}"), GREY, **({"split": "train"} | values)
    )


def table(report):
    return {row[0]: row[1:] for row in report.content.itertuples(index=False, name=None)}


def test_stage_tables():
    mask = MaskFile(Path("unused"))
    films = [
        film(1, lung_mask=mask, finding_group="covid", opacity_mask=mask, group="p"),
        film(2, lung_mask=mask, finding_group="covid", split="test", opacity_mask=mask),
        film(3, finding_group="normal", split="val", group="p3"),
        film(4, finding_group="covid"),
    ]
    assert table(stage_one_table(films))["all"] == ("100.0", 1, 0, 1, 2, 2)
    assert table(stage_two_table(films))["a"] == (1, 2, 1, 1, 1, 3, 3)


def test_demographics_say_how_many_are_known():
    films = [film(1, age=40.0, sex="M"), film(2, age=60.0, sex="F", view="PA"), film(3, sex="M")]
    rows = demographics_table(films).content.to_dict("records")
    by_name = {(row["what"], row["value"]): (row["films"], row["known"], row["percent"]) for row in rows}
    assert by_name["age in years, all", "50.0 ± 14.1"] == (2, 2, "")
    assert by_name["sex", "M"] == (2, 3, "66.7")
    assert by_name["view", "PA"] == (1, 1, "100.0")


def test_score_table_leaves_poor_films_out():
    films = [
        film(1, readers=ReaderScores(1, 2, False)),
        film(2, readers=ReaderScores(None, 6, False), split="test"),
        film(3, readers=ReaderScores(6, 6, True)),
    ]
    scores = table(score_table(films))
    assert scores["1.5"] == (1, 0, 0, 1)
    assert scores["6"] == (0, 0, 1, 1)
    assert "1 film(s) of poor quality" in score_table(films).note
    assert [bar.get_height() for bar in plot_scores(films).axes[0].patches if bar.get_height()] == [1, 1]


def test_published_histogram(cxr_dataset):
    """Danilov et al. 2022: consensus of the 1,320 films of good quality, normals included."""
    with (cxr_dataset / "published" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    films = [
        film(
            number,
            readers=ReaderScores(
                *(float(row[name]) if row[name] else None for name in ("Score R", "Score D")),
                "Yes" in (row["Poor quality R"], row["Poor quality D"]),
            ),
        )
        for number, row in enumerate(rows)
    ]
    counts = {score: counted[-1] for score, counted in table(score_table(films)).items()}
    assert sum(counts.values()) == 1320
    assert counts == {
        **{"0": 785, "0.5": 5, "1": 82, "1.5": 15, "2": 33, "2.5": 21, "3": 34, "3.5": 21},
        **{"4": 63, "4.5": 21, "5": 108, "5.5": 53, "6": 79},
    }


def test_tuning_table():
    films = [film(number, lung_mask=MaskFile(Path("unused"))) for number in range(100)]
    films += [film(number, lung_mask=MaskFile(Path("unused")), split="test") for number in range(100, 120)]
    rows = tuning_table(films).content.to_dict("records")
    assert rows[0] == {"stage": "I", "for": "tuning", "train": 8, "val": 2, "test": 0, "all": 10}
    assert rows[1] == {"stage": "I", "for": "training", "train": 100, "val": 0, "test": 20, "all": 120}


def test_readers_are_drawn_in_cyan_and_red(tmp_path):
    left, right = np.zeros((2, 80, 100), np.uint8)
    left[20:60, 10:40], right[20:60, 50:90] = 255, 255
    for name, array in (("left", left), ("right", right), ("film", left // 4 + right // 3)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    record = FilmRecord(
        "a_1",
        "A",
        "p",
        GreyFile(tmp_path / "film.png"),
        lung_mask=MaskFile(tmp_path / "left.png"),
        second_lung_mask=MaskFile(tmp_path / "right.png"),
        licence_class="open",
    )
    ((words, picture),) = reader_pictures([record])
    assert words == "a_1\nDice 0.000"
    assert picture[20, 25].tolist() == [0, 255, 255]
    assert picture[20, 70].tolist() == [255, 0, 0]
    assert picture[40, 25].tolist() == [63, 63, 63]


def test_only_open_films_are_shown(data_folder):
    records = read_data_folder(data_folder).records
    assert example_pictures(records) == []
    shown = [words.split("\n")[0] for words, _ in example_pictures(records, any_licence=True, most=4)]
    assert len(set(shown)) == 4


def test_describe_writes_everything(data_folder, tmp_path):
    reading = read_data_folder(data_folder)
    paths = describe(reading, tmp_path / "out", any_licence=True)
    names = {path.name for path in paths}
    assert {"data.md", "table_1_stage_1.csv", "table_4_tuning.md", "examples.png", "readers.png"} <= names
    assert {"scores.png"} <= names
    assert all(path.stat().st_size > 20 for path in paths)
    with Image.open(tmp_path / "out" / "examples.png") as sheet:
        assert min(sheet.size) > 300
    assert "![scores](scores.png)" in (tmp_path / "out" / "data.md").read_text()
    bare = {path.name for path in describe(reading, tmp_path / "bare")}
    assert not {"examples.png", "readers.png"} & bare


def test_describe_needs_sound_films(tmp_path):
    with pytest.raises(PrepareError, match="no films"):
        describe(Reading(()), tmp_path)
    with pytest.raises(PrepareError, match="check"):
        describe(Reading((), (Problem("a", "kind", "wrong"),)), tmp_path)
    bad = FilmRecord(
        "a_1", "A", "p", GREY, opacity_mask=SuperviselyMask(tmp_path / "x", None), licence_class="open"
    )
    with pytest.raises(PrepareError, match="does not exist"):
        describe(Reading((bad,)), tmp_path)
