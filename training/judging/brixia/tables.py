"""Tables 4 to 7 of Signoroni et al. (2021) and the acceptable errors, from tables of predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.judging.brixia import printed
from training.judging.brixia.agreement import both_read, consensus, fleiss_kappa, pairwise
from training.judging.brixia.errors import (
    COLUMNS,
    FIGURES,
    BrixiaErrors,
    acceptable_errors,
    brixia_errors,
    mean_interval,
)
from training.judging.brixia.predictions import LUNG_COLUMNS, predicted_regions, scored
from training.judging.brixia.readings import CONSENSUS, readers, scores_of
from training.judging.brixia.score import t_scores
from training.judging.film_table import overlaps
from training.judging.overlap import EmptyPolicy
from training.judging.tables.writing import ReportTable

Systems = Mapping[str, pd.DataFrame]
MODEL = "the model"
SIGN = (
    "ME is the mean of prediction minus reference: positive is too high. SD is the standard deviation of the "
    "absolute error. Intervals are 95 % bootstrap intervals over patient groups. "
)
PRINTED = (
    "Printed: 447 films of the paper's own hospital, other readers; which sign its ME has there is not said."
)
HALVES = tuple(f"{part} {figure}" for part in ("region", "global") for figure in FIGURES)
BETTER = ("CC", "region CC", "global CC")


def compared(table: pd.DataFrame, reader: str) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return predictions, a reader's scores and patient groups of the films that have both.

    Parameters
    ----------
    table : pandas.DataFrame
        Of predictions.
    reader : str
        A reader, or ``consensus``: the one that came with the data, or else that of all readers.

    Returns
    -------
    predicted, reference : numpy.ndarray
        float64, (films, 6).
    groups : list of str
    """
    films = scored(table)
    reference = gold_standard(films) if reader == CONSENSUS else scores_of(films, reader)
    kept = ~np.isnan(reference).any(axis=1)
    return predicted_regions(films)[kept], reference[kept], films["patient_group"].to_numpy()[kept].tolist()


def gold_standard(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the consensus, float64 (films, 6): the data's own where there is one, else built by majority."""
    names = [name for name in readers(table) if name != CONSENSUS]
    built = (
        consensus(np.stack([scores_of(table, name) for name in names]))
        if names
        else np.full((len(table), 6), np.nan)
    )
    if CONSENSUS not in readers(table):
        return built
    stated = scores_of(table, CONSENSUS)
    return np.where(np.isnan(stated), built, stated)


def table_4(systems: Systems) -> ReportTable | None:
    """Lungs: mean Dice and IoU over the films with a drawn lung mask; None where there is none."""
    rows: list[dict[str, object]] = []
    for name, table in systems.items():
        films = table[table[list(LUNG_COLUMNS)].notna().all(axis=1)]
        if films.empty:
            continue
        found = [overlap.figures(EmptyPolicy.ZERO) for overlap in overlaps(films, "lung")]
        groups = films["patient_group"].tolist()
        row: dict[str, object] = {"system": name, "n films": len(films)}
        for figure, key in (("Dice", "dice"), ("IoU", "iou")):
            mean, low, high = mean_interval(np.array([item[key] for item in found]), groups)
            row |= {figure: mean, f"{figure}, 95 %": f"{low:.3f} to {high:.3f}"}
        rows.append(row)
    if not rows:
        return None
    rows += [
        {"system": f"{name}, printed", "Dice": dice, "IoU": iou}
        for name, (dice, iou) in printed.TABLE_4.items()
    ]
    note = "Films with a drawn lung mask. Printed: the paper's own 223 test films of three other data sets."
    return ReportTable("table_4", "Table 4: lungs", pd.DataFrame(rows), note, ("Dice", "IoU"))


def table_5(systems: Systems, reader: str) -> tuple[ReportTable, ReportTable]:
    """Errors per region, of their mean and of the global score: as the paper has it, and with intervals.

    Parameters
    ----------
    systems : mapping of str to pandas.DataFrame
        Tables of predictions by name.
    reader : str
        Whom to compare with.
    """
    found = {name: brixia_errors(*compared(table, reader)) for name, table in systems.items()}
    rows, ends = [], []
    for figure in FIGURES:
        for name, errors in found.items():
            rows.append(
                {"system": name, "figure": figure, "n films": errors.n} | errors.values.loc[figure].to_dict()
            )
            ends.append(
                {"system": name, "figure": figure, "n films": errors.n}
                | {c: errors.shown(figure, c) for c in COLUMNS}
            )
        for name, figures in printed.TABLE_5.items():
            if figure in figures:
                rows.append(
                    {"system": f"{name}, printed", "figure": figure}
                    | dict(zip(COLUMNS, figures[figure], strict=True))
                )
    note = f"{SIGN}Reference: reader {reader}. {PRINTED}"
    title = "Table 5: errors per region and of the global score"
    return (
        ReportTable("table_5", title, pd.DataFrame(rows), note),
        ReportTable("table_5_intervals", f"{title}, with intervals", pd.DataFrame(ends), SIGN),
    )


def table_6(name: str, table: pd.DataFrame, reader: str) -> ReportTable:
    """Compare the model with the consensus and with one reader, and the readers with each other.

    Parameters
    ----------
    name : str
        The model's name.
    table : pandas.DataFrame
        Its predictions.
    reader : str
        The one reader.
    """
    rows = [
        _halves_row(f"{name} against the consensus", brixia_errors(*compared(table, CONSENSUS))),
        _halves_row(f"{name} against {reader}", brixia_errors(*compared(table, reader))),
    ]
    films = scored(table)
    names = [person for person in readers(films) if person != CONSENSUS]
    for senior, other in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        pair = films.assign(**dict(zip("ABCDEF", scores_of(films, other).T, strict=True)))
        rows.append(_halves_row(f"{other} against {senior}", brixia_errors(*compared(pair, senior))))
    rows += [_printed_halves(title, values) for title, values in printed.TABLE_6.items()]
    note = (
        f"{SIGN}Consensus of {', '.join(names)}: the most frequent score of a region; of equally frequent "
        "ones the most senior reader's, so with two readers it is always the first one's. Region figures are "
        "means over the six regions."
    )
    return ReportTable("table_6", "Table 6: consensus and readers", pd.DataFrame(rows), note, BETTER)


def table_7(systems: Systems, reader: str) -> ReportTable:
    """Errors of the T score: regions that are at least 1, 0 to 6 a film."""
    rows = []
    for name, table in systems.items():
        for against in dict.fromkeys((reader, CONSENSUS)):
            predicted, reference, groups = compared(table, against)
            errors = brixia_errors(t_scores(predicted), t_scores(reference), groups)
            rows.append(_halves_row(f"{name} against {against}", errors))
    rows += [_printed_halves(title, values) for title, values in printed.TABLE_7.items()]
    note = f"{SIGN}T of a region is 1 where its Brixia score is at least 1; T of a film is their sum, 0 to 6."
    return ReportTable("table_7", "Table 7: T score", pd.DataFrame(rows), note, BETTER)


def inter_rater(name: str, table: pd.DataFrame) -> ReportTable:
    """Compare every pair of raters, the model being one of them (Fig. 9), with Fleiss' kappa in the note."""
    raters = rater_scores(name, table)
    people = np.stack([scores for rater, scores in raters.items() if rater != name])
    note = (
        "MAE and SD of the absolute error; κ over all regions, 0 to 3. "
        f"Fleiss' κ of the {len(people)} readers: {fleiss_kappa(people):.3f}; with {name} as one more: "
        f"{fleiss_kappa(np.concatenate([people, raters[name][None]])):.3f}."
    )
    return ReportTable("figure_9", "Fig. 9: every pair of raters", pairwise(raters), note)


def rater_scores(name: str, table: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return each reader's scores and the model's, float64 (films, 6), films with a prediction."""
    films = scored(table)
    people = [person for person in readers(films) if person != CONSENSUS]
    return {person: scores_of(films, person) for person in people} | {name: predicted_regions(films)}


def acceptable(systems: Systems, reader: str) -> ReportTable:
    """Shares within the errors that radiologists call acceptable, of each system and of the other readers."""
    rows = []
    films = scored(next(iter(systems.values())))
    others = [person for person in readers(films) if person not in (reader, CONSENSUS)]
    pairs = {name: compared(table, reader) for name, table in systems.items()}
    for person in others:
        kept = ~np.isnan(scores_of(films, person) + scores_of(films, reader)).any(axis=1)
        ours, theirs = both_read(scores_of(films, person), scores_of(films, reader))
        pairs[f"reader {person}"] = (ours, theirs, films["patient_group"].to_numpy()[kept].tolist())
    names = ("regions within 0.5", "films, mean region within 0.5", "films, global within 2")
    for name, (predicted, reference, groups) in pairs.items():
        values, ends = acceptable_errors(predicted, reference, groups)
        row: dict[str, object] = {"system": name, "n films": len(predicted)}
        for number, column in enumerate(names):
            row[column] = float(values[number])
            row[f"{column}, 95 %"] = f"{ends[0, number]:.3f} to {ends[1, number]:.3f}"
        rows.append(row)
    note = (
        f"Against reader {reader}. Radiologists accept ±0.5 a region and ±2 of the global score (section 7). "
        "Whole scores within 0.5 are the same score, so the second column averages over a film's six regions."
    )
    return ReportTable("acceptable", "Errors that radiologists accept", pd.DataFrame(rows), note, names)


def _halves_row(name: str, errors: BrixiaErrors) -> dict[str, object]:
    row: dict[str, object] = {"system": name, "n films": errors.n}
    for part, column in (("region", "mean"), ("global", "global")):
        for figure in FIGURES:
            row[f"{part} {figure}"] = float(errors.values[column][figure])
            low, high = float(errors.low[column][figure]), float(errors.high[column][figure])
            if figure == "MAE":
                row[f"{part} MAE, 95 %"] = f"{low:.3f} to {high:.3f}"
    return row


def _printed_halves(name: str, values: tuple[float, ...]) -> dict[str, object]:
    return {"system": f"{name}, printed", **dict(zip(HALVES, values, strict=True))}
