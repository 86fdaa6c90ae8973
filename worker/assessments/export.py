"""Readers' assessments as a data folder that ``training`` reads: pictures without headers, and labels.

Nothing in the table names a patient: patients and films bear keyed hashes that only this installation can
make, there is no date and no UID, and a PNG has no header. Letters burned into the pixels stay: films whose
header says that they hold such (Burned In Annotation) are left out unless asked for, but many headers say
nothing, so look at the pictures before they leave the house.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dicom_node.errors import DicomNodeError
from dicom_node.header import text
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.prior import PatientIdentity, patient_of
from models.result import ZONE_ORDER
from worker.assessments.agreement import Judgement, Scores
from worker.errors import MissingInstance, WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.pixels import Radiograph
    from worker.spool import Spool

_BRIXIA_MAX = 18
_BRIXIA = tuple(f"brixia_S_{zone}" for zone in "ABCDEF")
_ZONES = tuple(f"zone_{side}_{level}" for side, level in ZONE_ORDER)
COLUMNS = (
    *("id", "file", "mask_file", "mask_alt_file", "disease_mask_file", "opacity_boxes", "source_dataset"),
    *("patient_group", "view", "sex", "finding_group", *_BRIXIA, "brixia_S_global"),
    *(*(f"brixia_J_{zone}" for zone in "ABCDEF"), "brixia_J_global", "split", "quality_flags"),
    *("reader_consensus", "reader_poor_quality", "reader_published_filename", *_ZONES),
    *("reader_verdict", "reader_verified", "model_score", "model_digest"),
)
"""Of ``manifest.csv``, see training/README.md; the last four tell where the label comes from."""

_NAME_CHARACTERS = 16
_SOURCE = "reader"


class UnusableFolder(WorkerError):
    """The export cannot be written there."""


@dataclass(frozen=True)
class Exported:
    """What became of the radiographs that readers assessed.

    Parameters
    ----------
    films : int
        Written, with a label.
    left_out : Mapping of str to int
        The others, by reason.
    """

    films: int
    left_out: Mapping[str, int] = field(default_factory=dict)


def export_assessments(
    found: Iterable[Judgement],
    folder: Path,
    spool: Spool,
    pseudonym: Callable[[PatientIdentity], str],
    *,
    burned_in: bool = False,
) -> Exported:
    """Write one picture and one row for each radiograph on which a reader has given a value.

    Parameters
    ----------
    found : Iterable of Judgement
        From ``worker.assessments.agreement.judgements``; those that do not count are passed over.
    folder : pathlib.Path
        Empty, or to be made: it gets ``manifest.csv`` and ``images``.
    spool : Spool
        Where the radiographs are, as long as they are kept.
    pseudonym : callable
        From ``worker.priors.Priors``.
    burned_in : bool
        Also films whose header says that letters are burned into the pixels.

    Returns
    -------
    Exported

    Raises
    ------
    UnusableFolder
        When it is not empty or cannot be written.
    StorageError
        When the spool cannot be read.
    """
    left_out: Counter[str] = Counter()
    rows: dict[object, dict[str, object]] = {}
    try:
        images = _prepare(folder)
        with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            for judgement in found:
                if not judgement.counts:
                    continue
                taken = _take(judgement, spool, burned_in)
                if isinstance(taken, str):
                    left_out[taken] += 1
                    continue
                row = _row(judgement, taken, pseudonym)
                (images / f"{row['id']}.png").write_bytes(_picture(taken))
                # Of a film that two algorithms scored, both schemes' labels stand in one row.
                rows[row["id"]] = row | rows.get(row["id"], {})
            writer.writerows(rows.values())
    except OSError as error:
        raise UnusableFolder(
            f"{folder} cannot be written to ({error.strerror}): check folder, rights and free space"
        ) from None
    return Exported(len(rows), left_out)


def _prepare(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnusableFolder(f"{folder} is not an empty folder: name a new one, or empty it")
    images = folder / "images"
    images.mkdir(parents=True)
    return images


def _take(judgement: Judgement, spool: Spool, burned_in: bool) -> Radiograph | str:
    """Return the radiograph, or why it is left out."""
    if judgement.reader is None:
        return "no value to learn from (rejected, or no score to accept)"
    try:
        dataset = read_dataset(spool.read_instance(judgement.noted.sop_instance_uid))
        if not burned_in and text(dataset, "BurnedInAnnotation").upper() == "YES":
            return "letters burned into the pixels (--burned-in takes them too)"
        return read_radiograph(dataset)
    except MissingInstance:
        return "the film's file is no longer kept (setting keep_delivered_s)"
    except DicomNodeError:
        return "the film cannot be read"


def _picture(radiograph: Radiograph) -> bytes:
    """Encode what the scorer saw in 8 bits, as ``training`` does with DICOM objects."""
    grey = np.rint(np.clip(radiograph.pixels, 0, 1) * 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", grey)[1].tobytes())


def _row(
    judgement: Judgement, radiograph: Radiograph, pseudonym: Callable[[PatientIdentity], str]
) -> dict[str, object]:
    dataset, told = radiograph.dataset, judgement.noted.assessment
    film = pseudonym(PatientIdentity(judgement.noted.sop_instance_uid, "film", ""))[:_NAME_CHARACTERS]
    patient = patient_of(dataset)
    group = film if patient is None else pseudonym(patient)[:_NAME_CHARACTERS]
    sex, view = text(dataset, "PatientSex").upper(), radiograph.view_position.upper()
    row: dict[str, object] = {
        "id": f"{_SOURCE}_{film}",
        "file": f"images/{_SOURCE}_{film}.png",
        "source_dataset": "readers of this worker's reports",
        "patient_group": f"{_SOURCE}-{group}",
        "view": view if view in ("PA", "AP") else "",
        "sex": sex if sex in ("F", "M") else "",
        "finding_group": "unlabelled",
        "reader_verdict": str(told.verdict),
        "reader_verified": "yes" if told.verified else "no",
    }
    if judgement.model is not None:
        row |= {"model_score": judgement.model.scores.score, "model_digest": judgement.model.digest}
    return row if judgement.reader is None else row | _labels(judgement.reader)


def _labels(reader: Scores) -> dict[str, object]:
    brixia = reader.score_max == _BRIXIA_MAX
    names, total = (_BRIXIA, "brixia_S_global") if brixia else (_ZONES, "reader_consensus")
    labels: dict[str, object] = dict(zip(names, reader.zones, strict=True))
    labels[total] = reader.score
    return {name: "" if value is None else value for name, value in labels.items()}
