"""The films of a search: a reproducible part of the training and validation films, parted by patient."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from models.checkpoint import Role
from training.data.dataset import DataError, Film


def tuning_films(
    films: Sequence[Film], stage: Role, share: float, validation_share: float, seed: int
) -> list[Film]:
    """Choose the films of a search (Danilov et al. 2022, Table 4: 10 % for stage I, 50 % for stage II).

    Parameters
    ----------
    films : sequence of Film
        All films; test films are never taken, nor those without a label for the stage.
    stage : Role
        ``lungs`` takes films with a lung mask; ``opacity`` films with an opacity mask and normal films.
    share : float
        Share that is taken, in (0, 1]: int(share · films).
    validation_share : float
        Share of these that goes to ``val``, as near as whole patient groups allow.
    seed : int
        Of both choices.

    Returns
    -------
    list of Film
        With their new splits ``train`` and ``val``, by name.

    Raises
    ------
    training.data.dataset.DataError
        If one of the two is empty.
    """
    labelled = sorted(
        (film for film in films if film.split in ("train", "val") and _labelled(film, stage)),
        key=lambda film: film.name,
    )
    chance = random.Random(seed)  # noqa: S311 - no secret
    chosen = chance.sample(labelled, int(share * len(labelled)))
    groups: dict[str, list[Film]] = {}
    for film in chosen:
        groups.setdefault(film.group, []).append(film)
    names = list(groups)
    chance.shuffle(names)
    wanted, learned = int((1 - validation_share) * len(chosen) + 1e-9), set[str]()
    for name in names:
        if len(groups[name]) <= wanted:
            wanted -= len(groups[name])
            learned.add(name)
    result = [replace(film, split="train" if film.group in learned else "val") for film in chosen]
    if {film.split for film in result} != {"train", "val"}:
        raise DataError(
            f"{len(chosen)} films of {len(labelled)} with labels for stage {stage} are too few to part by "
            "patient; raise film_share in the tuning file"
        )
    return sorted(result, key=lambda film: film.name)


def _labelled(film: Film, stage: Role) -> bool:
    return bool(film.lung_masks) if stage is Role.LUNGS else bool(film.opacity_mask or film.normal)
