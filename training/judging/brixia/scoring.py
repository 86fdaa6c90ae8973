"""Score films with BS-Net as the worker does, keep what each attention says alone, and turn films."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from models.bsnet.checkpoint import load_bsnet_spec
from models.bsnet.scorer import NAME, algorithm_id
from training.data.dataset import Film, read_mask
from training.judging.brixia.observing import (
    FilmScores,
    Floats,
    ObservedBSNet,
    bsnet_folder,
    predictor,
    read_film,
    system_name,
)
from training.judging.brixia.predictions import Prediction
from training.judging.brixia.readings import scores_of
from training.judging.brixia.rotation import ANGLES, ReadFilm, film_errors
from training.judging.brixia.score import t_scores
from training.judging.scoring import FilmOutcome

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def score_films(
    films: pd.DataFrame, weights: Path | str | None, progress: bool = True
) -> dict[str, list[Prediction]]:
    """Score films that readers scored.

    Parameters
    ----------
    films : pandas.DataFrame
        From ``training.judging.brixia.readings.read_readings``.
    weights : pathlib.Path or str, optional
        As for ``bsnet_folder``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict of str to list of Prediction
        By system, the whole first, then each attention alone; in the order of ``films``.

    Raises
    ------
    models.errors.CheckpointError
        If the weights cannot be used.
    training.data.dataset.DataError
        If a film cannot be read.
    """
    paths = list(zip(films["file"], films["lung_mask"], strict=True))
    found = _in_pool(_score_paths, paths, (bsnet_folder(weights),), "Scoring" if progress else "")
    return predictions(films["id"].tolist(), found)


def score_outcomes(
    films: Sequence[Film], weights: Path | str | None
) -> tuple[list[FilmOutcome], dict[str, list[Prediction]], str]:
    """Score films of a data folder: as 0-6 outcomes by the T score, and as predictions by system.

    Parameters
    ----------
    films : sequence of Film
        Scored or not by Brixia readers.
    weights : pathlib.Path or str, optional
        As for ``bsnet_folder``.

    Returns
    -------
    outcomes : list of FilmOutcome
        Score: the T score, 0 to 6; shares: each region's score over 3, since BS-Net measures no area.
    predictions : dict of str to list of Prediction
        As from ``score_films``.
    digest : str
        Of the algorithm.

    Raises
    ------
    models.errors.CheckpointError
        If the weights cannot be used.
    training.data.dataset.DataError
        If a film cannot be read.
    """
    paths = [(str(film.image), str(film.lung_masks[0]) if film.lung_masks else "") for film in films]
    found = _in_pool(_score_paths, paths, (bsnet_folder(weights),), "Scoring")
    outcomes = [_outcome(film, item) for film, item in zip(films, found, strict=True)]
    digest = algorithm_id(load_bsnet_spec(bsnet_folder(weights))).digest
    return outcomes, predictions([film.name for film in films], found), digest


def predictions(names: Sequence[str], found: Sequence[FilmScores]) -> dict[str, list[Prediction]]:
    """Sort what was said of films by system; a film without a score is in all of them, with its reason."""
    systems = list(dict.fromkeys(system for item in found for system in item.regions)) or [NAME]
    table: dict[str, list[Prediction]] = {system: [] for system in systems}
    for name, item in zip(names, found, strict=True):
        counts = None if item.lungs is None else (item.lungs.tp, item.lungs.fp, item.lungs.fn, item.lungs.tn)
        for number, system in enumerate(systems):
            regions, probabilities = item.regions.get(system), item.probabilities.get(system)
            # The lungs are the same for all of them, and are counted once.
            lungs = counts if number == 0 else None
            table[system].append(Prediction(name, regions, probabilities, item.reason, item.elapsed_s, lungs))
    return table


def rotated_errors(
    films: pd.DataFrame,
    reader: str,
    weights: Path | str | None,
    unaligned: Path | str | None = None,
    angles: Sequence[int] = ANGLES,
) -> tuple[dict[str, Floats], list[str]]:
    """Turn films and measure, with and without alignment.

    Parameters
    ----------
    films : pandas.DataFrame
        From ``training.judging.brixia.readings.read_readings``; those the reader did not score are left out.
    reader : str
        Whom to compare with.
    weights : pathlib.Path or str, optional
        As for ``bsnet_folder``.
    unaligned : pathlib.Path or str, optional
        Weights trained without alignment; without them the same weights are run once more with the
        transform replaced by the identity.
    angles : sequence of int
        Degrees.

    Returns
    -------
    errors : dict of str to numpy.ndarray
        float64, (films, angles), mean absolute error of the regions, by system.
    groups : list of str
        Patient group of each film.

    Raises
    ------
    models.errors.CheckpointError
        If weights cannot be used.
    training.data.dataset.DataError
        If a film cannot be read.
    """
    reference = scores_of(films, reader)
    read = ~np.isnan(reference).any(axis=1)
    groups = films["patient_group"].to_numpy()[read].tolist()
    items = [
        (file, scored, group, tuple(angles))
        for file, scored, group in zip(films["file"].to_numpy()[read], reference[read], groups, strict=True)
    ]
    folder = bsnet_folder(weights)
    spec = load_bsnet_spec(folder)
    systems = {"with alignment" if spec.align else system_name(spec.decoder): (folder, True)}
    if unaligned is not None:
        systems["trained without alignment"] = (bsnet_folder(unaligned), True)
    elif spec.align:
        systems["alignment switched off"] = (folder, False)
    return {name: np.array(_in_pool(_turn, items, how, name)) for name, how in systems.items()}, groups


_running: list[Any] = []


def _in_pool(
    work: Callable[[Item], Answer], items: Sequence[Item], how: tuple[object, ...], words: str
) -> list[Answer]:
    _start(work.__name__, how)  # a fault of the weights is told before any process starts
    workers = min(os.cpu_count() or 1, max(1, len(items)))
    if workers == 1:
        return [work(item) for item in items]
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (work.__name__, how)) as pool:
        answers: Iterator[Answer] = pool.map(work, items, chunksize=4)
        return list(track(answers, words, total=len(items)) if words else answers)


def _start(name: str, how: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    _running[:] = [ObservedBSNet(*how) if name == _score_paths.__name__ else predictor(*how)]


def _score_paths(paths: tuple[str, str]) -> FilmScores:
    image, mask = paths
    drawn = read_mask(Path(mask)) if mask else None
    answer: FilmScores = _running[0].score(read_film(Path(image)), drawn)
    return answer


def _turn(item: tuple[str, Floats, str, tuple[int, ...]]) -> list[float]:
    file, reference, group, angles = item
    film = ReadFilm(read_film(Path(file)), reference, group)
    return [float(error) for error in film_errors([film], _running[0], angles)[0]]


def _outcome(film: Film, item: FilmScores) -> FilmOutcome:
    if item.reason:
        return FilmOutcome(film, item.reason, None, None, item.elapsed_s, item.lungs)
    regions = next(iter(item.regions.values()))
    score = int(t_scores(regions).sum())
    return FilmOutcome(film, None, score, regions / 3, item.elapsed_s, item.lungs)
