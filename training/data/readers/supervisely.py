"""Supervisely projects, the format in which Danilov et al. 2022 kept their data sets.

    project/meta.json
    project/DATASET/img/NAME.png
    project/DATASET/ann/NAME.png.json   (or NAME.json)

An annotation holds ``size``, ``tags`` and ``objects``; an object is a bitmap or a polygon with a class.
Objects of one class are joined: a pixel that lies in any of them is inside.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.film_record import FilmRecord, PrepareError, Problem, ReaderScores, Reading, film_name
from training.data.pictures import INSIDE, OUTSIDE, PICTURE_SUFFIXES, GreyFile, Picture, PictureError
from training.data.polygons import fill
from training.data.readers.metadata import BAD_ANNOTATION, INACCURATE, NO_PATIENTS, group_of_finding, truth
from training.data.readers.supervisely_bitmap import decode_bitmap, opened

NORMAL = "Normal"
FAULTS = (AttributeError, KeyError, TypeError, ValueError)
"""What a file of another form makes Python raise."""
UNMARKED = "no object of a wanted class, and not tagged Normal"


@dataclass(frozen=True)
class SuperviselyOptions:
    """How a project is read.

    Parameters
    ----------
    lung_class, opacity_class : str
        Classes of the lungs and of the opacity.
    clean_up : bool
        Open every bitmap as the published code does on loading.
    """

    lung_class: str = "Lungs"
    opacity_class: str = "COVID-19"
    clean_up: bool = False


@dataclass(frozen=True)
class Annotation:
    """One ``ann`` file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    shape : tuple of int
        (rows, columns) of the film.
    tags : tuple of (str, str)
        Names and values, in the file's order; value ``""`` where there is none.
    objects : tuple of dict
        As in the file.
    """

    path: Path
    shape: tuple[int, int]
    tags: tuple[tuple[str, str], ...]
    objects: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def classes(self) -> frozenset[str]:
        """Classes of the objects."""
        return frozenset(str(item["classTitle"]) for item in self.objects)


@dataclass(frozen=True)
class SuperviselyMask:
    """The objects of one class of an annotation; none for an empty mask.

    Parameters
    ----------
    path : pathlib.Path
        The ``ann`` file.
    class_name : str or None
        The class; None for an empty mask.
    clean_up : bool
        See ``SuperviselyOptions``.
    """

    path: Path
    class_name: str | None
    clean_up: bool = False

    @property
    def where(self) -> str:
        """The ``ann`` file."""
        return str(self.path)

    def load(self) -> NDArray[np.uint8]:
        """Return uint8 (rows, columns), 0 and 255; see ``Picture.load``."""
        try:
            annotation = read_annotation(self.path)
            inside = np.zeros(annotation.shape, bool)
            for item in annotation.objects:
                if item["classTitle"] == self.class_name:
                    _paint(inside, item, self.clean_up)
        except FAULTS as error:
            raise PictureError(BAD_ANNOTATION, f"{self.path}: {_said(error)}") from error
        return np.where(inside, np.uint8(INSIDE), np.uint8(OUTSIDE))


def read_annotation(path: Path) -> Annotation:
    """Read an ``ann`` file.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError
        If it is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if not isinstance(content, dict):
        raise TypeError("the file holds no JSON object")
    shape = (int(content["size"]["height"]), int(content["size"]["width"]))
    tags = tuple((str(tag["name"]), _text(tag.get("value"))) for tag in content.get("tags", []))
    objects = tuple(content.get("objects", []))
    for item in objects:
        if not isinstance(item["classTitle"], str):
            raise TypeError("classTitle is no text")
    return Annotation(path, shape, tags, objects)


def read_supervisely(project: Path, options: SuperviselyOptions) -> Reading:
    """Read a project.

    A film whose first tag is ``Normal`` has an empty opacity mask. A film without an object of a wanted class
    is left out, and counted, unless it is tagged so.

    Parameters
    ----------
    project : pathlib.Path
        The project's folder; its data sets are the folders in it that hold ``ann``.
    options : SuperviselyOptions
        Classes and clean-up.

    Returns
    -------
    Reading

    Raises
    ------
    PrepareError
        If the folder holds no data set.
    """
    datasets = [path.parent for path in project.glob("**/ann") if path.is_dir()]
    if not datasets:
        raise PrepareError(f"{project} is no Supervisely project: no folder in it holds img and ann")
    records: list[FilmRecord] = []
    problems: list[Problem] = []
    left_out: Counter[str] = Counter()
    contradicted = 0
    for dataset in sorted(datasets, key=lambda path: str(path).casefold()):
        pictures, faults = _pairs(dataset)
        problems += faults
        for image, path in pictures:
            try:
                annotation = read_annotation(path)
                record = _record(dataset.name, image, annotation, options)
            except FAULTS as error:
                name = film_name(dataset.name, image.stem)
                problems.append(Problem(name, BAD_ANNOTATION, f"{path}: {_said(error)}"))
                continue
            if record is None:
                left_out[UNMARKED] += 1
                continue
            contradicted += record.finding == NORMAL and options.opacity_class in annotation.classes
            records.append(record)
    notes = [NO_PATIENTS]
    if contradicted:
        notes.append(f"{contradicted} film(s) tagged {NORMAL} have objects of class {options.opacity_class}")
    return Reading(tuple(records), tuple(problems), left_out, tuple(notes))


def _pairs(dataset: Path) -> tuple[list[tuple[Path, Path]], list[Problem]]:
    images = sorted(path for path in dataset.glob("img/*") if path.suffix.lower() in PICTURE_SUFFIXES)
    annotations = {path.name.removesuffix(".json"): path for path in sorted(dataset.glob("ann/*.json"))}
    pairs, problems = [], []
    for image in images:
        path = annotations.pop(image.name, None) or annotations.pop(image.stem, None)
        if path is None:
            message = f"{image} has no annotation in {dataset / 'ann'}; export it again or remove the picture"
            problems.append(Problem(film_name(dataset.name, image.stem), "annotation is missing", message))
        else:
            pairs.append((image, path))
    for name, path in annotations.items():
        message = (
            f"{path} belongs to no picture in {dataset / 'img'}; export it again or remove the annotation"
        )
        problems.append(Problem(film_name(dataset.name, Path(name).stem), "image is missing", message))
    return pairs, problems


def _record(
    dataset: str, image: Path, annotation: Annotation, options: SuperviselyOptions
) -> FilmRecord | None:
    tags = dict(reversed(annotation.tags))
    normal = bool(annotation.tags) and annotation.tags[0][0] == NORMAL
    has_lungs = options.lung_class in annotation.classes
    has_opacity = options.opacity_class in annotation.classes
    if not (normal or has_lungs or has_opacity):
        return None
    opacity: Picture | None = None
    if normal or has_opacity:
        wanted = None if normal else options.opacity_class
        opacity = SuperviselyMask(annotation.path, wanted, options.clean_up)
    lungs = SuperviselyMask(annotation.path, options.lung_class, options.clean_up) if has_lungs else None
    poor = [_flag(tags, name) for name in ("Poor quality R", "Poor quality D", "Poor quality")]
    finding = NORMAL if normal else (options.opacity_class if has_opacity else "")
    name = film_name(dataset, image.stem)
    return FilmRecord(
        name=name,
        source_dataset=dataset,
        patient_group=name,
        image=GreyFile(image),
        lung_mask=lungs,
        opacity_mask=opacity,
        finding=finding,
        finding_group=group_of_finding(finding) or "unlabelled",
        readers=ReaderScores(_score(tags, "Score R"), _score(tags, "Score D"), any(poor)),
        tags=(INACCURATE,) if _flag(tags, "Inaccurate labelling") else (),
        original_filename=image.name,
    )


def _paint(inside: NDArray[np.bool_], item: dict[str, Any], clean_up: bool) -> None:
    if "bitmap" in item:
        mask = decode_bitmap(str(item["bitmap"]["data"]))
        left, top = (int(value) for value in item["bitmap"]["origin"])
        bottom, right = top + mask.shape[0], left + mask.shape[1]
        if left < 0 or top < 0 or bottom > inside.shape[0] or right > inside.shape[1]:
            raise ValueError(f"an object reaches beyond the film: {left},{top} to {right},{bottom}")
        inside[top:bottom, left:right] |= opened(mask) if clean_up else mask
    elif "points" in item:
        # Corners are whole pixel numbers, so the outline runs through pixel centres.
        rings = [item["points"]["exterior"], *item["points"].get("interior", [])]
        inside |= fill([tuple((x + 0.5, y + 0.5) for x, y in ring) for ring in rings], inside.shape)
    else:
        raise ValueError(f"an object of class {item['classTitle']} is neither bitmap nor polygon")


def _score(tags: dict[str, str], name: str) -> float | None:
    if not tags.get(name):
        return None
    try:
        return float(tags[name])
    except ValueError:
        raise ValueError(f"the tag {name} is {tags[name]!r}, which is no number") from None


def _flag(tags: dict[str, str], name: str) -> bool:
    return name in tags and (not tags[name] or truth(tags[name], name))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
