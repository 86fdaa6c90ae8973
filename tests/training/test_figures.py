from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from models.result import ZONE_ORDER, AlgorithmId, NotAssessable, NotAssessableReason, SeverityResult
from models.severity import measure
from models.zones import Lungs, zone_map
from training.data.dataset import DataError, Film
from training.judging.figures.coloured_table import WHITE, column_colours, plot_table
from training.judging.figures.curves import plot_threshold_curves
from training.judging.figures.film_panels import plot_overlays, plot_probability_maps
from training.judging.figures.gallery import Gallery, credits_of, plot_gallery, worst_films
from training.judging.figures.heatmaps import plot_heatmaps, score_counts
from training.judging.figures.importance import plot_importance
from training.judging.figures.observation import Observation
from training.judging.figures.overall import SystemSummary, plot_overall
from training.judging.figures.overlays import CYAN, RED, YELLOW, draw_readers, draw_result
from training.judging.figures.saving import save
from training.judging.film_table import COLUMNS
from training.judging.thresholds import threshold_curve

ALGORITHM = AlgorithmId("two-stage", "1.0", {}, {})
ROWS, COLUMNS_PX = 240, 200


def ellipse(centre):
    drawn = cv2.ellipse(np.zeros((ROWS, COLUMNS_PX), np.uint8), centre, (35, 90), 0, 0, 360, 1, -1)
    return drawn > 0


@pytest.fixture
def film():
    return Film("f_1", "f", "p1", "val", "covid", Path("f.png"), (), None, (), None, (), None, 3.0)


@pytest.fixture
def result():
    zones = zone_map(Lungs(ellipse((60, 120)), ellipse((140, 120))))
    opacity = np.zeros((ROWS, COLUMNS_PX), bool)
    opacity[160:, :] = True
    opacity &= zones > 0
    involvement = measure(zones, opacity, 0.3)
    return SeverityResult(ALGORITHM, sum(zone.score for zone in involvement), 6, involvement, zones, opacity)


@pytest.fixture
def observation(film, result):
    pixels = np.full((ROWS, COLUMNS_PX), 0.5, np.float32)
    truth = np.zeros_like(result.opacity_mask)
    truth[170:190, 40:80] = True
    return Observation(film, pixels, result, result.opacity_mask * np.float32(0.8), truth)


def count(picture, colour):
    return int((picture == np.array(colour, np.uint8)).all(axis=2).sum())


def test_overlay_colours(observation):
    picture = draw_result(observation.pixels, observation.result, observation.truth)
    assert count(picture, CYAN) > 300
    assert count(picture, YELLOW) > 50
    # Grey 128 under 41 % of pure red.
    assert picture[200, 60].tolist() == [180, 76, 76]
    assert picture[5, 5].tolist() == [128, 128, 128]
    assert count(draw_result(observation.pixels, observation.result, None), YELLOW) == 0


def test_zone_cuts_are_dashed_from_edge_to_edge(observation):
    result = replace(observation.result, opacity_mask=np.zeros((ROWS, COLUMNS_PX), bool))
    picture = draw_result(observation.pixels, result, None)
    cut = int(np.flatnonzero((result.zone_map == 2).any(axis=1))[0])
    inside = np.flatnonzero(result.zone_map[cut] == 2)[3:-3]
    drawn = (picture[cut, inside] == CYAN).all(axis=1)
    assert 0.5 < drawn.mean() < 0.75
    assert np.diff(drawn.astype(int)).astype(bool).sum() >= 6


def test_two_readers_are_cyan_and_red(observation):
    first, second = observation.result.zone_map == 1, observation.result.zone_map == 6
    picture = draw_readers(observation.pixels, first, second)
    assert count(picture, CYAN) > 50
    assert count(picture, RED) > 50


def words(figure):
    return [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.xaxis.label, axes.title)]


def test_results_of_several_systems_on_one_film(observation, tmp_path):
    figure = plot_overlays({"ours": observation, "theirs": observation})
    shown = words(figure)
    score = observation.result.score
    assert shown.count(f"Severity score: {score} out of 6") == 2
    lowest = 100 * observation.result.zones[2].involved_fraction
    assert ZONE_ORDER[2][1] == "lower"
    assert f"{lowest:.0f}%" in shown
    assert "0%" in shown
    path = save(figure, tmp_path / "a.png")
    assert cv2.imread(str(path)).std() > 10


def test_nine_probability_maps(observation):
    figure = plot_probability_maps({f"system {number}": observation for number in range(9)})
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(pictures) == 9
    assert float(pictures[0].max()) == pytest.approx(0.8)
    assert figure.axes[0].images[0].get_clim() == (0, 1)


def test_a_film_without_a_score_says_why(observation, film):
    lost = NotAssessable(ALGORITHM, NotAssessableReason.ONE_LUNG, "", observation.result.zone_map == 1)
    seen = Observation(film, observation.pixels, lost, observation.probability, None)
    assert "No score: one-lung" in words(plot_overlays({"ours": seen}))
    assert plot_probability_maps({"ours": seen}).axes


def test_score_counts():
    counts = score_counts([0, 2, 2, 6], [0, 2.5, 3, 5.5])
    assert counts.sum() == 4
    assert counts[2, 2] == counts[2, 3] == counts[6, 6] == counts[0, 0] == 1


def test_heatmaps_show_figures_and_identity():
    ours, readers = [0, 1, 2, 3, 6], [0, 1, 2.5, 5, 6]
    figure = plot_heatmaps({"ours": (ours, readers), "zeros": ([0] * 5, readers)})
    titles = [axes.get_title() for axes in figure.axes]
    assert "ρ = undefined, κ = 0.000" in titles[1]
    assert "n = 5" in titles[0]
    line = figure.axes[0].lines[0]
    assert (line.get_color(), line.get_linestyle()) == ("red", "--")
    assert list(line.get_xdata()) == list(line.get_ydata())


def test_column_colours_run_from_blue_over_white_to_red():
    best, middle, worst, unknown = column_colours(np.array([0.0, 0.5, 1.0, np.nan]))
    assert best[2] > 0.9 > best[0]
    assert middle == pytest.approx(WHITE, abs=0.02)
    assert worst[0] > 0.9 > worst[2]
    assert unknown == WHITE
    assert column_colours(np.array([0.0, 1.0]), more_is_better=True)[1] == best
    assert column_colours(np.array([2.0, 2.0])) == [WHITE, WHITE]
    assert column_colours(np.array([np.nan])) == [WHITE]


def test_a_coloured_table(tmp_path):
    table = pd.DataFrame({"system": ["a", "b"], "MAE": [0.3, 0.6], "ρ": [0.9, np.nan], "n all": [1.0, 92.0]})
    figure = plot_table(table, "title", ("ρ",))
    cells = figure.axes[0].tables[0].get_celld()
    assert cells[1, 1].get_facecolor()[2] > cells[1, 1].get_facecolor()[0]
    assert cells[2, 1].get_facecolor()[0] > cells[2, 1].get_facecolor()[2]
    assert cells[1, 1].get_text().get_text() == "0.300"
    assert cells[2, 2].get_text().get_text() == ""
    assert cells[1, 3].get_facecolor() == WHITE  # a count is neither good nor bad
    assert cells[2, 3].get_text().get_text() == "92"
    assert save(figure, tmp_path / "t.png").stat().st_size > 1000


def test_importance_is_ranked_and_correlation_beside_it():
    figure = plot_importance({"lr": 0.7, "batch": 0.1, "loss": 0.2}, {"lr": -0.8, "batch": 0.2})
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["batch", "loss", "lr"]
    assert [bar.get_width() for bar in left.patches] == [0.1, 0.2, 0.7]
    assert right.patches[2].get_width() == -0.8
    with pytest.raises(ValueError, match="no hyperparameter"):
        plot_importance({}, {})


def test_overall_chart_ranks_by_error():
    systems = [SystemSummary("worse", 0.9, 2.0, 10, 5), SystemSummary("ours", 0.4, None, 20, 7, ours=True)]
    figure = plot_overall([*systems, SystemSummary("unknown", None, None, None, None)], "films")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["unknown", "worse", "ours"]
    assert " ?" in [text.get_text() for text in figure.axes[1].texts]


def test_threshold_curves():
    curve = threshold_curve([[0.2, 0.6, 0, 0, 0, 0]], [1])
    figure = plot_threshold_curves({"a": curve}, {"a": 0.39}, {"a": (0.3, 0.5)})
    assert "a, T = 0.39" in [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert figure.axes[0].lines[0].get_ydata()[0] == 1


def rows(**columns):
    count = len(columns["id"])
    table = pd.DataFrame({name: [np.nan] * count for name in COLUMNS})
    return table.assign(licence_class="open", finding="covid", reason="").assign(**columns)


def test_the_worst_films_and_their_licence():
    table = rows(
        id=["good", "far", "secret", "lost", "healthy", "unread"],
        score=[3, 0, 0, np.nan, 2, 5],
        consensus=[3, 5, 6, 2, np.nan, np.nan],
        finding=["covid"] * 4 + ["normal", "pneumonia"],
        licence_class=["open", "open", "nc", "open", "open", "open"],
        opacity_dice=[0.9, np.nan, 0.0, np.nan, np.nan, 0.1],
        lung_dice=[0.97, 0.9, 0.5, np.nan, 0.6, 0.95],
    )
    chosen = worst_films(table, 8)
    assert list(chosen) == ["lost", "far", "healthy", "unread", "good"]
    assert chosen["far"] == "far\nscore 0, expected 5\nlungs Dice 0.90"
    assert chosen["lost"].startswith("lost\nno score, expected 2")
    assert "expected 0" in chosen["healthy"]
    assert "secret" in worst_films(table, 8, any_licence=True)
    assert len(worst_films(table, 4)) == 4
    with pytest.raises(DataError, match="--any-licence"):
        Gallery(4).write([], table[table["licence_class"] == "nc"], None, Path("none.png"))


def test_credits_name_source_and_licence(film):
    words = credits_of([replace(film, credit="Some set, CC BY 4.0, 10.1/x"), film])
    assert "* f_1: Some set, CC BY 4.0, 10.1/x\n* f_1: f\n" in words


def test_a_sheet_of_films(observation):
    figure = plot_gallery([(observation, f"film {number}") for number in range(5)])
    assert [axes.get_title() for axes in figure.axes][:5] == [f"film {number}" for number in range(5)]
