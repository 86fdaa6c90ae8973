"""Cross-validation over training and validation films, by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from sklearn.model_selection import StratifiedGroupKFold

from training.data.dataset import DataError, Film


@dataclass(frozen=True)
class Fold:
    """One part of several.

    Parameters
    ----------
    number : int
        From 1.
    count : int
        Of parts, 2 or more.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2/3``: the second of three; ``ValueError`` if it is nothing of the kind."""
        number, count = (int(part) for part in text.split("/"))
        if count < 2 or not 1 <= number <= count:
            raise ValueError(f"{text!r} is no fold; write 1/3, 2/3 or 3/3 for three folds")
        return cls(number, count)


def fold_numbers(films: Sequence[Film], count: int) -> list[int]:
    """Divide films into folds of much the same sources and labels; no patient is in two of them.

    Parameters
    ----------
    films : sequence of Film
        In the manifest's order, on which the folds depend.
    count : int
        Of folds.

    Returns
    -------
    list of int
        Number of each film's fold, from 1.

    Raises
    ------
    training.data.dataset.DataError
        If there are fewer patients than folds.
    """
    groups = [film.group for film in films]
    if len(set(groups)) < count:
        raise DataError(f"{count} folds need as many patients; the films are of {len(set(groups))}")
    strata = [f"{film.source}{film.opacity_mask is not None}{film.consensus is not None}" for film in films]
    # No fold holds a film of a class with fewer films than folds twice; scikit-learn warns of that.
    rare = {stratum for stratum in strata if strata.count(stratum) < count}
    strata = ["rare" if stratum in rare else stratum for stratum in strata]
    numbers = [0] * len(films)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    for number, (_, members) in enumerate(splitter.split(strata, strata, groups), 1):
        for index in members:
            numbers[index] = number
    return numbers


def with_fold(films: Sequence[Film], fold: Fold) -> list[Film]:
    """Make one fold of the training and validation films the validation films, and the others training films.

    Test films stay what they are.
    """
    seen = [film for film in films if film.split in ("train", "val")]
    numbers = dict(zip((film.name for film in seen), fold_numbers(seen, fold.count), strict=True))
    return [
        replace(film, split="val" if numbers[film.name] == fold.number else "train")
        if film.name in numbers
        else film
        for film in films
    ]
