"""Score many films with the scorer that the worker uses, on every core, one torch thread each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models.checkpoint import SHIPPED_WEIGHTS
from models.result import NotAssessable
from models.severity import SeverityScorer, find_lungs, measure
from models.zones import NoLungs, zone_map
from training.dataset import Film, read_mask, read_pixels


@dataclass(frozen=True)
class FilmOutcome:
    """What the scorer made of one film, beside what is known of it.

    Parameters
    ----------
    film : Film
        The film.
    reason : str or None
        Why there is no score; None if there is one.
    score : int or None
        0 to 6.
    shares : numpy.ndarray or None
        float64, (6,): opacified share of each zone, in ``models.result.ZONE_ORDER``.
    lung_dice, opacity_dice : float or None
        Against the first lung mask and the opacity mask, at the film's size; None without a mask, and for an
        opacity mask that is empty. A film without a score has an opacity Dice of 0.
    elapsed_s : float
        Time the scorer took.
    """

    film: Film
    reason: str | None
    score: int | None
    shares: NDArray[np.float64] | None
    lung_dice: float | None
    opacity_dice: float | None
    elapsed_s: float


def score_films(films: Sequence[Film], weights: Path | None, progress: bool = True) -> list[FilmOutcome]:
    """Score films.

    Parameters
    ----------
    films : sequence of Film
        In any order.
    weights : pathlib.Path or None
        Folder of the weights; None for the shipped ones.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of FilmOutcome
        In the order of ``films``.

    Raises
    ------
    models.errors.CheckpointError
        If the weights cannot be used.
    """
    SeverityScorer.load(weights)  # a fault of the weights is told before any process starts
    context = get_context("spawn")
    workers = min(os.cpu_count() or 1, max(1, len(films)))
    with ProcessPoolExecutor(workers, context, _start, (weights,)) as pool:
        outcomes: Iterator[FilmOutcome] = pool.map(_score_one, films, chunksize=4)
        if progress:
            outcomes = iter(track(outcomes, description="Scoring", total=len(films)))
        return list(outcomes)


@dataclass(frozen=True)
class FilmMeasurement:
    """What the networks say of one film before any threshold but the pixels'.

    Parameters
    ----------
    film : Film
        The film.
    presence : float
        The classification head's probability; 1 without such a head.
    shares : numpy.ndarray
        float64, (6,): opacified share of each zone, whatever the head says.
    """

    film: Film
    presence: float
    shares: NDArray[np.float64]


def measure_films(films: Sequence[Film], weights: Path | None) -> list[FilmMeasurement]:
    """Measure films without judging them, to choose the thresholds; films without two lungs are left out.

    Parameters
    ----------
    films : sequence of Film
        In any order.
    weights : pathlib.Path or None
        Folder of the weights; None for the shipped ones.

    Returns
    -------
    list of FilmMeasurement

    Raises
    ------
    models.errors.CheckpointError
        If the weights cannot be used.
    """
    SeverityScorer.load(weights)
    workers = min(os.cpu_count() or 1, max(1, len(films)))
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (weights,)) as pool:
        outcomes = track(pool.map(_measure_one, films, chunksize=4), "Measuring", total=len(films))
        return [outcome for outcome in outcomes if outcome is not None]


def named_weights(name: str | None) -> Path | None:
    """Return the folder that ``--weights`` names: a path, or a folder beside the shipped weights."""
    if name is None:
        return None
    path = Path(name)
    return path if path.is_dir() else SHIPPED_WEIGHTS / name


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the Dice overlap of two masks, 1.0 if both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


_scorers: list[SeverityScorer] = []


def _start(weights: Path | None) -> None:
    _scorers.append(SeverityScorer.load(weights, threads=1))


def _score_one(film: Film) -> FilmOutcome:
    pixels = read_pixels(film.image)
    started = time.perf_counter()
    result = _scorers[0].score(pixels)
    elapsed = time.perf_counter() - started
    lungs = dice(result.lung_mask, read_mask(film.lung_masks[0])) if film.lung_masks else None
    drawn = read_mask(film.opacity_mask) if film.opacity_mask else None
    shown = drawn is not None and bool(drawn.any())
    if isinstance(result, NotAssessable):
        return FilmOutcome(film, str(result.reason), None, None, lungs, 0.0 if shown else None, elapsed)
    opacity = dice(result.opacity_mask, drawn) if drawn is not None and shown else None
    shares = np.array([zone.involved_fraction for zone in result.zones])
    return FilmOutcome(film, None, result.score, shares, lungs, opacity, elapsed)


def _measure_one(film: Film) -> FilmMeasurement | None:
    scorer = _scorers[0]
    pixels = read_pixels(film.image)
    lungs = find_lungs(scorer.lungs, pixels).lungs
    if isinstance(lungs, NoLungs):
        return None
    answer = scorer.find_opacity(pixels, lungs)
    opacity = answer.geometry.inverse(answer.probability) > scorer.opacity.spec.probability_threshold
    shares = np.array([zone.involved_fraction for zone in measure(zone_map(lungs), opacity, 0.0)])
    return FilmMeasurement(film, 1.0 if answer.presence is None else answer.presence, shares)
