"""Other systems on the readers' 0-6 scale: mapped as published, and calibrated on the training films.

BS-Net and COVID-Net-S: Danilov et al. 2022; the mapping of their raw outputs is in
``training.judging.published``. Cohen et al. 2020: constants as in Signoroni et al. 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from training.data.dataset import DataError
from training.judging.brixia.errors import mean_interval
from training.judging.brixia.predictions import predicted_regions
from training.judging.brixia.regression import Line, Values, fit_line
from training.judging.brixia.score import EXTENT_MAX, OPACITY_MAX, t_scores
from training.judging.metrics import score_agreement
from training.judging.tables.writing import ReportTable

SCORE_MAX = 6.0
COHEN_EXTENT = Line(0.8705248, 3.4137437, 0.0, EXTENT_MAX)
"""From the DenseNet's output "Lung Opacity" before its sigmoid to GE, 0 to 8."""
COHEN_OPACITY = Line(0.5484423, 2.5535977, 0.0, OPACITY_MAX)
"""To LO, 0 to 6."""

CALIBRATED = "calibrated"
PARTS = (("all", None), ("COVID-19", True), ("normal", False))


def film_t_scores(table: pd.DataFrame) -> pd.Series:
    """Return the T score of each film of a table of predictions, 0 to 6, by its ``id``; NaN without one."""
    scores = t_scores(predicted_regions(table)).sum(axis=1)
    return pd.Series(scores, index=table["id"].tolist())


def calibration(scores: Values, reference: Values) -> Line:
    """Fit the line from a system's scores to the readers' 0-6 score; give it training films alone.

    Parameters
    ----------
    scores, reference : numpy.ndarray
        float64, (films,); films without one of the two (NaN) are left out.

    Raises
    ------
    ValueError
        If fewer than two films with different scores are left.
    """
    known = ~(np.isnan(scores) | np.isnan(reference))
    return fit_line(scores[known], reference[known], 0.0, SCORE_MAX)


def side_by_side(films: pd.DataFrame, systems: Sequence[str], split: str) -> ReportTable:
    """Compare systems with the readers' 0-6 score, each as mapped and calibrated.

    Parameters
    ----------
    films : pandas.DataFrame
        From ``training.judging.tables.head_to_head.same_films``: ``split``, ``group``, ``covid``,
        ``consensus`` and one column of scores a system.
    systems : sequence of str
        Those columns.
    split : str
        The films to compare on; lines are fitted on the split ``train`` alone, whatever this is.

    Raises
    ------
    DataError
        If no film of the split has a readers' score.
    """
    read = films[films["consensus"].notna()]
    chosen, train = read[read["split"] == split], read[read["split"] == "train"]
    if chosen.empty:
        raise DataError(f"no film of the split {split} has a readers' 0-6 score")
    rows = []
    for system in systems:
        rows.append(_row(system, chosen, chosen[system].to_numpy(np.float64)))
        try:
            line = calibration(train[system].to_numpy(np.float64), train["consensus"].to_numpy(np.float64))
        except ValueError:
            continue
        moved = line.apply(chosen[system].to_numpy(np.float64))
        rows.append(_row(f"{system}, {CALIBRATED}", chosen, moved))
    note = (
        f"The readers' 0-6 score on {len(chosen)} {split} films. BS-Net counts as its T score, the number of "
        "regions that are at least 1. Calibrated: a line fitted on the training films, cut at 0 and 6. A "
        "film without a score leaves its system's figures."
    )
    return ReportTable("comparators", "On the readers' 0-6 scale", pd.DataFrame(rows), note)


def _row(system: str, films: pd.DataFrame, scores: Values) -> dict[str, object]:
    row: dict[str, object] = {"system": system}
    for part, covid in PARTS:
        kept = ~np.isnan(scores)
        if covid is not None:
            kept &= films["covid"].to_numpy(bool) == covid
        if not kept.any():
            continue
        reference = films["consensus"].to_numpy(np.float64)[kept]
        found = score_agreement(scores[kept], reference)
        row |= {f"n {part}": found.n, f"MAE {part}": found.mae}
        if covid is not False:
            groups = films["group"].to_numpy()[kept].tolist()
            _, low, high = mean_interval(np.abs(scores[kept] - reference), groups)
            row |= {
                f"95 % {part}": f"{low:.3f} to {high:.3f}",
                f"RMSE {part}": found.rmse,
                f"ρ {part}": found.rho,
            }
    return row
