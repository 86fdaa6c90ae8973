"""Is a table of films fit to train on? Every fault is collected; none stops the search for the others."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from training.data.dataset import ZONE_COLUMNS
from training.data.film_record import SUBSETS, FilmRecord, Problem
from training.data.near_duplicates import perceptual_hash
from training.data.pictures import Picture, PictureError

LEAST_SIDE_PX = 64
"""Shortest side of an image that is taken; the networks' own inputs are several times larger."""

REQUIREMENTS = ("lung-mask", "opacity-mask", "patient")
SHOWN_PER_KIND = 3


@dataclass(frozen=True)
class Checked:
    """What looking at every film brought.

    Parameters
    ----------
    problems : tuple of Problem
        All of them, in the films' order.
    shapes : dict of str to tuple of int
        (rows, columns) of every image that could be read, by the film's name.
    hashes : dict of str to numpy.ndarray
        Perceptual hashes, likewise; see ``training.data.near_duplicates``.
    """

    problems: tuple[Problem, ...]
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    hashes: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def check_films(
    records: Sequence[FilmRecord], require: Sequence[str] = (), progress: bool = False
) -> Checked:
    """Decode every film and mask and look for faults.

    Parameters
    ----------
    records : sequence of FilmRecord
        The films.
    require : sequence of str
        Of ``REQUIREMENTS``: what every film must have.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Checked
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = pool.map(partial(_look, require=require), records)
        seen = list(track(looks, "looking at films", total=len(records), disable=not progress))
    problems = [problem for look, _, _ in seen for problem in look]
    shapes = {
        record.name: shape for record, (_, shape, _) in zip(records, seen, strict=True) if shape is not None
    }
    hashes = {
        record.name: value for record, (_, _, value) in zip(records, seen, strict=True) if value is not None
    }
    return Checked(tuple(problems), shapes, hashes)


def check_table(records: Sequence[FilmRecord]) -> list[Problem]:
    """Look for faults between films: a name twice, one patient in two subsets.

    Of a name that occurs twice the later film is at fault. Of a patient in several subsets the films outside
    the most protected one are (test before val before train), so that leaving out the films at fault never
    takes a film from the test set.
    """
    problems = []
    for record in _repeated(records):
        message = f"{record.name} occurs more than once ({record.image.where}); rename or remove one"
        problems.append(Problem(record.name, "name more than once", message))
    subsets: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.split:
            subsets[record.patient_group].add(record.split)
    for record in records:
        held = subsets[record.patient_group]
        if len(held) > 1 and record.split and record.split != max(held, key=_protection):
            message = (
                f"{record.name}: patient {record.patient_group} is in {' and '.join(sorted(held))}; "
                "one patient belongs to one subset: split again by patient (--split patient)"
            )
            problems.append(Problem(record.name, "the same patient in two subsets", message))
    return problems


def summary(problems: Iterable[Problem]) -> list[str]:
    """Return lines that say how often each fault occurs, with the first few of each."""
    by_kind: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.kind].append(problem)
    lines = []
    for kind, found in by_kind.items():
        lines.append(f"{len(found)} x {kind}")
        lines += [f"    {problem.message}" for problem in found[:SHOWN_PER_KIND]]
        if len(found) > SHOWN_PER_KIND:
            lines.append(f"    … and {len(found) - SHOWN_PER_KIND} more")
    return lines


def _protection(subset: str) -> int:
    return SUBSETS.index(subset) if subset in SUBSETS else -1


def _repeated(records: Sequence[FilmRecord]) -> list[FilmRecord]:
    seen: Counter[str] = Counter()
    repeated = []
    for record in records:
        # Two names that differ in case alone would be one file on some file systems.
        seen[record.name.casefold()] += 1
        if seen[record.name.casefold()] > 1:
            repeated.append(record)
    return repeated


Look = tuple[list[Problem], tuple[int, int] | None, NDArray[np.uint8] | None]


def _look(record: FilmRecord, require: Sequence[str]) -> Look:
    problems = [Problem(record.name, kind, f"{record.name}: {text}") for kind, text in _values(record)]
    problems += [
        Problem(record.name, kind, f"{record.name}: {text}") for kind, text in _lacks(record, require)
    ]
    pixels, fault = _loaded(record.name, record.image)
    if pixels is None:
        return [*problems, *fault], None, None
    shape = (pixels.shape[0], pixels.shape[1])
    if min(shape) < LEAST_SIDE_PX:
        message = (
            f"{record.image.where} has {shape[1]} x {shape[0]} pixels, at least {LEAST_SIDE_PX} are needed"
        )
        problems.append(Problem(record.name, "image too small", message))
    if np.ptp(pixels) == 0:
        problems.append(
            Problem(record.name, "image without content", f"{record.image.where} has one grey only")
        )
    for column, picture in record.masks.items():
        problems += _check_mask(record, column, picture, shape)
    for left, top, right, bottom in record.boxes:
        if not (0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]):
            message = (
                f"{record.name}: box {left:g},{top:g},{right:g},{bottom:g} on {shape[1]} x {shape[0]} pixels"
            )
            problems.append(Problem(record.name, "box outside the image", message))
    return problems, shape, perceptual_hash(pixels)


def _check_mask(record: FilmRecord, column: str, picture: Picture, shape: tuple[int, int]) -> list[Problem]:
    mask, fault = _loaded(record.name, picture)
    if mask is None:
        return fault
    if mask.shape != shape:
        message = (
            f"{picture.where} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {shape[1]} x "
            f"{shape[0]}; export both at the same size"
        )
        return [Problem(record.name, "mask of another size", message)]
    if column in ("mask_file", "mask_alt_file") and not mask.any():
        message = f"{picture.where} marks no lung; draw it or leave the mask out"
        return [Problem(record.name, "empty lung mask", message)]
    if column == "disease_mask_file" and mask.any() and record.finding_group == "normal":
        message = f"{picture.where} marks opacity on a film that is called normal; correct one of them"
        return [Problem(record.name, "opacity on a normal film", message)]
    return []


def _loaded(name: str, picture: Picture) -> tuple[NDArray[np.uint8] | None, list[Problem]]:
    try:
        return picture.load(), []
    except PictureError as error:
        return None, [Problem(name, error.kind, error.message)]


def _lacks(record: FilmRecord, require: Sequence[str]) -> Iterable[tuple[str, str]]:
    if "lung-mask" in require and record.lung_mask is None:
        yield "lung mask is missing", "there is no lung mask; draw one or do without --require lung-mask"
    if "opacity-mask" in require and record.opacity_mask is None:
        yield (
            "opacity mask is missing",
            "there is no opacity mask; draw one or do without --require opacity-mask",
        )
    if "patient" in require and record.patient_group == record.name:
        yield "patient is not known", "no patient is known; name it in the table that --metadata names"


def _values(record: FilmRecord) -> Iterable[tuple[str, str]]:
    if not record.name or "/" in record.name or "\\" in record.name or record.name.startswith("."):
        yield "name that cannot be used", "a name needs letters, and no slash"
    if not record.patient_group:
        yield "no patient group", "write the patient's number, or a number of its own for each film"
    if record.split not in ("", *SUBSETS):
        yield "unknown subset", f"split is {record.split!r}; write train, val or test"
    if record.sex not in ("", "F", "M"):
        yield "unknown sex", f"sex is {record.sex!r}; write F, M or nothing"
    if record.age is not None and not 0 <= record.age <= 120:
        yield "implausible age", f"age is {record.age:g} years"
    yield from _score_values(record)


def _score_values(record: FilmRecord) -> Iterable[tuple[str, str]]:
    scores = record.readers
    for reader, score in (("R", scores.r), ("D", scores.d), ("consensus", scores.stated)):
        if score is not None and not (0 <= score <= 6):
            yield "score out of range", f"reader score {reader} is {score:g}; it goes from 0 to 6"
    if scores.stated is not None and not math.isclose(scores.stated, scores.consensus or 0.0):
        yield "consensus contradicts readers", f"consensus {scores.stated:g} is not the readers' mean"
    for column, text in record.further.items():
        if column.startswith("brixia_") and text and not _brixia_fits(column, text):
            yield "score out of range", f"{column} is {text!r}; a zone goes from 0 to 3, the sum to 18"
        if column in ZONE_COLUMNS and text not in ("", "0", "1"):
            yield "score out of range", f"{column} is {text!r}; write 1 for an involved zone, 0, or nothing"


def _brixia_fits(column: str, text: str) -> bool:
    most = 18 if column.endswith("global") else 3
    return text.replace(".", "", 1).isdigit() and float(text) <= most
