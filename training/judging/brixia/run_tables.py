"""Tables 8 to 11 of Signoroni et al. (2021): LO and GE by a line, protocols, ablations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.judging.brixia import printed
from training.judging.brixia.errors import COLUMNS, brixia_errors
from training.judging.brixia.predictions import predicted_regions, scored
from training.judging.brixia.readings import readers, scores_of
from training.judging.brixia.regression import FIGURES, PUBLISHED_LO, bootstrap_line, fit_line, line_figures
from training.judging.brixia.score import EXTENT_MAX, OPACITY_MAX
from training.judging.brixia.tables import SIGN, Systems, compared
from training.judging.tables.writing import ReportTable

SCALES = (("LO", OPACITY_MAX), ("GE", EXTENT_MAX))
SUBSETS = ("train", "val", "test")


def table_8(systems: Systems) -> ReportTable | None:
    """Predict LO and GE from the global score of each system and of each reader; None without such labels.

    Parameters
    ----------
    systems : mapping of str to pandas.DataFrame
        Tables of predictions by name; the readers are those of the first.
    """
    rows: list[dict[str, object]] = []
    sources = {name: (table, predicted_regions(table)) for name, table in systems.items()}
    first = next(iter(systems.values()))
    sources |= {f"reader {name}": (first, scores_of(first, name)) for name in readers(first)}
    for scale, top in SCALES:
        for name, (table, regions) in sources.items():
            row = _line_row(table, regions, scale, float(top))
            if row:
                rows.append({"scale": scale, "system": name} | row)
    if not rows:
        return None
    names = (*FIGURES, "slope", "intercept")
    for name, values in printed.TABLE_8.items():
        figures = zip(names, values, strict=False)
        shown = {figure: f"{value:.2f}" for figure, value in figures}
        rows.append({"scale": "LO", "system": f"{name}, printed", **shown})
    note = (
        "A line from the global Brixia score to the mean of three raters (Cohen et al. 2020). Each figure is "
        "the mean ± standard deviation over bootstrap draws of patient groups; lines are measured on the "
        "patients that were not drawn. MAE, printed line: of LO = 0.31 · global + 0.09 as the paper has it, "
        "nothing fitted."
    )
    return ReportTable(
        "table_8", "Table 8: opacity and extent from the global score", pd.DataFrame(rows), note
    )


def table_9(systems: Systems, reader: str) -> ReportTable:
    """ME and MAE of protocols (full, fine-tuned, from scratch): a row a system and other reader."""
    first = scored(next(iter(systems.values())))
    pairs = {name: compared(table, reader) for name, table in systems.items()}
    for other in readers(first):
        if other != reader:
            as_system = first.assign(**dict(zip("ABCDEF", scores_of(first, other).T, strict=True)))
            pairs[f"reader {other}"] = compared(as_system, reader)
    rows: list[dict[str, object]] = []
    found = {name: brixia_errors(*pair) for name, pair in pairs.items() if len(pair[0])}
    for number, figure in enumerate(("ME", "MAE")):
        for name, errors in found.items():
            shown = {column: float(errors.values[column][figure]) for column in COLUMNS}
            row: dict[str, object] = {"protocol": name, "figure": figure, "n films": errors.n, **shown}
            rows.append(row | _ends(errors.low, errors.high, figure))
        for name, values in printed.TABLE_9.items():
            shown = dict(zip(COLUMNS, values[number], strict=True))
            rows.append({"protocol": f"{name}, printed", "figure": figure, **shown})
    note = (
        f"{SIGN}Reference: reader {reader}. Printed: the paper's public set, all 192 films or its own "
        "75/25 split, with the sign of its ME turned round: as printed it is reference minus prediction."
    )
    return ReportTable("table_9", "Table 9: protocols", pd.DataFrame(rows), note)


def table_10_11(systems: Systems, reader: str) -> ReportTable:
    """MAE (SD) of the regions of each run on each of its subsets: the ablations of Tables 10 and 11."""
    rows = []
    for name, table in systems.items():
        row: dict[str, object] = {"run": name}
        for subset in SUBSETS:
            predicted, reference, groups = compared(table[table["split"] == subset], reader)
            if len(predicted):
                errors = brixia_errors(predicted, reference, groups)
                row |= {f"n {subset}": errors.n, f"{subset} MAE": float(errors.values["mean"]["MAE"])}
                row |= {
                    f"{subset} SD": float(errors.values["mean"]["SD"]),
                    f"{subset} MAE, 95 %": _between(errors),
                }
        rows.append(row)
    columns = ("train MAE", "train SD", "val MAE", "val SD")
    for source in (printed.TABLE_10, printed.TABLE_11):
        rows += [
            {"run": f"{name}, printed", **dict(zip(columns, values, strict=True))}
            for name, values in source.items()
        ]
    note = (
        f"MAE of the regions and standard deviation of the absolute error, against reader {reader}. "
        "Printed: Tables 10 (pyramids) and 11 (augmentation, preprocessing), on the paper's own hospital."
    )
    return ReportTable("table_10_11", "Tables 10 and 11: runs compared", pd.DataFrame(rows), note)


def _line_row(table: pd.DataFrame, regions: NDArray[np.float64], scale: str, top: float) -> dict[str, object]:
    kept = table[scale].notna().to_numpy() & ~np.isnan(regions).any(axis=1)
    films = table[kept]
    total, target = regions[kept].sum(axis=1), films[scale].to_numpy(np.float64)
    if len(films) < 3 or np.ptp(total) == 0:
        return {}
    found = bootstrap_line(total, target, films["patient_group"].tolist(), (0.0, top))
    row: dict[str, object] = {"n films": len(films)}
    row |= {name: f"{mean:.2f} ± {sd:.2f}" for name, (mean, sd) in found.items()}
    line = fit_line(total, target, 0.0, top)
    row["line of all films"] = f"{line.slope:.2f} · global {line.intercept:+.2f}"
    if scale == "LO":
        row["MAE, printed line"] = f"{line_figures(PUBLISHED_LO, total, target)['MAE']:.2f}"
    return row


def _between(errors: object) -> str:
    low, high = (float(getattr(errors, end)["mean"]["MAE"]) for end in ("low", "high"))
    return f"{low:.3f} to {high:.3f}"


def _ends(low: pd.DataFrame, high: pd.DataFrame, figure: str) -> dict[str, object]:
    return {
        f"{column}, 95 %": f"{float(low[column][figure]):.3f} to {float(high[column][figure]):.3f}"
        for column in ("mean", "global")
    }
