"""V7 Darwin exports: semantic PNG masks, Darwin JSON, COCO.

The public export of COVID-19 chest films (V7 Labs, 6,504 pictures) marks the lungs, the part behind heart and
diaphragm included; pacemakers and mark-up are of a class ``Ignore``. Its lateral films and CT slices carry no
lung mask: they are left out, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from training.data.film_record import FilmRecord, PrepareError, Problem, Reading, film_name
from training.data.pictures import PICTURE_SUFFIXES, GreyFile, MaskFile, Picture, PictureError
from training.data.polygons import PolygonMask
from training.data.readers.darwin_json import NotUnderstood, Outlines, read_coco, read_darwin_json
from training.data.readers.metadata import BAD_ANNOTATION, NO_PATIENTS, group_of_finding

LUNG, IGNORE, BACKGROUND = 255, 127, 0
"""Values of the semantic masks."""

LATERAL, SLICE, UNMARKED = "lateral film", "CT slice", "no lung is marked"


@dataclass(frozen=True)
class DarwinOptions:
    """How an export is read.

    Parameters
    ----------
    images : pathlib.Path
        Folder of the pictures, searched with its subfolders.
    annotations : pathlib.Path
        A folder of PNG masks, a folder of Darwin JSON files, or one COCO file.
    source : str
        Name of the data set.
    lung_class, ignore_class : str
        Classes' names in JSON.
    keep_ignored : bool
        Keep the ``Ignore`` areas as a mask of their own; they are background of the lungs in any case.
    """

    images: Path
    annotations: Path
    source: str = "darwin"
    lung_class: str = "Lung"
    ignore_class: str = "Ignore"
    keep_ignored: bool = False


def read_darwin(options: DarwinOptions) -> Reading:
    """Read an export.

    Parameters
    ----------
    options : DarwinOptions
        Where it is, and which classes count.

    Returns
    -------
    Reading

    Raises
    ------
    PrepareError
        If there are no pictures, or the annotations are of no known kind.
    """
    images = {
        path.name: path
        for path in sorted(options.images.glob("**/*"))
        if path.suffix.lower() in PICTURE_SUFFIXES and options.annotations not in path.parents
    }
    if not images:
        raise PrepareError(f"no picture in {options.images}; name the folder of the pictures with --images")
    if options.annotations.is_file():
        return _from_outlines(images, *read_coco(options.annotations), options)
    if any(options.annotations.glob("**/*.json")):
        return _from_outlines(images, *read_darwin_json(options.annotations), options)
    masks = {path.stem: path for path in sorted(options.annotations.glob("**/*.png"))}
    if not masks:
        raise PrepareError(
            f"{options.annotations} holds neither PNG masks nor JSON, and is no COCO file; name them with "
            "--annotations"
        )
    return _from_masks(images, masks, options)


def _from_masks(images: Mapping[str, Path], masks: Mapping[str, Path], options: DarwinOptions) -> Reading:
    records, problems, left_out = [], [], Counter[str]()
    waiting = dict(masks)
    for image in images.values():
        path = waiting.pop(image.stem, None)
        if path is None:
            left_out[UNMARKED] += 1
            continue
        mask = MaskFile(path, LUNG, (BACKGROUND, IGNORE))
        try:
            marked = bool(mask.load().any())
        except PictureError as error:
            problems.append(Problem(film_name(options.source, image.stem), error.kind, error.message))
            continue
        if not marked:
            left_out[UNMARKED] += 1
            continue
        ignored = MaskFile(path, IGNORE, (BACKGROUND, LUNG)) if options.keep_ignored else None
        records.append(_record(image, options, mask, ignored))
    problems += [_without_image(options, path.stem, path) for path in waiting.values()]
    return Reading(tuple(records), tuple(problems), left_out, _NOTES)


def _from_outlines(
    images: Mapping[str, Path], outlines: list[Outlines], faults: list[NotUnderstood], options: DarwinOptions
) -> Reading:
    problems = [
        Problem(film_name(options.source, fault.name), BAD_ANNOTATION, fault.message) for fault in faults
    ]
    records, left_out = [], Counter[str]()
    annotated = set()
    for item in outlines:
        image = images.get(Path(item.file_name).name)
        if image is None:
            problems.append(_without_image(options, Path(item.file_name).stem, item.path))
            continue
        annotated.add(image)
        mask: Picture | None = _mask(item, options.lung_class)
        if mask is None:
            left_out[_reason(item)] += 1
            continue
        ignored = _mask(item, options.ignore_class)
        if ignored is not None:
            # Where both classes lie over each other, the mark-up hides the lung.
            mask = LungsWithoutMarkUp(mask, ignored)
        record = _record(image, options, mask, ignored if options.keep_ignored else None)
        records.append(_tagged(record, item))
    left_out["no annotation"] += len(images) - len(annotated)
    return Reading(tuple(records), tuple(problems), +left_out, _NOTES)


@dataclass(frozen=True)
class LungsWithoutMarkUp:
    """A lung mask less the areas of class ``Ignore``.

    Parameters
    ----------
    lungs, ignored : Picture
        Masks of the same size.
    """

    lungs: Picture
    ignored: Picture

    @property
    def where(self) -> str:
        """The annotation's file."""
        return self.lungs.where

    def load(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return uint8 (rows, columns), 0 and 255; see ``Picture.load``."""
        return np.where(self.ignored.load() > 0, np.uint8(0), self.lungs.load())


_NOTES = (NO_PATIENTS,)


def _record(image: Path, options: DarwinOptions, lungs: Picture, ignored: Picture | None) -> FilmRecord:
    name = film_name(options.source, image.stem)
    return FilmRecord(
        name=name,
        source_dataset=options.source,
        patient_group=name,
        image=GreyFile(image),
        lung_mask=lungs,
        ignore_mask=ignored,
        original_filename=image.name,
    )


def _tagged(record: FilmRecord, item: Outlines) -> FilmRecord:
    groups = [group for tag in item.tags if (group := group_of_finding(tag))]
    # COVID-19 films also bear "Viral Pneumonia".
    group = next((name for name in ("covid", "pneumonia", "normal") if name in groups), "unlabelled")
    values = dict(tag.split("/", 1) for tag in item.tags if "/" in tag)
    age, sex = values.get("Age", ""), values.get("Sex", "")[:1].upper()
    return replace(
        record,
        finding="; ".join(tag for tag in item.tags if group_of_finding(tag)),
        finding_group=group,
        age=float(age) if age.isdigit() else None,
        sex=sex if sex in ("F", "M") else "",
    )


def _mask(item: Outlines, class_name: str) -> PolygonMask | None:
    regions, runs = item.regions.get(class_name, ()), item.runs.get(class_name, ())
    return PolygonMask(str(item.path), item.shape, regions, runs) if regions or runs else None


def _reason(item: Outlines) -> str:
    tags = " ".join(item.tags).casefold()
    if "lateral" in tags:
        return LATERAL
    return SLICE if "ct" in tags.split() or "axial" in tags else UNMARKED


def _without_image(options: DarwinOptions, stem: str, path: Path) -> Problem:
    message = f"{path} belongs to no picture in {options.images}; add the picture or remove the annotation"
    return Problem(film_name(options.source, stem), "image is missing", message)
