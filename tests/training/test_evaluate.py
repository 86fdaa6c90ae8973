import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from models.checkpoint import Role, load_spec
from training.data.dataset import DataError, read_manifest
from training.evaluate import evaluate, main
from training.judging.bootstrap import interval
from training.judging.film_figures import age_band, film_figures, legacy_figures
from training.judging.film_table import film_table, overlaps, read_film_table
from training.judging.overlap import Overlap
from training.judging.scoring import FilmMeasurement, FilmOutcome, measure_held_out
from training.operating_point import choose, choose_both


def command(module, *arguments):
    line = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_command_writes_the_agreed_keys(trained, data_folder, tmp_path):
    file, films, csv = tmp_path / "figures.json", tmp_path / "films.jsonl", tmp_path / "films.csv"
    arguments = ["--data", data_folder, "--split", "test", "--weights", trained[0], "--csv", csv]
    more = ["--legacy", "2", "--speed", "2"]
    done = command("training.evaluate", *arguments, "--json", file, "--films", films, *more)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert figures["n"] == 4
    assert {"n", "dice_mean", "dice_mean_ci95", "dice_p5"} <= set(figures["lungs"])
    assert figures["lungs"]["dice_mean"] > 0.85
    assert {"n", "dice_mean", "dice_mean_ci95"} <= set(figures["opacity"])
    for key in ("score", "score_covid"):
        assert {"n", "mae", "mae_ci95", "rmse", "rho"} <= set(figures[key])
    assert {"n", "scored_zero"} <= set(figures["normals"])
    assert figures["by_source"]["drawn"]["n"] == 4
    assert "mae" in done.stdout
    assert len(films.read_text().splitlines()) == 4
    assert figures["by_view"]["unknown"]["n"] == figures["by_age"]["unknown"]["n"] == 4
    assert {"f1", "specificity"} <= set(figures["presence"])
    assert figures["legacy"]["opacity_batch_means"]["batch_size"] == 2
    assert 0 <= figures["legacy"]["score"]["mae"] <= 6
    assert figures["speed"]["images_per_second"] == pytest.approx(1 / figures["speed"]["median_s"], rel=0.05)
    assert "torch" in figures["speed"]["machine"]
    # The table alone gives the same figures.
    table = read_film_table(csv)
    again = film_figures(table)
    assert again == {name: figures[name] for name in again}


def test_operating_point_is_written(trained, data_folder, tmp_path):
    for path in trained[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    more = ["--write", "--curve", tmp_path / "curve.csv", "--width", "0", "0.05"]
    done = command("training.operating_point", "--data", data_folder, "--weights", tmp_path, *more)
    assert done.returncode == 0, done.stderr
    spec = load_spec(tmp_path, Role.OPACITY)
    assert spec.involvement_width in (0.0, 0.05)
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 102
    assert (tmp_path / "curve.png").is_file()
    assert f"chosen T = {spec.involvement_threshold:.2f}" in done.stdout
    assert f"presence threshold = {spec.presence_threshold:g}" in done.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], r"manifest\.csv"),
        (["--data", "DATA", "--weights", "none"], "cannot read"),
        (["--data", "DATA", "--csv", "nowhere/films.csv"], "there is no folder nowhere"),
    ],
)
def test_a_users_mistake_is_one_line(monkeypatch, data_folder, arguments, words):
    arguments = [str(data_folder) if argument == "DATA" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    with pytest.raises(SystemExit, match=words) as stopped:
        main()
    assert str(stopped.value).startswith("error: ")
    assert "\n" not in str(stopped.value)


@pytest.fixture
def film(data_folder):
    return read_manifest(data_folder)[1]


def outcome(film, **changes):
    values = {"reason": None, "score": 2, "shares": np.zeros(6)}
    return FilmOutcome(film, elapsed_s=0.1, **(values | changes))


def test_what_cannot_be_assessed_is_counted_and_never_zero(film):
    lost = outcome(film, reason="no-lungs", score=None, shares=None)
    figures = evaluate([outcome(film, score=2), outcome(film, score=1), lost])
    assert figures["not_assessable"] == 1
    assert figures["score"]["n"] == 2
    assert figures["score"]["not_assessable"] == 1
    assert figures["score"]["mae"] == 0.5  # the readers say 1.5


def test_missing_labels_leave_a_key_out(data_folder):
    normal = read_manifest(data_folder)[0]
    figures = evaluate([outcome(normal, score=0), outcome(normal, score=3)])
    assert "score" not in figures
    assert "opacity" not in figures
    assert figures["normals"]["scored_zero"] == 1
    assert figures["normals"]["n"] == 2


def test_interval_resamples_groups_not_films():
    values = np.array([0.0] * 50 + [1.0] * 50)
    narrow = interval(lambda drawn: float(values[drawn].mean()), [str(index) for index in range(100)])
    wide = interval(lambda drawn: float(values[drawn].mean()), ["a"] * 50 + ["b"] * 50)
    assert 0.38 < narrow[0] < 0.45
    assert 0.55 < narrow[1] < 0.62
    assert wide == (0.0, 1.0)
    assert np.isnan(interval(lambda drawn: 0.0, ["a", "a"])[0])


def test_threshold_is_the_middle_of_the_plateau():
    shares = np.zeros((2, 6))
    shares[0, :3] = 0.6
    shares[1, 0] = 0.2
    point = choose(shares, np.array([3.0, 0.0]))
    assert point.error == 0
    assert point.threshold == pytest.approx(0.39)  # 0.20 to 0.59 are equally good
    assert point.curve[0] == pytest.approx(0.5)


def test_threshold_prefers_the_longer_plateau():
    shares = np.zeros((1, 6))
    shares[0] = [0.1, 0.1, 0.1, 0.5, 0.9, 0.9]
    # One zone too many or too few: 0.10 to 0.49 gives 3, 0.50 to 0.89 gives 2; both miss 2.5 by a half.
    assert choose(shares, np.array([2.5])).threshold == pytest.approx(0.49)


def test_a_width_is_chosen_where_it_helps():
    shares = np.zeros((2, 6))
    shares[0, :4] = 0.29
    shares[1] = 0.7
    readers = np.array([2.0, 6.0])  # no sharp T gives 2 for four equal shares
    assert choose(shares, readers).error == 1
    point = choose(shares, readers, (0.0, 0.05))
    assert (point.error, point.width) == (0, 0.05)
    assert choose(shares[1:], readers[1:], (0.0, 0.05)).width == 0


def test_the_gate_stays_open_as_far_as_normal_validation_films_allow(data_folder):
    normal, diseased = read_manifest(data_folder)[:2]  # readers: none, 1.5
    shares = np.array([0.4, 0, 0, 0, 0, 0])
    films = [
        FilmMeasurement(replace(normal, split="val"), 0.15, shares),
        FilmMeasurement(diseased, 0.9, shares),
    ]
    presence, point = choose_both(films)
    assert presence == 0.2
    assert point.error == pytest.approx(0.25)
    # A training film's presence is learnt by heart and says nothing.
    films[0] = FilmMeasurement(replace(normal, split="train"), 0.15, shares)
    assert choose_both(films)[0] == 0.05


def test_folds_are_judged_by_the_runs_that_held_them_out(trained, data_folder):
    films = read_manifest(data_folder)
    weights, _, _ = trained
    measured = measure_held_out(films, weights, [weights, weights])
    judged = {
        film.name
        for film in films
        if film.split in ("train", "val") and (film.consensus is not None or film.normal)
    }
    assert {item.film.name for item in measured} <= judged
    assert len(measured) > len(judged) / 2
    assert {item.film.split for item in measured} == {"val"}


def test_figures_of_masks_closed_form(film):
    good, bad = Overlap(90, 10, 10, 890), Overlap(0, 20, 100, 880)
    figures = evaluate([outcome(film, opacity=good), outcome(film, opacity=bad)])["opacity"]
    assert figures["n"] == 2
    assert figures["dice_mean"] == figures["dice_median"] == 0.45
    assert figures["dice_pooled"] == round(180 / 320, 4)
    assert figures["precision_mean"] == 0.45
    assert figures["recall_mean"] == 0.45
    assert figures["iou_mean"] == round(90 / 110 / 2, 4)


def test_a_normal_film_has_no_dice_but_a_specificity(data_folder):
    normal = read_manifest(data_folder)[0]
    clear, specked = np.zeros(6), np.array([0.1, 0, 0, 0, 0, 0])
    found = [
        outcome(normal, score=0, shares=clear, opacity=Overlap(0, 0, 0, 100), presence=0.1),
        outcome(normal, score=0, shares=specked, opacity=Overlap(0, 4, 0, 96), presence=0.8),
    ]
    figures = evaluate(found)
    assert "opacity" not in figures
    assert figures["normals"]["share_zero"] == 1
    assert figures["normals"]["share_clear"] == 0.5
    assert figures["presence"]["specificity"] == 0.5
    assert [part.fp for part in overlaps(film_table(found), "opacity")] == [0, 4]
    legacy = legacy_figures(film_table(found), 1)["opacity_batch_means"]
    assert legacy["dice"] == 0.5  # the clear film counts as 1, the specked one as 0


def test_class_f1(film, data_folder):
    normal = read_manifest(data_folder)[0]
    found = [outcome(film, presence=0.7), outcome(film, presence=0.2), outcome(normal, presence=0.6)]
    assert evaluate(found)["presence"]["f1"] == 0.5
    low = [replace(one, presence_threshold=0.1) for one in found]
    assert evaluate(low)["presence"]["recall"] == 1


@pytest.mark.parametrize(
    ("age", "band"), [(0, "0-17"), (17.9, "0-17"), (18, "18-39"), (79, "60-79"), (80, "80+"), (104, "80+")]
)
def test_age_bands(age, band):
    assert age_band(age) == band
    assert age_band(float("nan")) == "unknown"


def test_a_table_of_another_kind_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("id,score\n1,2\n")
    with pytest.raises(DataError, match="lacks the column"):
        read_film_table(tmp_path / "a.csv")
