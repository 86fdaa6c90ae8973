"""The films of a BS-Net training as arrays: views, lungs, labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.bsnet.preprocessing import preprocess
from models.bsnet.spec import BSNetSpec
from models.checkpoint import Role, load_checkpoint
from models.segmenter import Segmenter, TorchForward
from training.bsnet import pseudo_labels
from training.bsnet.settings import Films
from training.bsnet.start import shipped_or
from training.data.dataset import DataError, Film, read_mask, read_pixels
from training.judging.brixia.readings import public_split

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

SCORES = 4
LABELLED, GUESSED, NORMAL = "labelled", "guessed", "normal"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BSNetFilm:
    """One film as the training sees it, before augmentation.

    Parameters
    ----------
    film : Film
        Where it comes from.
    view : numpy.ndarray
        uint8, the spec's input shape: ``preprocess`` in steps of 1/255.
    lungs : numpy.ndarray or None
        uint8, the same shape, 0 to 255: the drawn mask, or stage I's probability; None where neither is.
    label : numpy.ndarray or None
        float32, (3, 2, 4): distributions over the scores; None for a film that teaches lungs alone.
    kind : str
        Where the label comes from: readers, the teacher, or the source that calls the film normal.
    """

    film: Film
    view: Bytes
    lungs: Bytes | None
    label: Floats | None
    kind: str = LABELLED


@dataclass(frozen=True)
class FilmSets:
    """Films that teach and films that judge; none is in both, nor any patient."""

    training: tuple[BSNetFilm, ...]
    validation: tuple[BSNetFilm, ...]


def prepare_films(
    films: Sequence[Film], data: Path, settings: Films, spec: BSNetSpec, cache: Path
) -> FilmSets:
    """Read films and their labels.

    Parameters
    ----------
    films : sequence of Film
        All of the data folder; test films are left alone.
    data : pathlib.Path
        The data folder.
    settings : Films
        Which teach what.
    spec : BSNetSpec
        How a view is made.
    cache : pathlib.Path
        File of zone shares for pseudo-labels; see ``pseudo_labels.zone_facts``.

    Returns
    -------
    FilmSets

    Raises
    ------
    training.data.dataset.DataError
        If no training film has lungs or a label, or a file cannot be read.
    models.errors.CheckpointError
        If stage I cannot be loaded.
    """
    films = with_paper_split(films) if settings.split == "paper" else films
    seen = [film for film in films if film.split in ("train", "val")]
    labels = _labels(seen, data, settings, cache)
    segmenter = _segmenter(settings.lungs_of)
    prepared = [_prepared(film, labels.get(film.name), segmenter, spec) for film in seen]
    sets = FilmSets(
        tuple(item for item in prepared if item.film.split == "train"),
        tuple(item for item in prepared if item.film.split == "val"),
    )
    return _checked(sets, data)


def _checked(sets: FilmSets, data: Path) -> FilmSets:
    if not any(item.lungs is not None or item.label is not None for item in sets.training):
        raise DataError(f"no training film in {data} has lungs or a score; see training/README.md")
    kinds = [item.kind for item in sets.training if item.label is not None]
    counts = {kind: kinds.count(kind) for kind in (LABELLED, GUESSED, NORMAL)}
    log.info("%d training films %s, %d validation films", len(sets.training), counts, len(sets.validation))
    return sets


def with_paper_split(films: Sequence[Film]) -> list[Film]:
    """Return the films with a Brixia score, 75 % of them to learn from, the others as ``test`` (Table 9).

    Film by film, as in the paper: a patient may be in both. One tenth of the training films judges.
    """
    scored = [film for film in films if film.brixia_readers]
    subset = dict(
        zip((film.name for film in scored), public_split([film.name for film in scored]), strict=True)
    )
    learning = sorted(name for name, split in subset.items() if split == "train")
    judging = set(learning[::10])
    return [replace(film, split="val" if film.name in judging else subset[film.name]) for film in scored]


def reader_label(film: Film, senior: float) -> Floats:
    """Return the readers' scores as distributions, float32 (3, 2, 4); the first reader weighs ``senior``."""
    readers = [np.eye(SCORES)[np.asarray(scores, int)] for scores in film.brixia_readers]
    label = readers[0] if len(readers) == 1 else senior * readers[0] + (1 - senior) * readers[1]
    return as_grid(label)


def as_grid(zones: NDArray[Any]) -> Floats:
    """Bring values of the zones A to F, (6, ...), to the layout (3, 2, ...), float32."""
    return np.stack([zones[:3], zones[3:]], axis=1).astype(np.float32)


def _labels(films: Sequence[Film], data: Path, settings: Films, cache: Path) -> dict[str, tuple[Floats, str]]:
    labels = {
        film.name: (reader_label(film, settings.senior), LABELLED) for film in films if film.brixia_readers
    }
    training = [film for film in films if film.split == "train"]
    if settings.normals:
        nothing = as_grid(pseudo_labels.normal_distribution())
        labels |= {
            film.name: (nothing, NORMAL) for film in training if film.normal and film.name not in labels
        }
    if not settings.pseudo_labels:
        return labels
    scored = [film for film in training if film.brixia_readers]
    if not scored:
        raise DataError("pseudo_labels need training films with a Brixia score; switch them off")
    facts = pseudo_labels.zone_facts(training, data, cache)
    weights = (settings.senior, 1 - settings.senior)
    scores = np.array([_mean_score(film, weights) for film in scored])
    teacher = pseudo_labels.Teacher.fit(scored, scores, facts)
    guessed = [film for film in training if not film.brixia_readers and not film.normal]
    return labels | {film.name: (as_grid(teacher.distribution(film)), GUESSED) for film in guessed}


def _mean_score(film: Film, weights: tuple[float, float]) -> NDArray[np.float64]:
    readers = np.array(film.brixia_readers, np.float64)
    return np.asarray(readers[0] if len(readers) == 1 else np.average(readers[:2], axis=0, weights=weights))


def _prepared(
    film: Film, label: tuple[Floats, str] | None, segmenter: Segmenter | None, spec: BSNetSpec
) -> BSNetFilm:
    pixels = read_pixels(film.image)
    distribution, kind = label or (None, "")
    return BSNetFilm(
        film, _bytes(preprocess(pixels, spec)), _lungs(film, pixels, segmenter, spec), distribution, kind
    )


def _lungs(film: Film, pixels: Floats, segmenter: Segmenter | None, spec: BSNetSpec) -> Bytes | None:
    if film.lung_masks:
        mask = read_mask(film.lung_masks[0]).astype(np.float32)
    elif segmenter is not None:
        mask = segmenter.segment(pixels).at_source()
    else:
        return None
    rows, columns = spec.input_shape
    return _bytes(cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA))


def _segmenter(folder: str) -> Segmenter | None:
    if not folder:
        return None
    network, spec = load_checkpoint(shipped_or(folder), Role.LUNGS)
    return Segmenter(spec, TorchForward(network, torch.device("cpu")))


def _bytes(values: NDArray[Any]) -> Bytes:
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)


def by_kind(films: Sequence[BSNetFilm]) -> Mapping[str, list[BSNetFilm]]:
    """Return the films that have a label, by the kind of it."""
    return {
        kind: [item for item in films if item.label is not None and item.kind == kind]
        for kind in (LABELLED, GUESSED, NORMAL)
    }
