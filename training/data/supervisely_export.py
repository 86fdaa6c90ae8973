"""Write films as a Supervisely project, so that an annotator can correct their masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from training.data.film_record import FilmRecord, PrepareError
from training.data.pictures import Picture, PictureError
from training.data.readers.metadata import INACCURATE
from training.data.readers.supervisely import NORMAL, SuperviselyOptions
from training.data.readers.supervisely_bitmap import encode_bitmap

COLOURS = {"lung": "#00FFFF", "opacity": "#FF0000"}


def write_supervisely(records: Sequence[FilmRecord], out: Path, options: SuperviselyOptions) -> None:
    """Write a project with one data set per source; read again, its films have their names.

    Parameters
    ----------
    records : sequence of FilmRecord
        The films.
    out : pathlib.Path
        A folder that does not exist yet.
    options : SuperviselyOptions
        Names of the classes; read with the same ones, the project gives the same masks.

    Raises
    ------
    PrepareError
        If the folder exists, or a film or mask cannot be read.
    """
    if out.exists():
        raise PrepareError(f"{out} exists; name a folder that does not")
    out.mkdir(parents=True)
    meta = {
        "classes": [
            {"title": options.lung_class, "shape": "bitmap", "color": COLOURS["lung"]},
            {"title": options.opacity_class, "shape": "bitmap", "color": COLOURS["opacity"]},
        ],
        "tags": [
            {"name": name, "value_type": "none" if name == NORMAL else "any_string", "color": "#888888"}
            for name in (NORMAL, "Score R", "Score D", "Poor quality", "Inaccurate labelling")
        ],
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    for record in records:
        folder = out / record.source
        for part in ("img", "ann"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        try:
            pixels = record.image.load()
            objects = [
                *_objects(record.lung_mask, options.lung_class),
                *_objects(record.opacity_mask, options.opacity_class),
            ]
        except PictureError as error:
            raise PrepareError(f"{record.name}: {error.message}") from error
        file = f"{record.name.removeprefix(record.source + '_')}.png"
        Image.fromarray(pixels).save(folder / "img" / file)
        content = {
            "description": "",
            "tags": _tags(record),
            "size": {"height": pixels.shape[0], "width": pixels.shape[1]},
            "objects": objects,
        }
        (folder / "ann" / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")


def _objects(picture: Picture | None, class_name: str) -> list[dict[str, object]]:
    mask = None if picture is None else picture.load() > 0
    if mask is None or not mask.any():
        return []
    data, origin = encode_bitmap(mask)
    bitmap = {"data": data, "origin": list(origin)}
    return [{"classTitle": class_name, "geometryType": "bitmap", "bitmap": bitmap, "tags": []}]


def _tags(record: FilmRecord) -> list[dict[str, str | None]]:
    scores = record.readers
    given: list[tuple[str, str | None]] = [(NORMAL, None)] if record.finding_group == "normal" else []
    given += [
        (name, f"{score:g}")
        for name, score in (("Score R", scores.r), ("Score D", scores.d))
        if score is not None
    ]
    if scores.poor_quality:
        given.append(("Poor quality", "Yes"))
    if INACCURATE in record.tags:
        given.append(("Inaccurate labelling", "Yes"))
    return [{"name": name, "value": value} for name, value in given]
