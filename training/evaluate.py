"""Measure the shipped weights, or others, on the films of a data folder.

    python -m training.evaluate --data DIR --split test [--json FILE] [--weights NAME]

Prints a table and writes JSON. A label that a film lacks leaves the film out of that figure; a film without
a score is counted as such, and never as a score of 0. Intervals are 95 % bootstrap intervals over patient
groups.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.errors import CheckpointError
from models.severity import SeverityScorer
from training.bootstrap import interval
from training.data_folder import add_data_argument
from training.dataset import DataError, read_manifest
from training.scoring import FilmOutcome, named_weights, score_films

Figures = dict[str, Any]


def evaluate(outcomes: Sequence[FilmOutcome]) -> Figures:
    """Turn outcomes into the figures that are quoted.

    Parameters
    ----------
    outcomes : sequence of FilmOutcome
        One per film.

    Returns
    -------
    dict
        ``n``, ``not_assessable``, ``seconds_per_film`` and, where films have the labels, ``lungs``,
        ``opacity``, ``score``, ``score_covid``, ``normals``, ``brixia_rank``; a mean ``x`` comes with
        ``x_ci95``.
    """
    figures: Figures = {
        "n": len(outcomes),
        "not_assessable": sum(outcome.score is None for outcome in outcomes),
        "seconds_per_film": round(float(np.mean([outcome.elapsed_s for outcome in outcomes])), 4),
    }
    lungs = [outcome for outcome in outcomes if outcome.lung_dice is not None]
    opacity = [outcome for outcome in outcomes if outcome.opacity_dice is not None]
    read = [outcome for outcome in outcomes if outcome.film.consensus is not None]
    # The published tables call every film that was read, and is not one of the normal ones, COVID-19.
    covid = [outcome for outcome in read if outcome.film.finding != "normal"]
    normals = [outcome for outcome in outcomes if outcome.film.finding == "normal"]
    brixia = [outcome for outcome in outcomes if outcome.film.brixia is not None]
    for name, chosen, measure in (
        ("lungs", lungs, _lung_figures),
        ("opacity", opacity, _opacity_figures),
        ("score", read, _score_figures),
        ("score_covid", covid, _score_figures),
        ("normals", normals, _normal_figures),
        ("brixia_rank", brixia, _brixia_figures),
    ):
        if chosen:
            figures[name] = measure(chosen)
    return figures


def _lung_figures(outcomes: Sequence[FilmOutcome]) -> Figures:
    dices = np.array([outcome.lung_dice for outcome in outcomes], float)
    return {
        "n": len(dices),
        **_mean("dice_mean", dices, outcomes),
        "dice_p5": _rounded(float(np.percentile(dices, 5))),
        "dice_min": _rounded(float(dices.min())),
    }


def _opacity_figures(outcomes: Sequence[FilmOutcome]) -> Figures:
    dices = np.array([outcome.opacity_dice for outcome in outcomes], float)
    median = _rounded(float(np.median(dices)))
    return {"n": len(dices), **_mean("dice_mean", dices, outcomes), "dice_median": median}


def _score_figures(outcomes: Sequence[FilmOutcome]) -> Figures:
    scored = [outcome for outcome in outcomes if outcome.score is not None]
    figures: Figures = {"n": len(scored), "not_assessable": len(outcomes) - len(scored)}
    if len(scored) < 2:
        return figures
    ours = np.array([outcome.score for outcome in scored], float)
    readers = np.array([outcome.film.consensus for outcome in scored], float)
    errors = ours - readers
    groups = [outcome.film.group for outcome in scored]
    rmse = float(np.sqrt(np.mean(errors**2)))
    return {
        **figures,
        **_mean("mae", np.abs(errors), scored),
        "rmse": _rounded(rmse),
        "rmse_ci95": _pair(interval(lambda drawn: float(np.sqrt(np.mean(errors[drawn] ** 2))), groups)),
        "rho": _correlation("pearson", ours, readers),
        "bias": _rounded(float(errors.mean())),
        "within_one": _rounded(float(np.mean(np.abs(errors) <= 1))),
    }


def _normal_figures(outcomes: Sequence[FilmOutcome]) -> Figures:
    scored = [outcome for outcome in outcomes if outcome.score is not None]
    zero = np.array([outcome.score == 0 for outcome in scored], float)
    if not scored:
        return {"n": 0, "not_assessable": len(outcomes)}
    return {
        "n": len(scored),
        "not_assessable": len(outcomes) - len(scored),
        "scored_zero": int(zero.sum()),
        **_mean("share_zero", zero, scored),
        "mean_score": _rounded(float(np.mean([outcome.score for outcome in scored]))),
    }


def _brixia_figures(outcomes: Sequence[FilmOutcome]) -> Figures:
    # Not the Brixia score: how well our involved share ranks films that have one.
    scored = [outcome for outcome in outcomes if outcome.shares is not None]
    if len(scored) < 2:
        return {"n": len(scored)}
    ours = np.array([np.mean(outcome.shares) for outcome in scored if outcome.shares is not None])
    readers = np.array([np.sum(outcome.film.brixia) for outcome in scored if outcome.film.brixia is not None])
    return {"n": len(scored), "spearman_global": _correlation("spearman", ours, readers)}


def _mean(name: str, values: NDArray[np.float64], outcomes: Sequence[FilmOutcome]) -> Figures:
    groups = [outcome.film.group for outcome in outcomes]
    ends = interval(lambda drawn: float(values[drawn].mean()), groups)
    return {name: _rounded(float(values.mean())), f"{name}_ci95": _pair(ends)}


def _correlation(kind: str, ours: NDArray[np.float64], readers: NDArray[np.float64]) -> float | None:
    if np.ptp(ours) == 0 or np.ptp(readers) == 0:
        return None
    import models.torchvision_ops  # noqa: PLC0415, F401, I001 - must precede the next import
    from torchmetrics import functional  # noqa: PLC0415 - it imports torchvision

    measure = functional.pearson_corrcoef if kind == "pearson" else functional.spearman_corrcoef
    return _rounded(float(measure(torch.from_numpy(ours).float(), torch.from_numpy(readers).float())))


def _pair(ends: tuple[float, float]) -> list[float | None]:
    return [_rounded(end) for end in ends]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _print(console: Console, title: str, figures: Figures) -> None:
    table = Table("figure", "value", "95 % interval", title=title)
    for section, content in figures.items():
        for name, value in content.items() if isinstance(content, dict) else (("", content),):
            if name.endswith("_ci95"):
                continue
            ends = content.get(f"{name}_ci95") if isinstance(content, dict) else None
            between = f"{ends[0]} to {ends[1]}" if ends else ""
            table.add_row(f"{section} {name}".strip(), str(value), between)
    console.print(table)


def main() -> None:
    """Read the command line, score, print, write."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument("--split", choices=("train", "val", "test", "all"), default="test")
    parser.add_argument("--algorithm", choices=("two-stage",), default="two-stage")
    parser.add_argument(
        "--weights", help="a folder of weights, or the name of a folder beside the shipped ones"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--films", type=Path, help="file to write one JSON line per film to")
    options = parser.parse_args()
    try:
        films = [film for film in read_manifest(options.data) if options.split in (film.split, "all")]
        weights = named_weights(options.weights)
        outcomes = score_films(films, weights) if films else []
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    if not films:
        sys.exit(f"error: no film of {options.data} is in the split {options.split}; name another split")
    figures: Figures = {
        "split": options.split,
        "algorithm": SeverityScorer.load(weights).algorithm.digest,
        **evaluate(outcomes),
        "by_source": {
            source: evaluate([outcome for outcome in outcomes if outcome.film.source == source])
            for source in sorted({film.source for film in films})
        },
    }
    console = Console()
    _print(console, f"all {options.split} films", {k: v for k, v in figures.items() if k != "by_source"})
    for source, part in figures["by_source"].items():
        _print(console, source, part)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.films:
        lines = (json.dumps(_line(outcome)) for outcome in outcomes)
        options.films.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(outcome: FilmOutcome) -> Figures:
    return {
        "id": outcome.film.name,
        "score": outcome.score,
        "reason": outcome.reason,
        "shares": None if outcome.shares is None else [round(float(share), 4) for share in outcome.shares],
        "lung_dice": outcome.lung_dice,
        "opacity_dice": outcome.opacity_dice,
    }


if __name__ == "__main__":
    main()
