"""From a table of films to the figures that are quoted, with 95 % bootstrap intervals over patients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.judging.bootstrap import interval
from training.judging.film_table import overlaps
from training.judging.legacy_metrics import batch_means
from training.judging.metrics import pearson, score_agreement, spearman
from training.judging.overlap import EmptyPolicy, Overlap
from training.judging.published import ZONE_COLUMNS

Figures = dict[str, Any]
LEGACY_BATCH = 10
"""Batch of the published DeepLabV3, whose batch means can be told from the counts of films alone."""

AGE_BANDS = (0, 18, 40, 60, 80)


def film_figures(table: pd.DataFrame) -> Figures:
    """Measure films.

    Empty masks: a film whose opacity mask is empty has no Dice and is left out of the means; it counts in the
    specificity. A film without a score is counted as such, and never as a score of 0.

    Parameters
    ----------
    table : pandas.DataFrame
        From ``training.judging.film_table``; at least one row.

    Returns
    -------
    dict
        ``n``, ``not_assessable``, ``seconds_per_film`` and, where films have the labels, ``lungs``,
        ``opacity``, ``score`` (films with a readers' score), ``score_covid`` (those of them that are not
        called normal), ``normals`` (films called normal), ``presence`` (the classification head),
        ``brixia_rank``; an ``x`` with an interval comes with ``x_ci95``.
    """
    figures: Figures = {
        "n": len(table),
        "not_assessable": int(table["score"].isna().sum()),
        "seconds_per_film": rounded(float(table["elapsed_s"].mean())),
    }
    read = table[table["consensus"].notna()]
    # The published tables call every film that was read, and is not one of the normal ones, COVID-19.
    chosen: tuple[tuple[str, pd.DataFrame, Callable[[pd.DataFrame], Figures]], ...] = (
        ("lungs", table[table["lung_dice"].notna()], _lungs),
        ("opacity", table[table["opacity_dice"].notna()], _opacity),
        ("score", read, _score),
        ("score_covid", read[read["finding"] != "normal"], _score),
        ("normals", table[table["finding"] == "normal"], _normals),
        ("brixia_rank", table[table["brixia_global"].notna()], _brixia),
    )
    figures |= {name: measure(films) for name, films, measure in chosen if len(films)}
    known = table[table["presence"].notna() & table["presence_known"].notna()]
    if len(known):
        figures["presence"] = _presence(known)
    return figures


def by_group(table: pd.DataFrame) -> dict[str, dict[str, Figures]]:
    """Measure films by source, view, sex and age band (years); ``unknown`` where nothing is known.

    Parameters
    ----------
    table : pandas.DataFrame
        From ``training.judging.film_table``.

    Returns
    -------
    dict
        ``by_source``, ``by_view``, ``by_sex``, ``by_age``: each from the group's name to its figures.
    """
    keys = {
        "by_source": table["source"],
        "by_view": table["view"].str.upper().replace("", "unknown"),
        "by_sex": table["sex"].replace("", "unknown"),
        "by_age": pd.Series([age_band(value) for value in table["age"]], index=table.index),
    }
    return {
        name: {str(value): film_figures(part) for value, part in table.groupby(key, sort=True)}
        for name, key in keys.items()
    }


def age_band(age: float) -> str:
    """Return the age band in years: ``0-17``, ``18-39``, ``40-59``, ``60-79``, ``80+`` or ``unknown``."""
    if math.isnan(age):
        return "unknown"
    index = int(np.searchsorted(AGE_BANDS, age, side="right")) - 1
    if index == len(AGE_BANDS) - 1:
        return f"{AGE_BANDS[-1]}+"
    return f"{AGE_BANDS[index]}-{AGE_BANDS[index + 1] - 1}"


def legacy_figures(table: pd.DataFrame, batch_size: int = LEGACY_BATCH) -> Figures:
    """Measure as the published code did: batch means over films with a known mask, and its zones' scores.

    Parameters
    ----------
    table : pandas.DataFrame
        From ``training.judging.film_table``; its order is the loader's order.
    batch_size : int
        Films a batch.

    Returns
    -------
    dict
        ``opacity_batch_means`` and, where films were scored that way and read, ``score``.
    """
    figures: Figures = {}
    parts = overlaps(table, "opacity")
    if parts:
        means = {name: rounded(value) for name, value in batch_means(parts, batch_size).items()}
        figures["opacity_batch_means"] = {"n": len(parts), "batch_size": batch_size, **means}
    read = table[table["consensus"].notna() & table["legacy_score"].notna()]
    if len(read):
        figures["score"] = _score(read.assign(score=read["legacy_score"]))
    return figures


def rounded(value: float, digits: int = 4) -> float | None:
    """Return a number for JSON: rounded, None for NaN."""
    return None if math.isnan(value) else round(float(value), digits)


def _lungs(films: pd.DataFrame) -> Figures:
    dices = films["lung_dice"].to_numpy(np.float64)
    return {
        "n": len(films),
        **_mean("dice_mean", dices, films),
        "dice_p5": rounded(float(np.percentile(dices, 5))),
        "dice_p5_ci95": _ends(lambda drawn: float(np.percentile(dices[drawn], 5)), films),
        "dice_min": rounded(float(dices.min())),
        **_per_film(films, "lung", ("iou", "precision", "recall")),
        **_pooled(films, "lung"),
    }


def _opacity(films: pd.DataFrame) -> Figures:
    dices = films["opacity_dice"].to_numpy(np.float64)
    return {
        "n": len(films),
        **_mean("dice_mean", dices, films),
        "dice_median": rounded(float(np.median(dices))),
        **_per_film(films, "opacity", ("iou", "precision", "recall")),
        **_pooled(films, "opacity"),
    }


def _per_film(films: pd.DataFrame, part: str, names: tuple[str, ...]) -> Figures:
    # Precision without any prediction: nothing was right, so 0.
    values = [overlap.figures(EmptyPolicy.ZERO) for overlap in overlaps(films, part)]
    figures: Figures = {}
    for name in names:
        figures |= _mean(f"{name}_mean", np.array([value[name] for value in values]), films)
    return figures


def _pooled(films: pd.DataFrame, part: str) -> Figures:
    parts = np.array([(o.tp, o.fp, o.fn) for o in overlaps(films, part)], np.float64)

    def pooled_dice(drawn: NDArray[np.intp]) -> float:
        tp, fp, fn = parts[drawn].sum(axis=0)
        return float(2 * tp / max(2 * tp + fp + fn, 1.0))

    return {
        "dice_pooled": rounded(pooled_dice(np.arange(len(parts)))),
        "dice_pooled_ci95": _ends(pooled_dice, films),
    }


def _score(films: pd.DataFrame) -> Figures:
    scored = films[films["score"].notna()]
    figures: Figures = {"n": len(scored), "not_assessable": len(films) - len(scored)}
    if len(scored) < 2:
        return figures
    ours, readers = (scored[name].to_numpy(np.float64) for name in ("score", "consensus"))
    errors = ours - readers
    found = score_agreement(ours, readers)
    return {
        **figures,
        **_mean("mae", np.abs(errors), scored),
        "mse": rounded(found.mse),
        "rmse": rounded(found.rmse),
        "rmse_ci95": _ends(lambda drawn: float(np.sqrt(np.mean(errors[drawn] ** 2))), scored),
        "r2": rounded(found.r2),
        "rho": rounded(found.rho),
        "rho_ci95": _ends(lambda drawn: pearson(ours[drawn], readers[drawn]), scored),
        "spearman": rounded(found.spearman),
        "kappa": rounded(found.kappa),
        "kappa_quadratic": rounded(found.kappa_quadratic),
        **_mean("bias", errors, scored),
        **_mean("exact", (errors == 0).astype(float), scored),
        **_mean("within_one", (np.abs(errors) <= 1).astype(float), scored),
    }


def _normals(films: pd.DataFrame) -> Figures:
    scored = films[films["score"].notna()]
    if not len(scored):
        return {"n": 0, "not_assessable": len(films)}
    zero = np.asarray(scored["score"] == 0, np.float64)
    shares = scored[list(ZONE_COLUMNS)].to_numpy(np.float64)
    return {
        "n": len(scored),
        "not_assessable": len(films) - len(scored),
        "scored_zero": int(zero.sum()),
        **_mean("share_zero", zero, scored),
        **_mean("share_clear", np.where(shares.max(axis=1) == 0, 1.0, 0.0), scored),
        "mean_score": rounded(float(scored["score"].mean())),
    }


def class_decisions(films: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what the classification head says of films, and what is known of them: bool, (films,) each.

    Parameters
    ----------
    films : pandas.DataFrame
        Rows with ``presence`` and ``presence_known``.
    """
    said = films["presence"].to_numpy(np.float64) >= films["presence_threshold"].to_numpy(np.float64)
    return said, films["presence_known"].to_numpy(np.float64) > 0.5


def _presence(films: pd.DataFrame) -> Figures:
    said, true = class_decisions(films)
    counts = Overlap.of(said, true)
    return {
        "n": len(films),
        "f1": rounded(counts.dice()),
        "f1_ci95": _ends(lambda drawn: Overlap.of(said[drawn], true[drawn]).dice(), films),
        "accuracy": rounded(counts.accuracy()),
        "precision": rounded(counts.precision()),
        "recall": rounded(counts.recall()),
        "specificity": rounded(counts.specificity()),
    }


def _brixia(films: pd.DataFrame) -> Figures:
    # Not the Brixia score: how well our involved share ranks films that have one.
    scored = films[films["score"].notna()]
    if len(scored) < 2:
        return {"n": len(scored)}
    ours = scored[list(ZONE_COLUMNS)].mean(axis=1).to_numpy(np.float64)
    readers = scored["brixia_global"].to_numpy(np.float64)
    return {"n": len(scored), "spearman_global": rounded(spearman(ours, readers))}


def _mean(name: str, values: NDArray[np.float64], films: pd.DataFrame) -> Figures:
    ends = _ends(lambda drawn: float(values[drawn].mean()), films)
    return {name: rounded(float(values.mean())), f"{name}_ci95": ends}


def _ends(statistic: Callable[[NDArray[np.intp]], float], films: pd.DataFrame) -> list[float | None]:
    return [rounded(end) for end in interval(statistic, films["group"].tolist())]
