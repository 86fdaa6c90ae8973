"""Errors of the 0-6 score: Tables 9, 10, E1 and E2 of Danilov et al. 2022, recomputed and as printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from training.judging import paper_tables
from training.judging.metrics import score_agreement
from training.judging.published import (
    ALL_SYSTEMS,
    SUBSETS,
    SYSTEMS,
    ZONE_COLUMNS,
    read_outputs,
    read_threshold_curve,
)
from training.judging.tables.writing import ReportTable
from training.judging.thresholds import first_minimum, import_legacy, plateau, threshold_curve

PRINTED: Mapping[
    str, tuple[str, Mapping[str, tuple[paper_tables.Triple, paper_tables.Triple]], str | None]
] = {
    "table_10": ("Table 10: errors of the score, all films", paper_tables.TABLE_10, None),
    "table_E1": ("Table E1: errors of the score, COVID-19 films", paper_tables.TABLE_E1, "COVID-19"),
    "table_E2": ("Table E2: errors of the score, normal films", paper_tables.TABLE_E2, "Normal"),
}


def printed_tables(scores: pd.DataFrame) -> list[ReportTable]:
    """Recompute Tables 10, E1 and E2 and set the printed figures beside them.

    Parameters
    ----------
    scores : pandas.DataFrame
        From ``training.judging.published.read_all_scores``.

    Returns
    -------
    list of ReportTable
        Each row a system: MAE and RMSE on the published subsets, recomputed and printed, and whether all six
        agree to the printed digit.
    """
    tables = []
    for name, (title, printed, label) in PRINTED.items():
        films = scores if label is None else scores[scores["label"] == label]
        rows = [_printed_row(films, system, printed[system]) for system in ALL_SYSTEMS]
        counts = films["subset"].value_counts()
        note = "Films: " + ", ".join(f"{counts[subset]} {subset}" for subset in SUBSETS)
        tables.append(
            ReportTable(
                name, title, pd.DataFrame(rows), f"{note} (of good quality). Printed: the paper's.", (), True
            )
        )
    return tables


def threshold_table(folder: Path) -> ReportTable:
    """Recompute Table 9 from the published curves, and T from the published zone shares.

    Parameters
    ----------
    folder : pathlib.Path
        The folder ``published``.

    Returns
    -------
    ReportTable
        T with the least MAE and RMSE on the training subset of the published search, the printed T over 255,
        and T that the zone shares of the last published run would give on training and validation films
        together, by the plateau rule.

    Raises
    ------
    DataError
        If a file is missing.
    """
    rows = []
    for system in SYSTEMS:
        curve = read_threshold_curve(folder, system, "train")
        printed = paper_tables.TABLE_9[system.name]
        outputs = read_outputs(folder, system)
        known = outputs[outputs["subset"].isin(("train", "val"))]
        ours = threshold_curve(known[list(ZONE_COLUMNS)], known["consensus"])
        rows.append(
            {
                "system": system.name,
                "T (MAE)": first_minimum(curve["MAE"].to_numpy(float)),
                "T (RMSE)": first_minimum(curve["RMSE"].to_numpy(float)),
                "printed T (MAE)": import_legacy(printed[0]),
                "printed T (RMSE)": import_legacy(printed[1]),
                "least MAE": float(curve["MAE"].min()),
                "least RMSE": float(curve["RMSE"].min()),
                "T, last run, train and val": plateau(ours.mae),
                "its MAE": float(ours.mae.min()),
            }
        )
    note = (
        "T is a share of a zone. The published search stems from an earlier run than the published scores. "
        "DeepLabV3 finds nothing, so its curve is flat and any T is as good."
    )
    return ReportTable("table_9", "Table 9: the zone threshold T", pd.DataFrame(rows), note)


def errors_by_split(
    table: pd.DataFrame, systems: Sequence[str], name: str, title: str, split: str = "split"
) -> ReportTable:
    """Measure systems on the same films, by subset.

    Parameters
    ----------
    table : pandas.DataFrame
        Combined scores with ``consensus`` and the column ``split``.
    systems : sequence of str
        Columns of scores.
    name, title : str
        Of the table.
    split : str
        The column that parts the films.

    Returns
    -------
    ReportTable
        MAE and RMSE of each system in each subset that has films.
    """
    rows = []
    for system in systems:
        row: dict[str, object] = {"system": system}
        for subset in SUBSETS:
            films = table.loc[table[split] == subset, [system, "consensus"]].dropna()
            if len(films):
                found = score_agreement(films[system], films["consensus"])
                row |= {f"n {subset}": found.n, f"MAE {subset}": found.mae, f"RMSE {subset}": found.rmse}
        rows.append(row)
    note = "All systems on the same films; the subsets are those of the data folder, not the published ones."
    return ReportTable(name, title, pd.DataFrame(rows), note, (), True)


def _printed_row(
    films: pd.DataFrame, system: str, printed: tuple[paper_tables.Triple, paper_tables.Triple]
) -> dict[str, object]:
    row: dict[str, object] = {"system": system}
    agree = True
    for number, subset in enumerate(SUBSETS):
        chosen = films[films["subset"] == subset]
        found = score_agreement(chosen[system], chosen["consensus"])
        for kind, value, paper in (
            ("MAE", found.mae, printed[0][number]),
            ("RMSE", found.rmse, printed[1][number]),
        ):
            row |= {f"{kind} {subset}": value, f"{kind} {subset}, printed": paper}
            agree = agree and round(value, 2) == paper
    return {**row, "to the digit": "yes" if agree else "no"}
