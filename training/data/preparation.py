"""From film records to a data folder: check, group, split, write. Nothing is left out in silence."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from training.data.film_checks import Checked, check_films, check_table, summary
from training.data.film_record import FilmRecord, PrepareError, Problem, Reading
from training.data.manifest import manifest_row, write_rows
from training.data.near_duplicates import NEAR_BITS, join_groups, near_films
from training.data.pictures import GreyFile
from training.data.split import RATIOS, cross_validation_folds, image_split, patient_split

FOLDERS = {
    "file": "images",
    "mask_file": "masks",
    "mask_alt_file": "masks_alt",
    "disease_mask_file": "disease",
    "consolidation_mask_file": "consolidation",
    "ignore_mask_file": "ignore",
}
LEFT_OUT = "left_out.csv"
SPLITS = ("keep", "patient", "image")


@dataclass(frozen=True)
class Preparation:
    """What to do with films on the way into a data folder.

    Parameters
    ----------
    split : str
        ``keep`` the subsets that the source states, divide by ``patient``, or by ``image`` as was published.
    ratios : tuple of float
        Shares of train, val and test.
    seed : int
        Of the split and the folds.
    folds : int
        Number of folds for cross-validation over the films outside the test set; 0 for none.
    near_bits : int
        Films whose hashes differ in at most so many bits become one group; -1 turns this off.
    require : tuple of str
        What every film must have; see ``training.data.film_checks.REQUIREMENTS``.
    longest_side : int
        Larger films are reduced to this many pixels by area averaging; 0 keeps every size.
    jpeg_quality : int
        0 writes PNG.
    skip_bad : bool
        Leave out films at fault, and list them, instead of refusing all.
    """

    split: str = "keep"
    ratios: tuple[float, ...] = RATIOS
    seed: int = 1
    folds: int = 0
    near_bits: int = NEAR_BITS
    require: tuple[str, ...] = ()
    longest_side: int = 0
    jpeg_quality: int = 0
    skip_bad: bool = False


@dataclass(frozen=True)
class Prepared:
    """What became of a source.

    Parameters
    ----------
    records : tuple of FilmRecord
        The films that stand in the table, with subset and joined group.
    problems : tuple of Problem
        Those that the left-out films had.
    joined : int
        Pairs of films that are one radiograph.
    """

    records: tuple[FilmRecord, ...]
    problems: tuple[Problem, ...]
    joined: int


def prepare(reading: Reading, out: Path, settings: Preparation, progress: bool = False) -> Prepared:
    """Check films and write them as a data folder.

    Parameters
    ----------
    reading : Reading
        From one of ``training.data.readers``, or ``training.data.manifest.read_data_folder``.
    out : pathlib.Path
        A folder that does not exist yet. It appears when it is complete.
    settings : Preparation
        What to do.
    progress : bool
        Show progress bars.

    Returns
    -------
    Prepared

    Raises
    ------
    PrepareError
        If the folder exists, anything is wrong with the films and ``skip_bad`` is not set, or none is left.
    """
    if out.exists():
        raise PrepareError(f"{out} exists; name a folder that does not, or remove it")
    found = arrange(reading, settings, progress)
    if found.problems and not settings.skip_bad:
        raise PrepareError("\n".join(refusal(found.problems, len(reading.records))))
    if not found.records:
        raise PrepareError("\n".join(["no film is left", *summary(found.problems)]))
    folds = _folds(found.records, settings)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for folder in {FOLDERS[column] for record in found.records for column in ("file", *record.masks)}:
        (part / folder).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        written = pool.map(partial(_write, folder=part, settings=settings), found.records)
        rows = list(track(written, "writing", total=len(found.records), disable=not progress))
    write_rows([{**row, **fold} for row, fold in zip(rows, folds, strict=True)], part / "manifest.csv")
    if found.problems:
        write_left_out(found.problems, part / LEFT_OUT)
    part.rename(out)
    return found


def arrange(reading: Reading, settings: Preparation, progress: bool = False) -> Prepared:
    """Check films, join groups, assign subsets; films at fault are not among the records.

    Raises
    ------
    PrepareError
        If the split cannot be made.
    """
    checked = check_films(reading.records, settings.require, progress)
    problems = [*reading.problems, *checked.problems]
    faulty = {problem.name for problem in problems}
    sound = [record for record in reading.records if record.name not in faulty]
    sound, repeated = _without_repeats(sound)
    problems += repeated
    grouped, joined = _joined(sound, checked, settings.near_bits)
    divided = _divided(grouped, settings)
    if settings.split != "image":  # which parts patients on purpose, and says so
        crossing = check_table(divided)
        problems += crossing
        faulty = {problem.name for problem in crossing}
        divided = [record for record in divided if record.name not in faulty]
    return Prepared(tuple(divided), tuple(problems), joined)


def refusal(problems: Sequence[Problem], films: int) -> list[str]:
    """Return the lines that say why nothing was written, and what to do."""
    at_fault = len({problem.name or problem.message for problem in problems})
    return [
        f"{len(problems)} problem(s) with {at_fault} of {films + sum(not p.name for p in problems)} film(s); "
        "nothing was written",
        *summary(problems),
        f"correct them, or leave these films out with --skip-bad, which lists them in {LEFT_OUT}",
    ]


def write_left_out(problems: Sequence[Problem], path: Path) -> None:
    """Write one line per problem: film, kind, message."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "kind", "message"])
        writer.writerows([problem.name, problem.kind, problem.message] for problem in problems)


def strata(records: Sequence[FilmRecord]) -> list[tuple[object, ...]]:
    """Return what should be in every subset in its share: source, finding, and which masks there are."""
    return [
        (record.source, record.finding_group, record.lung_mask is None, record.opacity_mask is None)
        for record in records
    ]


def _without_repeats(records: Sequence[FilmRecord]) -> tuple[list[FilmRecord], list[Problem]]:
    problems = [problem for problem in check_table(records) if problem.kind == "name more than once"]
    seen: Counter[str] = Counter()
    kept = []
    for record in records:
        seen[record.name.casefold()] += 1
        if seen[record.name.casefold()] == 1:
            kept.append(record)
    return kept, problems


def _joined(records: list[FilmRecord], checked: Checked, near_bits: int) -> tuple[list[FilmRecord], int]:
    if near_bits < 0 or not records:
        return records, 0
    pairs = near_films(checked.hashes, [record.name for record in records], near_bits)
    groups = join_groups([record.patient_group for record in records], pairs)
    return [
        record if record.patient_group == group else replace(record, patient_group=group)
        for record, group in zip(records, groups, strict=True)
    ], len(pairs)


def _divided(records: list[FilmRecord], settings: Preparation) -> list[FilmRecord]:
    if not records:
        return records
    if settings.split == "keep":
        without = [record.name for record in records if not record.split]
        if without:
            raise PrepareError(
                f"{len(without)} film(s) have no subset, e.g. {without[0]}; divide them with --split patient"
            )
        return records
    if settings.split == "patient":
        groups = [record.patient_group for record in records]
        splits = patient_split(groups, strata(records), settings.ratios, settings.seed)
    else:
        names = [record.original_filename or record.name for record in records]
        sources = [record.source_dataset for record in records]
        splits = image_split(names, sources, settings.ratios, settings.seed)
    return [replace(record, split=split) for record, split in zip(records, splits, strict=True)]


def _folds(records: Sequence[FilmRecord], settings: Preparation) -> list[dict[str, str]]:
    if not settings.folds:
        return [{} for _ in records]
    inside = [record for record in records if record.split != "test"]
    groups = [record.patient_group for record in inside]
    folds = cross_validation_folds(groups, strata(inside), settings.folds, settings.seed)
    by_name = {record.name: str(fold) for record, fold in zip(inside, folds, strict=True)}
    return [{"fold": by_name.get(record.name, "")} for record in records]


def _write(record: FilmRecord, folder: Path, settings: Preparation) -> dict[str, str]:
    pixels = record.image.load()
    original = pixels.shape
    shape = _reduced_shape((original[0], original[1]), settings.longest_side)
    suffix = ".jpg" if settings.jpeg_quality else ".png"
    unchanged = shape == original and not settings.jpeg_quality
    if unchanged and isinstance(record.image, GreyFile) and record.image.plain():
        suffix = record.image.path.suffix.lower()
        path = folder / FOLDERS["file"] / f"{record.name}{suffix}"
        shutil.copyfile(record.image.path, path)
    else:
        path = folder / FOLDERS["file"] / f"{record.name}{suffix}"
        # Pillow writes PNG without looking at the quality.
        Image.fromarray(resized(pixels, shape)).save(path, optimize=True, quality=settings.jpeg_quality)
    files = {
        "file": str(path.relative_to(folder).as_posix()),
        "width": str(shape[1]),
        "height": str(shape[0]),
        "orig_width": record.further.get("orig_width") or str(original[1]),
        "orig_height": record.further.get("orig_height") or str(original[0]),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    for column, picture in record.masks.items():
        mask = resized(picture.load(), shape)
        target = folder / FOLDERS[column] / f"{record.name}.png"
        Image.fromarray(mask > 127).convert("L").save(target, optimize=True)
        files[column] = str(target.relative_to(folder).as_posix())
    scale = shape[1] / original[1], shape[0] / original[0]
    boxes = tuple(
        (box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]) for box in record.boxes
    )
    return manifest_row(replace(record, boxes=boxes), files)


def resized(pixels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image reduced by area averaging to ``shape`` (rows, columns), uint8."""
    if pixels.shape == shape:
        return pixels
    return np.asarray(cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _reduced_shape(shape: tuple[int, int], longest_side: int) -> tuple[int, int]:
    scale = longest_side / max(shape)
    if not longest_side or scale >= 1:
        return shape
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
