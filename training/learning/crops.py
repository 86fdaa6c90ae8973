"""Stage II's views: lungs found, masked and cut by stage I, exactly as at inference."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import NetworkSpec, Role, load_checkpoint
from models.geometry import Box, CropResize, Shape
from models.lungs import find_lungs
from models.segmenter import Segmenter, TorchForward, network_view
from models.zones import NoLungs, zone_map
from training.data.dataset import DataError, Film, film_presence, read_mask, read_pixels
from training.learning.losses import brixia_shares
from training.learning.native_films import CutFilms, grey_bytes
from training.learning.reader_shares import shares_near_readers
from training.learning.samples import Samples, nearest, stacked

LAYERS = ("lungs", "zones", "opacity", "boxes", "guess")
READER_THRESHOLD, READER_WIDTH = 0.25, 0.1
"""T and width at which published shares are brought to the readers' count; training counts with them too."""
FEW = 8  # films that are cut sooner than a process starts

Crop = tuple[NDArray[np.uint8], ...]


def opacity_samples(films: Sequence[Film], spec: NetworkSpec, shape: Shape, lungs: Path) -> Samples:
    """Cut the lungs out of films with stage I's network, as inference does.

    Parameters
    ----------
    films : sequence of Film
        Those that stage I cannot cut, and those of which nothing is known, are left out.
    spec : NetworkSpec
        Stage II's network.
    shape : tuple of int
        (rows, columns) of the tensors.
    lungs : pathlib.Path
        Checkpoint folder of stage I.

    Returns
    -------
    Samples
        Layers ``lungs`` (0, 1), ``zones`` (0 to 6), ``opacity`` (0, 1), ``boxes`` (0, 1), ``guess`` (0 to
        255); labels as ``training.learning.losses.opacity_losses`` asks for.

    Raises
    ------
    training.data.dataset.DataError
        If no film is left.
    """
    pairs = _cut_all(films, spec, shape, lungs)
    views, *maps = (stacked(arrays) for arrays in zip(*(crop for _, crop in pairs), strict=True))
    return Samples(views, torch.cat(maps, 1), LAYERS, film_labels([film for film, _ in pairs]))


def save_opacity_films(films: Sequence[Film], spec: NetworkSpec, lungs: Path, path: Path) -> None:
    """Cut the lungs out of films as ``opacity_samples`` does, but at the films' own size, into one file."""
    pairs = _cut_all(films, spec, None, lungs)
    crops = [(view, np.stack(maps)) for view, *maps in (crop for _, crop in pairs)]
    CutFilms.save(crops, LAYERS, film_labels([film for film, _ in pairs]), path)


def _cut_all(
    films: Sequence[Film], spec: NetworkSpec, shape: Shape | None, lungs: Path
) -> list[tuple[Film, Crop]]:
    told = [film for film in films if not math.isnan(film_presence(film)) or film.brixia is not None]
    work = partial(cut, spec=spec, shape=shape, lungs=lungs)
    if len(told) <= FEW:
        crops = [work(film) for film in told]
    else:
        # Threads that wait for each other at every layer are slower than one thread a process.
        with ProcessPoolExecutor(
            os.cpu_count(),
            mp_context=get_context("spawn"),
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool:
            crops = list(pool.map(work, told, chunksize=8))
    pairs = [(film, crop) for film, crop in zip(told, crops, strict=True) if crop is not None]
    if not pairs:
        raise DataError(
            f"none of {len(films)} films can be learned from: {len(told)} have a label for stage II, and "
            f"stage I ({lungs}) finds two lungs on none of these; check the data, or train stage I longer"
        )
    return pairs


_STAGE_ONE: dict[Path, Segmenter] = {}


def cut(film: Film, spec: NetworkSpec, shape: Shape | None, lungs: Path) -> Crop | None:
    """Return one film's view and its five maps, or None if stage I finds no two lungs on it.

    Parameters
    ----------
    film : Film
        The film.
    spec : NetworkSpec
        Stage II's network.
    shape : tuple of int or None
        (rows, columns) of the arrays; None for the film's own.
    lungs : pathlib.Path
        Checkpoint folder of stage I.

    Returns
    -------
    tuple of numpy.ndarray or None
        uint8, (rows, columns) each: the view and ``LAYERS``.
    """
    if lungs not in _STAGE_ONE:
        network, lung_spec = load_checkpoint(lungs, Role.LUNGS)
        _STAGE_ONE[lungs] = Segmenter(lung_spec, TorchForward(network, torch.device("cpu")))
    pixels = read_pixels(film.image)
    found = find_lungs(_STAGE_ONE[lungs], pixels).lungs
    if isinstance(found, NoLungs):
        return None
    both = found.right | found.left
    box, source = Box.around(both), (pixels.shape[0], pixels.shape[1])
    geometry = CropResize(source, box, shape, spec.resize) if shape else CropResize(source, box, box.shape)
    opacity = read_mask(film.opacity_mask) if film.opacity_mask else np.zeros_like(both)
    guess = grey_bytes(read_pixels(film.guess)) if film.guess else np.zeros_like(both, np.uint8)
    boxes = _filled(film.boxes, both)
    layers = (both.astype(np.uint8), zone_map(found), opacity.astype(np.uint8), boxes, guess)
    view = network_view(pixels, spec, geometry, both)
    return grey_bytes(view), *(nearest(layer, geometry) for layer in layers)


def teacher_shares(film: Film) -> NDArray[np.float32]:
    """Return a film's published zone shares, moved to agree with its readers if it has any."""
    assert film.teacher is not None  # noqa: S101 - callers ask before
    if film.consensus is None or film.normal:
        return film.teacher
    return shares_near_readers(film.teacher, film.consensus, READER_THRESHOLD, READER_WIDTH)


def film_labels(films: Sequence[Film]) -> dict[str, torch.Tensor]:
    """Return the labels of films as tensors, NaN where there is none."""
    unknown = np.full(6, np.nan, np.float32)
    teacher = [unknown if film.teacher is None else teacher_shares(film) for film in films]
    brixia = [
        unknown if film.brixia is None or film.opacity_mask or film.teacher is not None else film.brixia
        for film in films
    ]
    zones = [unknown if film.zones is None else film.zones for film in films]
    consensus = [math.nan if film.consensus is None else film.consensus for film in films]
    return {
        "has_mask": torch.tensor([float(film.opacity_mask is not None) for film in films]),
        "has_boxes": torch.tensor([float(bool(film.boxes)) for film in films]),
        "normal": torch.tensor([float(film.normal) for film in films]),
        "guess_weight": torch.tensor([film.guess_weight for film in films], dtype=torch.float32),
        "presence": torch.tensor([film_presence(film) for film in films]),
        "consensus": torch.tensor(consensus, dtype=torch.float32),
        "teacher": torch.from_numpy(np.stack(teacher)),
        "zones": torch.from_numpy(np.stack(zones)),
        "brixia": brixia_shares(torch.from_numpy(np.stack(brixia))),
    }


def _filled(boxes: Sequence[Box], like: NDArray[np.bool_]) -> NDArray[np.uint8]:
    result = np.zeros_like(like, np.uint8)
    for box in boxes:
        result[box.slices] = 1
    return result
