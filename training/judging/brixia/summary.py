"""The Brixia figures that ``python -m training.evaluate --algorithm bs-net`` writes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from training.judging.brixia.errors import acceptable_errors, brixia_errors
from training.judging.brixia.readings import readers
from training.judging.brixia.score import REGIONS, t_scores
from training.judging.brixia.tables import compared
from training.judging.film_figures import Figures, rounded


def brixia_figures(table: pd.DataFrame, reader: str | None = None) -> Figures:
    """Measure Brixia scores against one reader.

    Parameters
    ----------
    table : pandas.DataFrame
        Of predictions.
    reader : str, optional
        Whom to compare with; the most senior reader if left out.

    Returns
    -------
    dict
        ``n``, ``not_assessable``, ``reader``; ``region_mae`` and ``global_mae``, ``region_me`` and
        ``global_me`` (prediction minus reference), ``region_cc`` and ``global_cc``, ``t_mae`` (of the 0-6 T
        score), ``regions_exact``, ``global_within_2``, each with ``..._ci95``; ``mae_A`` to ``mae_F``. Empty
        if no film was read.
    """
    known = readers(table)
    if not known:
        return {}
    senior = reader or known[0]
    predicted, reference, groups = compared(table, senior)
    read = table[f"{senior}-A"].notna()
    figures: Figures = {
        "n": len(predicted),
        "not_assessable": int(read.sum()) - len(predicted),
        "reader": senior,
    }
    if not len(predicted):
        return figures if read.any() else {}
    errors = brixia_errors(predicted, reference, groups)
    for part, column in (("region", "mean"), ("global", "global")):
        for figure in ("MAE", "ME", "CC"):
            figures |= _with_ends(
                f"{part}_{figure.lower()}",
                *(float(found[column][figure]) for found in (errors.values, errors.low, errors.high)),
            )
    found = brixia_errors(t_scores(predicted), t_scores(reference), groups)
    figures |= _with_ends(
        "t_mae", *(float(part["global"]["MAE"]) for part in (found.values, found.low, found.high))
    )
    shares, ends = acceptable_errors(predicted, reference, groups)
    for number, name in ((0, "regions_exact"), (2, "global_within_2")):
        figures |= _with_ends(name, float(shares[number]), float(ends[0, number]), float(ends[1, number]))
    return figures | {f"mae_{region}": rounded(float(errors.values[region]["MAE"])) for region in REGIONS}


def _with_ends(name: str, value: float, low: float, high: float) -> dict[str, Any]:
    return {name: rounded(value), f"{name}_ci95": [rounded(low), rounded(high)]}
