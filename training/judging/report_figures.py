"""The pictures of a report, from its sources to files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from models.checkpoint import Role, load_spec
from training.data.dataset import DataError, Film, read_mask, read_pixels
from training.judging import paper_tables
from training.judging.figures.curves import plot_threshold_curves
from training.judging.figures.film_panels import plot_overlays, plot_probability_maps
from training.judging.figures.gallery import OPEN
from training.judging.figures.heatmaps import plot_heatmaps
from training.judging.figures.observation import observe
from training.judging.figures.overall import SystemSummary, plot_overall
from training.judging.figures.overlays import draw_readers
from training.judging.metrics import score_agreement
from training.judging.published import ALL_SYSTEMS, SYSTEMS, ZONE_COLUMNS, read_outputs, scored_films
from training.judging.report_folder import ReportFolder
from training.judging.scoring import ObservedScorer
from training.judging.speed import Speed, measure_speed
from training.judging.tables.head_to_head import FILM_COLUMNS
from training.judging.tables.runs import complexity
from training.judging.thresholds import plateau, threshold_curve

DRAWN_FILMS = 2
"""How many films are drawn if none is named."""
ROUNDING = (
    "Half points are rounded to even for the maps and for κ; ρ is Pearson's, on the scores as they are."
)


def published_figures(
    out: ReportFolder, folder: Path, metadata: pd.DataFrame, published: pd.DataFrame
) -> None:
    """Draw Figs 2c and 9 and the threshold curves from the published outputs.

    Parameters
    ----------
    out : ReportFolder
        Where to.
    folder : pathlib.Path
        The folder ``published``.
    metadata, published : pandas.DataFrame
        From ``training.judging.published``.
    """
    read = scored_films(metadata).dropna(subset=["reader_r", "reader_d"])
    sick = read[read["label"] == "COVID-19"]
    readers = {
        "all films": (read["reader_d"], read["reader_r"]),
        "COVID-19 films": (sick["reader_d"], sick["reader_r"]),
    }
    words = "The second map leaves out the normal films, to which both scores of 0 were given by rule."
    out.figure("figure_2c", "Fig. 2c: two readers", plot_heatmaps(readers, ("reader R", "reader D")), words)
    test = published[published["subset"] == "test"]
    maps = {name: (test[name], test["consensus"]) for name in ALL_SYSTEMS}
    out.figure("figure_9", "Fig. 9: published systems, published test films", plot_heatmaps(maps), ROUNDING)
    curves = {}
    for system in SYSTEMS:
        outputs = read_outputs(folder, system)
        known = outputs[outputs["subset"].isin(("train", "val"))]
        curves[system.name] = threshold_curve(known[list(ZONE_COLUMNS)], known["consensus"])
    best = {name: plateau(curve.mae) for name, curve in curves.items()}
    words = "From the zone shares of the last published run, training and validation films together."
    figure = plot_threshold_curves(curves, best)
    out.figure("table_9_curves", "Error over T, published systems", figure, words)


def own_figures(out: ReportFolder, outcomes: Mapping[str, pd.DataFrame]) -> None:
    """Draw Fig. 9 for our systems on each subset, and their error over T.

    Parameters
    ----------
    out : ReportFolder
        Where to.
    outcomes : mapping of str to pandas.DataFrame
        Our film tables by name.
    """
    maps, curves = {}, {}
    for name, table in outcomes.items():
        read = table[table["consensus"].notna() & table["score"].notna()]
        for split, films in read.groupby("split"):
            maps[f"{name}, {split}"] = (films["score"], films["consensus"])
        if len(read):
            curves[name] = threshold_curve(read[list(ZONE_COLUMNS)], read["consensus"])
    if not maps:
        out.note("No film of the outcomes has a readers' score.")
        return
    out.figure("figure_9_ours", "Fig. 9: our systems", plot_heatmaps(maps), ROUNDING)
    words = "Over all films of the outcomes with a readers' score; T itself is chosen elsewhere."
    out.figure("threshold_curves_ours", "Error over T, our systems", plot_threshold_curves(curves, {}), words)


def overall_figure(
    out: ReportFolder,
    same: pd.DataFrame,
    weights: Mapping[str, Path],
    films: Sequence[Film],
    timed: int,
) -> None:
    """Draw Fig. 12: error on the same test films, speed, parameters, multiply-adds.

    Parameters
    ----------
    out : ReportFolder
        Where to.
    same : pandas.DataFrame
        From ``training.judging.tables.head_to_head.same_films``.
    weights : mapping of str to pathlib.Path
        Our weights by name.
    films : sequence of Film
        To time our systems on (validation films).
    timed : int
        How many films; 0 for no speed.
    """
    test = same[same["split"] == "test"]
    summaries, machine = [], ""
    for name, folder in weights.items():
        speed = _speed(films, folder, timed)
        machine = f"; ours: {speed.machine}, {speed.threads} thread(s)" if speed else machine
        parts = [complexity(load_spec(folder, role)) for role in (Role.LUNGS, Role.OPACITY)]
        parameters, macs = (sum(values) for values in zip(*parts, strict=True))
        rate = speed.images_per_second if speed else None
        summaries.append(SystemSummary(name, _mae(test, name), rate, parameters, macs, ours=True))
    known = (*ALL_SYSTEMS, *weights, *FILM_COLUMNS)
    own = [name for name in test.columns if name not in known]
    summaries += [SystemSummary(name, _mae(test, name), None, None, None, ours=True) for name in own]
    for name, (_, rate, parameters, macs) in paper_tables.FIGURE_12.items():
        if name in paper_tables.STAGE_II:
            first = paper_tables.STAGE_I[paper_tables.CHOSEN_STAGE_I]
            macs = first.macs_all_g + paper_tables.STAGE_II[name].macs_all_g  # noqa: PLW2901
        summaries.append(SystemSummary(name, _mae(test, name), rate, parameters, macs))
    title = f"MAE: {len(test)} same test films. Images a second: paper on RTX 2080 Ti{machine}"
    words = (
        "Multiply-adds count every operation, also those that the paper's counter leaves out. The paper's "
        "COVID-Net-S and BS-net were timed with their networks loaded anew for every image."
    )
    out.figure("figure_12", "Fig. 12: all systems at a glance", plot_overall(summaries, title), words)


def reader_picture(out: ReportFolder, films: Sequence[Film], any_licence: bool) -> None:
    """Draw two people's lung masks of one film (after Fig. 2a-b), the first film that has both."""
    shown = [f for f in films if len(f.lung_masks) > 1 and (any_licence or f.licence_class == OPEN)]
    if not shown:
        out.note("No film that may be shown has two masks; `--any-licence` shows any.")
        return
    film = shown[0]
    first, second = (read_mask(path) for path in film.lung_masks[:2])
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(draw_readers(read_pixels(film.image), first, second))
    axes.set_axis_off()
    words = f"{film.name}: first annotators cyan, second annotators red."
    out.figure("figure_2ab", "Fig. 2a-b: two masks of one film", figure, words)


def film_pictures(
    out: ReportFolder, films: Sequence[Film], weights: Mapping[str, Path], options: argparse.Namespace
) -> None:
    """Draw probability maps (Fig. 10) and overlays (Fig. 11) of some films, a panel for each system.

    Raises
    ------
    DataError
        If a film is named that the data folder does not have.
    """
    scorers = {name: ObservedScorer.load(folder) for name, folder in weights.items()}
    for film in films_to_draw(films, options.films, options.any_licence):
        seen = {name: observe(film, scorer) for name, scorer in scorers.items()}
        words = f"Film {film.name} ({film.source}, {film.split}). Yellow: as drawn by radiologists."
        title = f"Fig. 10: probability of opacity, {film.name}"
        out.figure(f"figure_10_{film.name}", title, plot_probability_maps(seen), words)
        out.figure(f"figure_11_{film.name}", f"Fig. 11: results on {film.name}", plot_overlays(seen), words)


def films_to_draw(films: Sequence[Film], names: Sequence[str], any_licence: bool) -> list[Film]:
    """Return the films that are named; otherwise the first with a drawn opacity mask, not of the test subset.

    Raises
    ------
    DataError
        If a named film is not there.
    """
    by_name = {film.name: film for film in films}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DataError(f"the data folder has no film {', '.join(missing)}")
    if names:
        return [by_name[name] for name in names]
    shown = [film for film in films if any_licence or film.licence_class == OPEN]
    drawn = [film for film in shown if film.opacity_mask and film.split != "test"]
    read = [film for film in shown if film.consensus and film.split != "test"]
    return [*drawn, *(film for film in read if film not in drawn)][:DRAWN_FILMS]


def _speed(films: Sequence[Film], folder: Path, timed: int) -> Speed | None:
    chosen = [film for film in films if film.split == "val"] or list(films)
    return measure_speed(chosen, folder, repeats=timed) if timed else None


def _mae(films: pd.DataFrame, name: str) -> float | None:
    scored = films[[name, "consensus"]].dropna() if name in films else films.iloc[:0]
    return score_agreement(scored[name], scored["consensus"]).mae if len(scored) else None
