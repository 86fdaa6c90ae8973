"""Phase 5: whether a film shows disease at all, a logistic regression on cached features of whole films.

A film counts as healthy if its source calls it normal, or if the first reader gave 0 to all its regions; as
diseased if that reader gave more, or its source names a disease. Films of which neither is known stay out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from models.bsnet.network import BSNet
from models.bsnet.presence import Presence
from training.bsnet.augmentation import SWITCHES, Augmentation
from training.bsnet.batches import Batch, changed_batch
from training.bsnet.films import BSNetFilm
from training.bsnet.settings import BSNetTraining
from training.data.dataset import DataError, Film

BATCH = 8
PARTS = 5
"""Of the cross-validation that says how well it works."""
LARGEST_STEPS = 1000
UNKNOWN = ("", "unlabelled")
"""What ``Film.finding`` is where the source says nothing."""

Floats = NDArray[np.float32]

log = logging.getLogger(__name__)


def diseased(film: Film) -> bool | None:
    """Say whether a film shows disease; None where nobody says."""
    if film.brixia_readers:
        return bool(film.brixia_readers[0].sum() > 0)
    if film.normal:
        return False
    return None if film.finding in UNKNOWN else True


def fit_presence(network: BSNet, films: Sequence[BSNetFilm], training: BSNetTraining) -> dict[str, float]:
    """Fit the presence of a network whose other parts stay as they are.

    Parameters
    ----------
    network : BSNet
        With ``presence``; its last layer is changed.
    films : sequence of BSNetFilm
        Training films.
    training : BSNetTraining
        Names the augmentation and ``presence_fit``.

    Returns
    -------
    dict
        Numbers of films, and in cross-validation over patients: the area under the curve, and the shares of
        healthy films below, and of diseased films above, a chance of one half, the margin added.

    Raises
    ------
    training.data.dataset.DataError
        If all films are healthy, or all are diseased.
    """
    settings = training.presence_fit
    known = [item for item in films if diseased(item.film) is not None]
    answers = np.array([diseased(item.film) for item in known], bool)
    if answers.all() or not answers.any():
        raise DataError(
            "the presence of disease wants films with it and films called normal; "
            "add films, or leave the phase out"
        )
    still = SWITCHES["none"]
    changes = (still, still.mirrored(), *[training.augmentation] * settings.views)
    generator = np.random.default_rng(training.seed)
    means = [_means(network.eval(), known, change, generator) for change in changes]
    presence = cast(Presence, network.presence)
    scaled = _standardised(presence, means)
    groups = np.array([item.film.group for item in known])
    figures = _judged(scaled[0], answers, groups, training)
    log.info("phase presence: %s", figures)
    model = _regression(training).fit(np.concatenate(scaled), np.tile(answers, len(scaled)))
    with torch.no_grad():
        presence.dense.weight.copy_(torch.from_numpy(model.coef_))
        presence.dense.bias.copy_(torch.from_numpy(model.intercept_) + settings.margin)
    return figures


def _means(
    network: BSNet, films: Sequence[BSNetFilm], change: Augmentation, generator: np.random.Generator
) -> torch.Tensor:
    parts = [
        pooled(network, changed_batch(films[start : start + BATCH], change, generator))
        for start in range(0, len(films), BATCH)
    ]
    return torch.cat(parts)


@torch.no_grad()
def pooled(network: BSNet, batch: Batch) -> torch.Tensor:
    """Return what the presence of disease is judged by, float32 (batch, channels), by lungs as found."""
    features = network.features(batch.films)
    lungs = network.lungs(features).sigmoid()
    theta = network.align(lungs)
    frame = network.in_frame(features.levels, lungs, theta)
    means: torch.Tensor = network.presence.pool(batch.films, frame, lungs, theta)  # type: ignore[union-attr]
    return means


def _standardised(presence: Presence, means: Sequence[torch.Tensor]) -> list[Floats]:
    together = torch.cat(list(means))
    presence.norm.running_mean.copy_(together.mean(0))  # type: ignore[union-attr]
    presence.norm.running_var.copy_(together.var(0).clamp_min(1e-8))  # type: ignore[union-attr]
    with torch.no_grad():
        return [presence.norm(part).numpy() for part in means]


def _judged(
    means: Floats, answers: NDArray[np.bool_], groups: NDArray[np.str_], training: BSNetTraining
) -> dict[str, float]:
    figures = {"healthy": float((~answers).sum()), "diseased": float(answers.sum())}
    parts = min(PARTS, len(set(groups[answers])), len(set(groups[~answers])))
    if parts < 2:
        return figures
    folds = GroupKFold(parts, shuffle=True, random_state=training.seed)
    odds = cross_val_predict(
        _regression(training), means, answers, groups=groups, cv=folds, method="decision_function"
    )
    above = odds + training.presence_fit.margin > 0
    return figures | {
        "area_under_curve": float(roc_auc_score(answers, odds)),
        "healthy_below_half": float((~above[~answers]).mean()),
        "diseased_above_half": float(above[answers].mean()),
    }


def _regression(training: BSNetTraining) -> LogisticRegression:
    return LogisticRegression(C=training.presence_fit.strength, max_iter=LARGEST_STEPS)
