"""Subsets and folds: by patient, every source and finding in its share; or by image, as was published."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.film_record import SUBSETS, PrepareError

RATIOS = (0.8, 0.1, 0.1)
"""Shares of train, val and test in Danilov et al. 2022."""

PUBLISHED_SEED = 11
"""Seed of the published split by image and of its tuning sample."""


def assign_groups(
    groups: Sequence[Hashable], strata: Sequence[Hashable], shares: Sequence[float], seed: int
) -> list[int]:
    """Divide films into parts so that no group is in two parts and every stratum is in its share.

    Groups are taken in random order, the largest first; each goes to the part whose strata it brings nearest
    to their share (the greedy rule of scikit-learn's ``StratifiedGroupKFold``, for parts of unequal size).

    Parameters
    ----------
    groups : sequence
        The patient group of every film.
    strata : sequence
        What should be in every part in its share, e.g. source and finding of every film.
    shares : sequence of float
        Size of each part; they need not sum to 1.
    seed : int
        Of the order of the groups.

    Returns
    -------
    list of int
        The number of each film's part.

    Raises
    ------
    PrepareError
        If no share is positive, or one is negative.
    """
    if min(shares, default=-1.0) < 0 or sum(shares) <= 0:
        raise PrepareError(
            f"shares {tuple(shares)} cannot be used: none may be negative, one must be positive"
        )
    everything = len(set(strata))
    number = {stratum: index for index, stratum in enumerate(dict.fromkeys(strata))}
    counts: dict[Hashable, NDArray[np.float64]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        counts.setdefault(group, np.zeros(everything + 1))[[number[stratum], everything]] += 1
    order = list(counts)
    random.Random(seed).shuffle(order)  # noqa: S311 - a reproducible order, no secret
    order.sort(key=lambda group: -counts[group][everything])

    part_shares = np.asarray(shares, float) / sum(shares)
    total = np.sum(list(counts.values()), axis=0) if counts else np.zeros(0)
    wanted = part_shares[:, None] * total
    held = np.zeros_like(wanted)
    part_of: dict[Hashable, int] = {}
    for group in order:
        # The smaller a stratum, the more each of its films counts; the last column is all films together.
        gap = (held - wanted) / np.maximum(total, 1)
        change = counts[group] / np.maximum(total, 1)
        cost = ((gap + change) ** 2 - gap**2).sum(axis=1)
        cost[part_shares == 0] = np.inf
        best = int(np.argmin(np.round(cost, 12)))
        held[best] += counts[group]
        part_of[group] = best
    return [part_of[group] for group in groups]


def patient_split(
    groups: Sequence[Hashable], strata: Sequence[Hashable], ratios: Sequence[float] = RATIOS, seed: int = 1
) -> list[str]:
    """Return ``train``, ``val`` or ``test`` for every film; no patient is in two of them.

    Parameters
    ----------
    groups, strata
        See ``assign_groups``.
    ratios : sequence of float
        Shares of train, val and test.
    seed : int
        Of the order of the patients.

    Returns
    -------
    list of str

    Raises
    ------
    PrepareError
        If there are not three ratios, or they cannot be used.
    """
    if len(ratios) != len(SUBSETS):
        raise PrepareError("a split needs three ratios: train, val and test")
    return [SUBSETS[part] for part in assign_groups(groups, strata, ratios, seed)]


def cross_validation_folds(
    groups: Sequence[Hashable], strata: Sequence[Hashable], folds: int, seed: int = 1
) -> list[int]:
    """Return a fold, from 0, for every film; no patient is in two folds.

    Raises
    ------
    PrepareError
        If there are fewer than two folds, or fewer patients than folds.
    """
    if folds < 2 or folds > len(set(groups)):
        raise PrepareError(
            f"{folds} folds of {len(set(groups))} patients: need 2 folds or more, and a patient each"
        )
    return assign_groups(groups, strata, [1.0] * folds, seed)


def image_split(
    names: Sequence[str],
    sources: Sequence[str],
    ratios: Sequence[float] = RATIOS,
    seed: int = PUBLISHED_SEED,
) -> list[str]:
    """Return the split of Danilov et al. 2022: by image, each data set by itself.

    One patient's films can fall into several subsets, so figures on the test films are too good; this is for
    comparisons with published figures only. With the published file names it gives the published subset of
    all 1,364 films.

    Parameters
    ----------
    names : sequence of str
        File names; their alphabetical order, whatever their case, is what is shuffled.
    sources : sequence of str
        Data set of each film.
    ratios : sequence of float
        Shares of train, val and test.
    seed : int
        Of the shuffling.

    Returns
    -------
    list of str

    Raises
    ------
    PrepareError
        If there are not three ratios, or a data set has too few films for them.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - takes seconds to import

    if len(ratios) != len(SUBSETS):
        raise PrepareError("a split needs three ratios: train, val and test")
    members: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(names)), key=lambda i: (names[i].lower(), names[i])):
        members[sources[index]].append(index)
    train, val, test = ratios
    answer = [SUBSETS[0]] * len(names)
    for source, indices in members.items():
        if val + test == 0:
            continue
        try:
            _, rest = train_test_split(indices, train_size=train / sum(ratios), random_state=seed)
            if not (val and test):
                held: tuple[list[int], list[int]] = (rest, []) if val else ([], rest)
            else:
                held = tuple(train_test_split(rest, test_size=test / (val + test), random_state=seed))
        except ValueError as error:
            raise PrepareError(f"{source} cannot be divided {train:g}:{val:g}:{test:g}: {error}") from error
        for subset, chosen in zip(SUBSETS[1:], held, strict=True):
            for index in chosen:
                answer[index] = subset
    return answer


def tuning_images(count: int, fraction: float, seed: int = PUBLISHED_SEED) -> list[int]:
    """Return the films of the published tuning sample, by image: ``int(fraction * count)`` of them.

    Danilov et al. 2022, Table 4: 10 % of stage I's 6,810 films are 681, of which 544 train and 137 validate.
    """
    _require_fraction(fraction)
    return sorted(random.Random(seed).sample(range(count), int(fraction * count)))  # noqa: S311


def tuning_patients(
    groups: Sequence[Hashable], strata: Sequence[Hashable], fraction: float, seed: int = PUBLISHED_SEED
) -> list[int]:
    """Return the films of a tuning sample that takes whole patients, every source and finding in its share.

    Parameters
    ----------
    groups, strata
        See ``assign_groups``.
    fraction : float
        Share of the films, e.g. 0.1 or 0.5 as in Danilov et al. 2022, Table 4; in (0, 1].
    seed : int
        Of the order of the patients.

    Returns
    -------
    list of int
        Numbers of the films, ascending.

    Raises
    ------
    PrepareError
        If the fraction is not in (0, 1].
    """
    _require_fraction(fraction)
    parts = assign_groups(groups, strata, (fraction, 1 - fraction), seed)
    return [index for index, part in enumerate(parts) if part == 0]


def subset_counts(splits: Sequence[str]) -> dict[str, int]:
    """Return the number of films in each subset, in the order of ``SUBSETS``."""
    counted = Counter(splits)
    return {subset: counted[subset] for subset in SUBSETS}


def _require_fraction(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise PrepareError(f"a fraction of {fraction:g} cannot be sampled; give one above 0 and up to 1")
