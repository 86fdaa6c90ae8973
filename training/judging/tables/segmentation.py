"""Masks and classes by subset: Tables 7, 8 and D1 to D3 of Danilov et al. 2022, film by film."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from training.judging import paper_tables
from training.judging.film_figures import class_decisions
from training.judging.film_table import overlaps
from training.judging.overlap import EmptyPolicy, Overlap
from training.judging.published import SUBSETS
from training.judging.tables.writing import ReportTable

POLICY = (
    "Ours: mean over films, at the film's size; a film whose opacity mask is empty has no Dice and is left "
    "out. The paper's: means over batches, in which a batch without any opacity, drawn or found, counts 1; "
    "the two must not be compared as they are. F1 is that of the classification head over all films whose "
    "truth is known."
)
APPENDIX_D = {"train": "table_D1", "val": "table_D2", "test": "table_D3"}


def stage_tables(ours: Mapping[str, pd.DataFrame]) -> list[ReportTable]:
    """Make the equivalents of Table 7 (lungs) and Table 8 (opacity).

    Parameters
    ----------
    ours : mapping of str to pandas.DataFrame
        Tables of ``training.judging.film_table`` by the system's name; subsets that a table lacks stay empty.

    Returns
    -------
    list of ReportTable
        Our systems first, then the paper's nine networks as printed, with batch and memory.
    """
    lungs = [_ours(name, table, "lung") for name, table in ours.items()]
    opacity = [_ours(name, table, "opacity") for name, table in ours.items()]
    lungs += [_paper(name, network) for name, network in paper_tables.STAGE_I.items()]
    opacity += [_paper(name, network) for name, network in paper_tables.STAGE_II.items()]
    return [
        ReportTable("table_7", "Table 7: Dice of the lungs", pd.DataFrame(lungs), POLICY),
        ReportTable("table_8", "Table 8: Dice and F1 of opacity", pd.DataFrame(opacity), POLICY),
    ]


def appendix_tables(ours: Mapping[str, pd.DataFrame]) -> list[ReportTable]:
    """Make the equivalents of Tables D1 (training), D2 (validation) and D3 (test).

    Parameters
    ----------
    ours : mapping of str to pandas.DataFrame
        Tables of ``training.judging.film_table`` by name.

    Returns
    -------
    list of ReportTable
        One for each subset that has films: Dice, IoU, accuracy, precision and recall of the opacity mask, F1,
        accuracy, precision and recall of the classification head, specificity on normal films.
    """
    tables = []
    for subset, name in APPENDIX_D.items():
        rows = [
            {"system": system, **_appendix(table[table["split"] == subset])}
            for system, table in ours.items()
            if (table["split"] == subset).any()
        ]
        if rows:
            title = f"Table {name.removeprefix('table_')}: opacity and classes, {subset} films"
            tables.append(ReportTable(name, title, pd.DataFrame(rows), POLICY))
    return tables


def mask_figures(films: pd.DataFrame, part: str) -> dict[str, float]:
    """Average Dice, IoU, accuracy, precision and recall over films whose reference mask is not empty.

    Parameters
    ----------
    films : pandas.DataFrame
        From ``training.judging.film_table``.
    part : str
        ``lung`` or ``opacity``.

    Returns
    -------
    dict of str to float
        Empty without such films. A ratio without a denominator counts 0: nothing was right.
    """
    drawn = [overlap for overlap in overlaps(films, part) if not overlap.reference_is_empty]
    if not drawn:
        return {}
    values = pd.DataFrame([overlap.figures(EmptyPolicy.ZERO) for overlap in drawn])
    names = ["dice", "iou", "accuracy", "precision", "recall"]
    return {name: float(values[name].mean()) for name in names}


def class_counts(films: pd.DataFrame) -> Overlap | None:
    """Count what the classification head says against what is known; None where nothing can be counted."""
    known = films[films["presence"].notna() & films["presence_known"].notna()]
    return Overlap.of(*class_decisions(known)) if len(known) else None


def _ours(name: str, table: pd.DataFrame, part: str) -> dict[str, object]:
    row: dict[str, object] = {"system": f"{name} (ours)"}
    for subset in SUBSETS:
        films = table[table["split"] == subset]
        row[f"Dice {subset}"] = mask_figures(films, part).get("dice", float("nan"))
    if part == "opacity":
        for subset in SUBSETS:
            counts = class_counts(table[table["split"] == subset])
            row[f"F1 {subset}"] = float("nan") if counts is None else counts.dice()
    return row


def _paper(name: str, network: paper_tables.PaperNetwork) -> dict[str, object]:
    row: dict[str, object] = {"system": f"{name} (paper)"}
    row |= {f"Dice {subset}": value for subset, value in zip(SUBSETS, network.dice, strict=True)}
    if network.f1:
        row |= {f"F1 {subset}": value for subset, value in zip(SUBSETS, network.f1, strict=True)}
    return {**row, "batch": network.batch, "memory, GB": network.memory_gb}


def _appendix(films: pd.DataFrame) -> dict[str, float]:
    row = {name: np.nan for name in ("dice", "iou", "accuracy", "precision", "recall")}
    row |= mask_figures(films, "opacity")
    counts = class_counts(films)
    if counts is not None:
        found = counts.figures()
        row |= {f"class {name}": found[name] for name in ("accuracy", "precision", "recall")}
        row["class F1"] = found["dice"]
    normals = films[(films["finding"] == "normal") & films["score"].notna()]
    if len(normals):
        row["normals at 0"] = float((normals["score"] == 0).mean())
    return row
