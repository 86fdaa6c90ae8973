"""Phase 3 for pooled heads: their features are cached, and the heads fitted to them in seconds.

A pooled head is one dense layer on means of frozen features. With few films it is fitted to its optimum under
a penalty, which cross-validation over patients chooses. The four scores share one direction of the features
(adjacent-category logits: score c weighs it by c), since they are grades of one thing: in cross-validation
over 110 films the error fell from 0.51 to 0.46 against four free directions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from torch.nn import functional as F  # noqa: N812 - its customary name

from models.bsnet.aligner import aligned
from models.bsnet.attention import attended
from models.bsnet.decision import scores
from models.bsnet.network import BSNet
from models.bsnet.regions import PooledHead
from models.bsnet.spec import Attention
from training.bsnet.augmentation import SWITCHES
from training.bsnet.batches import Batch, changed_batch, scored_films
from training.bsnet.films import LABELLED, BSNetFilm, as_grid
from training.bsnet.losses import joint_loss
from training.bsnet.settings import BSNetTraining, HeadFit

Floats = NDArray[np.float32]

PARTS = 5
"""Of the cross-validation that chooses the penalty."""
STEPS = 60
BATCH = 8
CLASSES = 4
BIAS_SHARE = 0.1
"""Of the penalty, on the regions' biases."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examples:
    """Cached features of changed films.

    Parameters
    ----------
    features : dict
        Attention to float32 (examples, 6, channels), regions as the heads order them.
    labels : torch.Tensor
        float32, (examples, 3, 2, 4).
    weights : torch.Tensor
        float32, (examples,).
    films : tuple of BSNetFilm
        The film of each example.
    unchanged : numpy.ndarray
        bool, (examples,): which are the films as they are; only these judge.
    """

    features: Mapping[str, torch.Tensor]
    labels: torch.Tensor
    weights: torch.Tensor
    films: tuple[BSNetFilm, ...]
    unchanged: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.bool_]) -> Examples:
        """Return some of the examples."""
        keep = torch.from_numpy(chosen)
        features = {name: values[keep] for name, values in self.features.items()}
        films = tuple(film for film, kept in zip(self.films, chosen, strict=True) if kept)
        return Examples(features, self.labels[keep], self.weights[keep], films, self.unchanged[chosen])


def fit_pooled_heads(network: BSNet, films: Sequence[BSNetFilm], training: BSNetTraining) -> dict[str, float]:
    """Fit the heads of a network whose other parts stay as they are.

    Parameters
    ----------
    network : BSNet
        With ``PooledHead``; its heads are changed.
    films : sequence of BSNetFilm
        Training films.
    training : BSNetTraining
        Names loss, augmentation and ``head_fit``.

    Returns
    -------
    dict
        The penalty that was chosen, and the cross-validated mean absolute error of every penalty.
    """
    settings = training.head_fit
    generator = np.random.default_rng(training.seed)
    examples = collect(network.eval(), films, training, generator)
    figures = {
        f"penalty_{penalty:g}": cross_validated(network, examples, training, penalty)
        for penalty in settings.penalties
    }
    best = min(settings.penalties, key=lambda penalty: figures[f"penalty_{penalty:g}"])
    log.info("phase heads: %s; penalty %g", figures, best)
    _fit(network, examples, training, best)
    return {"penalty": best, **figures}


@torch.no_grad()
def collect(
    network: BSNet, films: Sequence[BSNetFilm], training: BSNetTraining, generator: np.random.Generator
) -> Examples:
    """Run the frozen parts on every film, as it is and changed ``head_fit.views`` times, and pool."""
    once = scored_films(films, training.films, generator)
    once = list({item.film.name: item for item in once}.values())
    still = SWITCHES["none"]
    parts: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    for augmentation in (still, still.mirrored(), *[training.augmentation] * training.head_fit.views):
        for start in range(0, len(once), BATCH):
            batch = changed_batch(once[start : start + BATCH], augmentation, generator)
            parts.append((pooled(network, batch), batch.labels))
    copies = 2 + training.head_fit.views
    weights = torch.tensor([_weight(item, training.head_fit) for item in once]).repeat(copies)
    features = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
    labels = torch.cat([part[1] for part in parts])
    unchanged = np.arange(len(weights)) < len(once)
    return Examples(features, labels, weights, tuple(once) * copies, unchanged)


def pooled(network: BSNet, batch: Batch) -> dict[str, torch.Tensor]:
    """Return the pooled features of a batch, attention to float32 (batch, 6, channels), by lungs as found."""
    features = network.features(batch.films)
    lungs = batch.lungs if network.decoder is None else network.lungs(features).sigmoid()
    theta = network.align(lungs)
    levels = [aligned(level, theta) for level in features.levels]
    inside = aligned(F.adaptive_avg_pool2d(lungs, (levels[0].shape[2], levels[0].shape[3])), theta)
    seen = {Attention.HARD: lambda: attended(levels, inside), Attention.SOFT: lambda: levels}
    return {str(name): network.heads[name].pool(seen[name]()) for name in network.spec.attentions}  # type: ignore[operator]


def cross_validated(network: BSNet, examples: Examples, training: BSNetTraining, penalty: float) -> float:
    """Return the mean absolute error of readers' films, each judged by heads that did not see its patient."""
    groups = np.array([item.film.group for item in examples.films])
    readers = np.array([item.kind == LABELLED for item in examples.films])
    parts = min(PARTS, len(set(groups[readers])))
    if parts < 2:
        return 0.0
    errors = []
    for _, held in GroupKFold(parts).split(groups[readers], groups=groups[readers]):
        patients = set(groups[readers][held])
        out = np.array([group in patients for group in groups])
        _fit(network, examples.part(~out), training, penalty)
        errors.append(_errors(network, examples.part(out & readers & examples.unchanged)))
    return float(np.concatenate(errors).mean())


@torch.no_grad()
def _errors(network: BSNet, examples: Examples) -> NDArray[np.float64]:
    answers = [
        network.heads[name].classify(features).softmax(-1)  # type: ignore[operator]
        for name, features in examples.features.items()
    ]
    found = scores(torch.stack(answers).mean(0).numpy(), network.spec.decision)
    reference = np.stack([as_grid(item.film.brixia_readers[0]) for item in examples.films])
    return np.asarray(np.abs(found - reference), np.float64)


def _fit(network: BSNet, examples: Examples, training: BSNetTraining, penalty: float) -> None:
    for name, features in examples.features.items():
        head = cast(PooledHead, network.heads[name])
        _set_norm(head, features)
        _descend(head, features, examples, training, penalty)


def _set_norm(head: PooledHead, features: torch.Tensor) -> None:
    flat = features.flatten(0, 1)
    head.norm.running_mean.copy_(flat.mean(0))  # type: ignore[union-attr]
    head.norm.running_var.copy_(flat.var(0).clamp_min(1e-8))  # type: ignore[union-attr]


def _descend(
    head: PooledHead, features: torch.Tensor, examples: Examples, training: BSNetTraining, penalty: float
) -> None:
    means = head.norm(features.flatten(0, 1)).view_as(features)
    direction = torch.zeros(features.shape[-1], 1, requires_grad=True)
    bias = torch.zeros_like(head.bias, requires_grad=True)
    scale = torch.arange(CLASSES) - (CLASSES - 1) / 2
    shares = examples.weights / examples.weights.sum()
    optimizer = torch.optim.LBFGS(
        [direction, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = (means @ (direction * scale) + bias).view(-1, 3, 2, CLASSES)
        loss = joint_loss(logits, examples.labels, training.loss.alpha, training.loss.beta)
        size = direction.square().sum() * scale.square().sum() + BIAS_SHARE * bias.square().sum()
        total = (shares * loss).sum() + penalty * size
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.dense.weight.copy_((direction * scale).T)
        head.bias.copy_(bias)


def _weight(item: BSNetFilm, settings: HeadFit) -> float:
    return {LABELLED: 1.0, "guessed": settings.guessed, "normal": settings.normal}[item.kind]
