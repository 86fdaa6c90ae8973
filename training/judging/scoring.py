"""Score many films with the scorer that the worker uses, on every core, one torch thread each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models.lungs import find_lungs
from models.result import NotAssessable
from models.segmenter import Segmentation
from models.severity import SeverityScorer, measure
from models.zones import Lungs, NoLungs, zone_map
from training.data.dataset import Film, read_mask, read_pixels
from training.data.folds import Fold, with_fold
from training.judging.legacy_zones import legacy_shares
from training.judging.overlap import EmptyPolicy, Overlap
from training.judging.thresholds import zone_scores


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
    elapsed_s : float
        Time the scorer took.
    lungs : Overlap or None
        Pixels of the lungs found against the first lung mask, at the film's size; None without a mask.
    opacity : Overlap or None
        The same for the opacity mask, which is empty for a normal film; None if nothing is known. A film
        without a score has no opacity found.
    presence : float or None
        The classification head's probability of opacity; None without a score or without such a head.
    presence_threshold : float
        Least ``presence`` at which the film counts as one with opacity.
    legacy_score : int or None
        The score by the published code's zones, if asked for.
    """

    film: Film
    reason: str | None
    score: int | None
    shares: NDArray[np.float64] | None
    elapsed_s: float
    lungs: Overlap | None = None
    opacity: Overlap | None = None
    presence: float | None = None
    presence_threshold: float = 0.5
    legacy_score: int | None = None

    @property
    def lung_dice(self) -> float | None:
        """Dice of the lungs; None without a mask."""
        return None if self.lungs is None else self.lungs.dice(EmptyPolicy.ONE)

    @property
    def opacity_dice(self) -> float | None:
        """Dice of the opacity; None without a mask and for a mask that is empty."""
        shown = self.opacity is not None and not self.opacity.reference_is_empty
        return self.opacity.dice() if self.opacity is not None and shown else None


def score_films(
    films: Sequence[Film], weights: Path | None, progress: bool = True, legacy: bool = False
) -> list[FilmOutcome]:
    """Score films.

    Parameters
    ----------
    films : sequence of Film
        In any order.
    weights : pathlib.Path or None
        Folder of the weights; None for the shipped ones.
    progress : bool
        Show a progress bar.
    legacy : bool
        Also score by the published code's zones (``training.judging.legacy_zones``), on the same masks.

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
        outcomes: Iterator[FilmOutcome] = pool.map(partial(_score_one, legacy=legacy), films, chunksize=4)
        if progress:
            outcomes = iter(track(outcomes, description="Scoring", total=len(films)))
        return list(outcomes)


class ObservedScorer(SeverityScorer):
    """The worker's scorer, which also keeps what stage II said of the last film."""

    last_opacity: Segmentation | None = None

    def find_opacity(self, pixels: NDArray[np.float32], lungs: Lungs) -> Segmentation:
        """Run stage II as the worker does, and keep its answer in ``last_opacity``."""
        self.last_opacity = super().find_opacity(pixels, lungs)
        return self.last_opacity


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


def measure_held_out(films: Sequence[Film], lungs: Path, runs: Sequence[Path]) -> list[FilmMeasurement]:
    """Measure each training and validation film with the run that held it out.

    Parameters
    ----------
    films : sequence of Film
        The whole data folder, in the manifest's order.
    lungs : pathlib.Path
        Checkpoint folder of stage I.
    runs : sequence of pathlib.Path
        Run folders of stage II, that of fold 1 first.

    Returns
    -------
    list of FilmMeasurement
        All of them count as validation films.

    Raises
    ------
    models.errors.CheckpointError
        If the weights cannot be used.
    """
    measurements = []
    for number, run in enumerate(runs, 1):
        held_out = [film for film in with_fold(films, Fold(number, len(runs))) if film.split == "val"]
        judged = [film for film in held_out if film.consensus is not None or film.normal]
        with TemporaryDirectory() as folder:
            for path in (*lungs.glob("lungs.*"), *run.glob("opacity.*")):
                shutil.copy(path, folder)
            measurements += measure_films(judged, Path(folder))
    return measurements


_scorers: list[ObservedScorer] = []


def _start(weights: Path | None) -> None:
    _scorers.append(ObservedScorer.load(weights, threads=1))


def _score_one(film: Film, legacy: bool = False) -> FilmOutcome:
    scorer = _scorers[0]
    pixels = read_pixels(film.image)
    started = time.perf_counter()
    result = scorer.score(pixels)
    elapsed = time.perf_counter() - started
    lungs = Overlap.of(result.lung_mask, read_mask(film.lung_masks[0])) if film.lung_masks else None
    found = np.zeros_like(result.lung_mask) if isinstance(result, NotAssessable) else result.opacity_mask
    opacity = None
    if film.opacity_mask is not None or film.normal:
        drawn = read_mask(film.opacity_mask) if film.opacity_mask else np.zeros_like(found)
        opacity = Overlap.of(found, drawn)
    if isinstance(result, NotAssessable):
        return FilmOutcome(film, str(result.reason), None, None, elapsed, lungs, opacity)
    shares = np.array([zone.involved_fraction for zone in result.zones])
    presence = scorer.last_opacity.presence if scorer.last_opacity else None
    least = scorer.opacity.spec.presence_threshold
    old = None
    if legacy:
        threshold = float(scorer.opacity.spec.involvement_threshold or 0)
        width = scorer.opacity.spec.involvement_width
        old = int(zone_scores(legacy_shares(result.lung_mask, found)[None], threshold, width)[0])
    return FilmOutcome(film, None, result.score, shares, elapsed, lungs, opacity, presence, least, old)


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
