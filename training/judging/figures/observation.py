"""Films scored again for a picture, with their probability maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.result import NotAssessable, Result
from training.data.dataset import Film, read_mask, read_pixels
from training.judging.scoring import ObservedScorer


@dataclass(frozen=True)
class Observation:
    """One film and what a scorer says of it, all in the film's geometry.

    Parameters
    ----------
    film : Film
        The film.
    pixels : numpy.ndarray
        float32, (rows, columns), in [0, 1].
    result : SeverityResult or NotAssessable
        The scorer's answer.
    probability : numpy.ndarray
        float32, (rows, columns), in [0, 1]: stage II's map, refined by its classification head (Danilov et
        al. 2022, Eq. 1-2), 0 outside the lungs.
    truth : numpy.ndarray or None
        bool, (rows, columns): opacity as drawn by a reader.
    """

    film: Film
    pixels: NDArray[np.float32]
    result: Result
    probability: NDArray[np.float32]
    truth: NDArray[np.bool_] | None


def observe(film: Film, scorer: ObservedScorer) -> Observation:
    """Score one film and keep everything that a picture needs.

    Raises
    ------
    DataError
        If the film's image or mask cannot be read.
    """
    pixels = read_pixels(film.image)
    result = scorer.score(pixels)
    truth = read_mask(film.opacity_mask) if film.opacity_mask else None
    if isinstance(result, NotAssessable) or scorer.last_opacity is None:
        return Observation(film, pixels, result, np.zeros_like(pixels), truth)
    probability = scorer.last_opacity.at_source() * result.lung_mask
    return Observation(film, pixels, result, np.asarray(probability, np.float32), truth)
