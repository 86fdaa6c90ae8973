"""Scores for films that nobody scored: a teacher fitted on the scored training films.

The teacher is a ridge regression of the zone's score on what is known of the zone: the shares of opacity that
the two-stage scorer finds there and over the film, and, where a film is in the published tables, the zone
shares of the published networks and the class probabilities of the published BS-Net. Its answer becomes a
distribution over the four scores, as wide as the teacher is unsure. Films called normal have 0 everywhere.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from models.result import SeverityResult
from models.severity import SeverityScorer
from training.data.dataset import Film, read_pixels

Floats = NDArray[np.float64]

PUBLISHED_FILE = Path("published") / "bsnet.csv"
LEAST_SHARE = 0.02
SPREAD = 0.5
"""Standard deviation of the teacher's score around the readers', in points."""
NORMAL_SCORE, NORMAL_SPREAD = 0.05, 0.35
OWN_WEIGHT, PUBLISHED_WEIGHT = 0.3, 0.1
"""How much a standardised feature counts before the ridge's penalty of 1; chosen in cross-validation over
training and validation films by patient (README of this folder's parent)."""
ALONE_SHARE = 0.35
"""Weight of the guess from our own shares where there is one from the published tables, too."""
CUTS = (0.5, 1.5, 2.5)
ZONES = 6


@dataclass(frozen=True)
class ZoneFacts:
    """What is known of the six zones of each film, A to F, beside the film itself.

    Parameters
    ----------
    own : dict
        Film name to float64 (6, features).
    published : dict
        The same from the published tables; films that are not in them are left out.
    """

    own: Mapping[str, Floats]
    published: Mapping[str, Floats]


@dataclass(frozen=True)
class _Regression:
    scaler: StandardScaler
    ridge: Ridge
    weights: Floats

    @classmethod
    def fit(cls, facts: Floats, weights: Floats, scores: Floats) -> _Regression:
        scaler = StandardScaler().fit(facts.reshape(-1, facts.shape[-1]))
        regression = cls(scaler, Ridge(1.0), weights)
        regression.ridge.fit(regression._features(facts), scores.ravel())
        return regression

    def __call__(self, facts: Floats) -> Floats:
        return np.asarray(self.ridge.predict(self._features(facts)).reshape(-1, ZONES), np.float64)

    def _features(self, facts: Floats) -> Floats:
        standard = self.scaler.transform(facts.reshape(-1, facts.shape[-1])) * self.weights
        return np.concatenate([standard, np.tile(np.eye(ZONES), (len(facts), 1))], axis=1)


@dataclass(frozen=True)
class Teacher:
    """Guesses the six scores of a film from ``ZoneFacts``; make one with ``fit``."""

    facts: ZoneFacts
    alone: _Regression
    joint: _Regression | None

    @classmethod
    def fit(cls, films: Sequence[Film], scores: Floats, facts: ZoneFacts) -> Teacher:
        """Fit on films whose scores are known.

        Parameters
        ----------
        films : sequence of Film
            Training films alone.
        scores : numpy.ndarray
            float64, (films, 6), 0 to 3, A to F.
        facts : ZoneFacts
            Of these films and of those to be guessed.
        """
        own = np.stack([facts.own[film.name] for film in films])
        alone = _Regression.fit(own, np.full(own.shape[-1], OWN_WEIGHT), scores)
        both = [index for index, film in enumerate(films) if film.name in facts.published]
        if len(both) < ZONES:
            return cls(facts, alone, None)
        published = np.stack([facts.published[films[index].name] for index in both])
        weights = np.repeat([OWN_WEIGHT / 3, PUBLISHED_WEIGHT * 1.5], [own.shape[-1], published.shape[-1]])
        joint = _Regression.fit(np.concatenate([own[both], published], axis=2), weights, scores[both])
        return cls(facts, alone, joint)

    def scores(self, film: Film) -> Floats:
        """Return the guessed scores of a film, float64 (6,); may lie a little beyond 0 to 3."""
        own = self.facts.own[film.name][None]
        guess = self.alone(own)[0]
        published = self.facts.published.get(film.name)
        if self.joint is not None and published is not None:
            both = self.joint(np.concatenate([own, published[None]], axis=2))[0]
            guess = ALONE_SHARE * guess + (1 - ALONE_SHARE) * both
        return np.asarray(guess)

    def distribution(self, film: Film) -> Floats:
        """Return the guess as distributions over the scores, float64 (6, 4)."""
        return score_distribution(self.scores(film), SPREAD)


def normal_distribution() -> Floats:
    """Return what films called normal are taken to score, float64 (6, 4): 0, by and large."""
    return score_distribution(np.full(ZONES, NORMAL_SCORE), NORMAL_SPREAD)


def score_distribution(scores: Floats, spread: float) -> Floats:
    """Return the chance of each of the four scores if the truth is normal around ``scores``.

    Parameters
    ----------
    scores : numpy.ndarray
        float64, (...), in points.
    spread : float
        Standard deviation, in points.

    Returns
    -------
    numpy.ndarray
        float64, (..., 4).
    """
    error = np.vectorize(math.erf)
    below = 0.5 * (1 + error((np.array(CUTS) - scores[..., None]) / (spread * math.sqrt(2))))
    ends = np.concatenate([np.zeros((*scores.shape, 1)), below, np.ones((*scores.shape, 1))], axis=-1)
    return np.diff(ends, axis=-1)


def zone_facts(films: Sequence[Film], data: Path, cache: Path) -> ZoneFacts:
    """Collect what is known of films.

    Parameters
    ----------
    films : sequence of Film
        Training (and validation) films.
    data : pathlib.Path
        The data folder, for the published tables, which may be missing.
    cache : pathlib.Path
        A file that keeps the shares, which take a third of a second a film; made if missing. A film that the
        shipped two-stage scorer cannot score has shares of 0.
    """
    shares = load_file(cache) if cache.is_file() else {}
    if missing := [film for film in films if film.name not in shares]:
        scorer = SeverityScorer.load(threads=1)
        shares |= {film.name: _shares(scorer, film) for film in missing}
        save_file(shares, cache)
    own = {film.name: _own_facts(shares[film.name]) for film in films}
    tables = _published(data / PUBLISHED_FILE)
    published = {
        film.name: np.concatenate([tables[film.published_name], _odds(film.teacher[:, None])], axis=1)
        for film in films
        if film.teacher is not None and film.published_name in tables
    }
    return ZoneFacts(own, published)


def _shares(scorer: SeverityScorer, film: Film) -> Floats:
    result = scorer.score(read_pixels(film.image))
    if not isinstance(result, SeverityResult):
        return np.zeros(ZONES)
    return np.array([zone.opacity_area_px / max(1, zone.area_px) for zone in result.zones])


def _own_facts(shares: Floats) -> Floats:
    shares = shares[:, None]
    here = np.concatenate([_odds(shares), shares], axis=1)
    return np.concatenate([here, np.repeat(here.mean(axis=0, keepdims=True), ZONES, axis=0)], axis=1)


def _odds(shares: NDArray[Any]) -> Floats:
    clipped = np.clip(np.asarray(shares, np.float64), LEAST_SHARE, 1 - LEAST_SHARE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _published(path: Path) -> dict[str, Floats]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["filename"]: _probabilities(row) for row in csv.DictReader(file)}


def _probabilities(row: Mapping[str, str]) -> Floats:
    # The tables count rows, then columns (image left first); zones A to F go down the left column first.
    zones = [
        [float(row[f"raw_score_{level}{side}{score}"]) for score in range(4)]
        for side in range(2)
        for level in range(3)
    ]
    probabilities = np.array(zones)
    return np.concatenate([probabilities @ np.arange(4)[:, None], probabilities], axis=1)
