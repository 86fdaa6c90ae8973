"""Outlines in Darwin JSON (versions 1 and 2) and COCO files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from training.data.film_record import PrepareError
from training.data.polygons import Region, Ring


@dataclass(frozen=True)
class Outlines:
    """What is marked on one film.

    Parameters
    ----------
    path : pathlib.Path
        The annotation's file.
    file_name : str
        The film's.
    shape : tuple of int
        (rows, columns) of the film that was annotated.
    regions : dict of str to tuple of Region
        By class.
    runs : dict of str to tuple of tuple of int
        COCO run lengths by class.
    tags : tuple of str
        Tags of the whole film.
    """

    path: Path
    file_name: str
    shape: tuple[int, int]
    regions: dict[str, tuple[Region, ...]] = field(repr=False)
    runs: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()


class NotUnderstood(NamedTuple):
    """An annotation that is of no use: the film's name without its ending, and why."""

    name: str
    message: str


_FAULTS = (KeyError, TypeError, ValueError, IndexError, AttributeError)


def read_darwin_json(folder: Path) -> tuple[list[Outlines], list[NotUnderstood]]:
    """Read every JSON file below a folder as the annotation of one film.

    Parameters
    ----------
    folder : pathlib.Path
        Searched with its subfolders.

    Returns
    -------
    tuple of list
        What could be read, and what could not.
    """
    outlines, faults = [], []
    for path in sorted(folder.glob("**/*.json")):
        try:
            outlines.append(_darwin(path, json.loads(path.read_text(encoding="utf-8"))))
        except _FAULTS as error:
            faults.append(NotUnderstood(path.stem, f"{path}: {_said(error)}; export it again"))
    return outlines, faults


def read_coco(path: Path) -> tuple[list[Outlines], list[NotUnderstood]]:
    """Read a COCO file: polygons, and run lengths in their uncompressed form.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    tuple of list
        Films as they are listed, and annotations that could not be read.

    Raises
    ------
    PrepareError
        If it is no COCO file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        classes = {item["id"]: str(item["name"]) for item in content["categories"]}
        films = {
            item["id"]: Outlines(
                path, str(item["file_name"]), (int(item["height"]), int(item["width"])), regions={}
            )
            for item in content["images"]
        }
        annotations = list(content["annotations"])
    except (OSError, *_FAULTS) as error:
        raise PrepareError(f"{path} is no COCO file: {_said(error)}") from error
    faults, spoilt = [], set()
    for item in annotations:
        try:
            film, name = films[item["image_id"]], classes[item["category_id"]]
            _add_coco(film, name, item["segmentation"])
        except _FAULTS as error:
            number = item.get("image_id") if isinstance(item, dict) else None
            spoilt.add(number)
            stem = Path(films[number].file_name).stem if number in films else path.stem
            faults.append(NotUnderstood(stem, f"{path}, annotation {item.get('id', '?')}: {_said(error)}"))
    return [film for number, film in films.items() if number not in spoilt], faults


def _darwin(path: Path, content: dict[str, Any]) -> Outlines:
    if "item" in content:
        item = content["item"]
        slot = item["slots"][0]
        name, shape = str(item["name"]), (int(slot["height"]), int(slot["width"]))
    else:
        image = content["image"]
        name = str(image.get("original_filename") or image["filename"])
        shape = (int(image["height"]), int(image["width"]))
    regions: dict[str, tuple[Region, ...]] = {}
    tags = []
    for annotation in content["annotations"]:
        region = _region(annotation)
        if region is None:
            if "tag" in annotation:
                tags.append(str(annotation["name"]))
            continue
        regions[annotation["name"]] = (*regions.get(annotation["name"], ()), region)
    return Outlines(path, name, shape, regions, tags=tuple(tags))


def _region(annotation: dict[str, Any]) -> Region | None:
    for key, many in (("polygon", "paths"), ("polygon", "path"), ("complex_polygon", "path")):
        paths = annotation.get(key, {}).get(many)
        if paths:
            rings = paths if isinstance(paths[0], list) else [paths]
            return tuple(_ring(ring, lambda point: (float(point["x"]), float(point["y"]))) for ring in rings)
    return None


def _ring(points: list[Any], corner: Callable[[Any], tuple[float, float]]) -> Ring:
    if len(points) < 3:
        raise ValueError(f"an outline of {len(points)} corners encloses nothing")
    return tuple(corner(point) for point in points)


def _add_coco(film: Outlines, name: str, segmentation: Any) -> None:
    if isinstance(segmentation, dict):
        if not isinstance(segmentation["counts"], list):
            raise ValueError(  # noqa: TRY004 - the type is one that COCO allows
                "compressed run lengths are not read; export polygons or PNG masks"
            )
        runs = tuple(int(count) for count in segmentation["counts"])
        film.runs[name] = (*film.runs.get(name, ()), runs)
        return
    # Each list is a polygon of its own: COCO has no holes but in run lengths.
    regions = tuple(
        (_ring(list(zip(flat[::2], flat[1::2], strict=True)), lambda p: (float(p[0]), float(p[1]))),)
        for flat in segmentation
    )
    film.regions[name] = (*film.regions.get(name, ()), *regions)


def _said(error: BaseException) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
