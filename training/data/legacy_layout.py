"""Write the layout of the published generator: ``OUT/SUBSET/DATASET/{img,mask}/NAME`` and ``metadata.csv``.

Danilov et al. 2022, public code (its generator of inference data). ``training.data.readers.folders`` reads it
back with ``--masks-show opacity``. The published pictures have their colour planes exchanged; these are grey.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.zones import Lungs, NoLungs, clean, separate
from training.data.crop_modes import crops
from training.data.film_record import FilmRecord, PrepareError
from training.data.pictures import PictureError
from training.data.readers.metadata import INACCURATE

COLUMNS = (
    *("dataset", "filename", "Inaccurate labelling", "Score R", "Score D", "Poor quality D"),
    *("Poor quality R", "ann_found", "subset", "label", "Normal"),
)

NO_OPACITY, NO_LUNGS = "without an opacity mask: left out", "without two lungs: left out"
WRITTEN = "film(s) written"

LungFinder = Callable[[FilmRecord, NDArray[np.uint8]], Lungs | NoLungs]


def write_layout(
    records: Sequence[FilmRecord], out: Path, crop: str = "none", weights: Path | None = None
) -> Counter[str]:
    """Write films with their opacity masks; a film that is called normal has an empty one.

    Parameters
    ----------
    records : sequence of FilmRecord
        The films.
    out : pathlib.Path
        A folder that does not exist yet.
    crop : str
        One of ``training.data.crop_modes.CROP_MODES``.
    weights : pathlib.Path or None
        Checkpoint folder of stage I, which finds the lungs, as for the published networks; None for drawn
        masks.

    Returns
    -------
    collections.Counter
        How many films were written, and left out for which reason.

    Raises
    ------
    PrepareError
        If the folder exists, the weights cannot be used, or a picture cannot be read.
    """
    if out.exists():
        raise PrepareError(f"{out} exists; name a folder that does not")
    finder = _drawn_lungs if weights is None else _lungs_found_by(weights)
    counts: Counter[str] = Counter()
    rows = []
    out.mkdir(parents=True)
    for record in records:
        if record.opacity_mask is None and record.finding_group != "normal":
            counts[NO_OPACITY] += 1
            continue
        try:
            found = _write(record, out, crop, finder)
        except PictureError as error:
            raise PrepareError(f"{record.name}: {error.message}") from error
        counts[WRITTEN if found else NO_LUNGS] += 1
        rows += found
    with (out / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return counts


def _write(record: FilmRecord, out: Path, mode: str, finder: LungFinder) -> list[dict[str, str]]:
    pixels = record.image.load()
    opacity = np.zeros(pixels.shape, bool) if record.opacity_mask is None else record.opacity_mask.load() > 0
    nothing = np.zeros(pixels.shape, bool)
    lungs = Lungs(nothing, nothing) if mode == "none" else finder(record, pixels)
    if isinstance(lungs, NoLungs):
        return []
    dataset = (record.source_dataset or record.source).replace("/", "-")
    rows = []
    for piece in crops(pixels, opacity, lungs, mode):
        # Two films may have had one name in different sources; ours are unique.
        filename = "_".join(filter(None, (record.name, piece.name))) + ".png"
        for part, picture in (("img", piece.pixels), ("mask", np.where(piece.opacity, 255, 0))):
            folder = out / (record.split or "all") / dataset / part
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(folder / filename)
        rows.append(_row(record, dataset, filename))
    return rows


def _row(record: FilmRecord, dataset: str, filename: str) -> dict[str, str]:
    scores = record.readers
    normal = record.finding_group == "normal"
    values = (
        dataset,
        filename,
        _yes(INACCURATE in record.tags),
        *("" if score is None else f"{score:g}" for score in (scores.r, scores.d)),
        # The table does not say which reader flagged the film; the published filter takes either.
        _yes(bool(scores.poor_quality)),
        _yes(bool(scores.poor_quality)),
        _yes(record.opacity_mask is not None),
        record.split,
        "Normal" if normal else (record.finding or record.finding_group),
        _yes(normal),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _yes(value: bool) -> str:
    return "Yes" if value else "No"


def _drawn_lungs(record: FilmRecord, pixels: NDArray[np.uint8]) -> Lungs | NoLungs:
    mask = np.zeros(pixels.shape, bool) if record.lung_mask is None else record.lung_mask.load() > 0
    return separate(clean(mask))


def _lungs_found_by(weights: Path) -> LungFinder:
    import torch  # noqa: PLC0415 - takes seconds to import

    from models.checkpoint import Role, load_checkpoint  # noqa: PLC0415
    from models.errors import CheckpointError  # noqa: PLC0415
    from models.lungs import find_lungs  # noqa: PLC0415
    from models.segmenter import Segmenter, TorchForward  # noqa: PLC0415

    try:
        network, spec = load_checkpoint(weights, Role.LUNGS)
    except CheckpointError as error:
        raise PrepareError(str(error)) from error
    segmenter = Segmenter(spec, TorchForward(network, torch.device("cpu")))

    def find(_: FilmRecord, pixels: NDArray[np.uint8]) -> Lungs | NoLungs:
        return find_lungs(segmenter, pixels.astype(np.float32) / np.float32(255)).lungs

    return find
