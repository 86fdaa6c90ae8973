"""Our own earlier reports of a patient, looked for in the archive that keeps them.

By DIMSE (C-FIND, then C-GET or C-MOVE, PS3.4 annex C) or over the web (QIDO-RS, then WADO-RS, PS3.18 10.6
and 10.4). What an archive answers is checked, not believed: it may ignore what it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from dicom_node.association import RemoteAE
from dicom_node.errors import NotEligible, SearchRefused, UndecodableInstance
from dicom_node.identity import SERIES_NUMBERS, is_own_result
from dicom_node.incoming import is_valid_uid
from dicom_node.prior import PatientIdentity, patient_of
from dicom_node.query_retrieve import (
    REPORT_SOP_CLASSES,
    Answer,
    Level,
    Retrieval,
    open_archive,
)
from dicom_node.reading import read_dataset
from dicom_node.web_retrieve import open_web_archive
from dicom_node.web_session import RemoteWeb

__all__ = ["FoundReports", "RemoteAE", "RemoteWeb", "Retrieval", "find_reports", "find_reports_on_web"]

logger = logging.getLogger(__name__)

_Retrieved = TypeVar("_Retrieved")

KEYS: Mapping[Level, dict[str, str]] = {
    # issuer and birth date are not matched: an archive that does not keep them would find nothing
    "STUDY": {
        "PatientID": "",
        "IssuerOfPatientID": "",
        "PatientBirthDate": "",
        "StudyDate": "",
        "StudyInstanceUID": "",
        "ModalitiesInStudy": "SR",
    },
    "SERIES": {
        "StudyInstanceUID": "",
        "SeriesInstanceUID": "",
        "Modality": "SR",
        "SeriesNumber": str(SERIES_NUMBERS["sr"]),
    },
    "IMAGE": {"StudyInstanceUID": "", "SeriesInstanceUID": "", "SOPInstanceUID": "", "SOPClassUID": ""},
}
"""What is asked for at each level, with what is matched; Patient ID and the UIDs above are filled in."""

MAXIMUM_STUDIES = 50
"""Studies of one patient that are looked into, the newest."""

_MAXIMUM_SERIES = 20  # of ours, in one study
_MAXIMUM_CANDIDATES = 100  # instances that are fetched to see whether they are ours
_LONGEST_PATIENT_ID = 64  # characters (LO, PS3.5 6.2)
_WILDCARDS = frozenset("*?\\")  # PS3.4 C.2.2.2


@dataclass(frozen=True)
class FoundReports:
    """What an archive has of our reports, the newest study's first.

    Parameters
    ----------
    encoded : tuple of bytes
        By C-GET: PS3.10 files, each made by this worker and of this very patient.
    moved : tuple of str
        By C-MOVE: SOP Instance UIDs that the archive says it has sent to our node. Whose they are is to be
        checked when they are read there.
    """

    encoded: tuple[bytes, ...] = field(default=(), repr=False)
    moved: tuple[str, ...] = ()


def find_reports(
    remote: RemoteAE,
    calling_ae_title: str,
    patient: PatientIdentity,
    *,
    by: Retrieval,
    most: int = 20,
    within_s: float = 60.0,
) -> FoundReports:
    """Search an archive for our earlier reports of a patient, and fetch them.

    Parameters
    ----------
    remote : RemoteAE
        Whom to ask.
    calling_ae_title : str
        The AE title to call under; for C-MOVE also the one that the archive sends to.
    patient : PatientIdentity
        Whose reports.
    by : str
        ``c-get`` fetches them over the same association, ``c-move`` has them sent to our node.
    most : int
        Reports that are fetched at most.
    within_s : float
        Seconds that all of it may take.

    Returns
    -------
    FoundReports

    Raises
    ------
    AssociationFailed
        If the archive cannot be reached, breaks off or takes too long.
    SearchRefused
        If it does not offer search or retrieval, answers with a failure, or the Patient ID cannot be
        searched for.
    """
    _require_searchable(patient)
    remote = replace(remote, timeout_s=min(remote.timeout_s, within_s))
    with open_archive(remote, calling_ae_title, by, within_s) as archive:
        if by == "c-move":
            return FoundReports(moved=_gather(archive, patient, most, archive.move))

        def fetch(study_uid: str, series_uid: str, uids: Sequence[str]) -> list[bytes]:
            return _ours(archive.get(study_uid, series_uid, uids), patient, remote)

        return FoundReports(encoded=_gather(archive, patient, most, fetch))


def find_reports_on_web(
    remote: RemoteWeb, patient: PatientIdentity, most: int = 20, within_s: float = 60.0
) -> tuple[bytes, ...]:
    """Search a DICOMweb server for our earlier reports of a patient, and fetch them.

    Returns
    -------
    tuple of bytes
        PS3.10 files, each made by this worker and of this very patient, the newest study's first.

    Raises
    ------
    AssociationFailed
        If the server cannot be reached, breaks off, takes too long or does not accept the credentials.
    SearchRefused
        If it does not offer search or retrieval, or the Patient ID cannot be searched for.
    """
    _require_searchable(patient)
    remote = replace(remote, timeout_s=min(remote.timeout_s, within_s))
    with open_web_archive(remote, within_s) as archive:

        def fetch(study_uid: str, series_uid: str, uids: Sequence[str]) -> list[bytes]:
            fetched = {uid: archive.get(study_uid, series_uid, uid) for uid in uids}
            return _ours(fetched, patient, remote)

        return _gather(archive, patient, most, fetch)


class _Searchable(Protocol):
    def find(self, level: Level, keys: Mapping[str, str]) -> list[Answer]: ...


def _require_searchable(patient: PatientIdentity) -> None:
    if _WILDCARDS & set(patient.patient_id) or len(patient.patient_id) > _LONGEST_PATIENT_ID:
        raise SearchRefused(
            "the Patient ID cannot be searched for: it is too long, or holds a character (* ? or backslash) "
            "by which an archive would answer with other patients"
        )


def _gather(
    archive: _Searchable,
    patient: PatientIdentity,
    most: int,
    retrieve: Callable[[str, str, Sequence[str]], Sequence[_Retrieved]],
) -> tuple[_Retrieved, ...]:
    """Retrieve from one series after the other, the newest study's first, until there are enough.

    A series that is refused does not keep the others back.
    """
    gathered: list[_Retrieved] = []
    refusal: SearchRefused | None = None
    looked_at = 0
    for study_uid, series_uid, uids in _locate(archive, patient):
        try:
            gathered += retrieve(study_uid, series_uid, uids[:most])
        except SearchRefused as error:
            refusal = error
        looked_at += len(uids[:most])
        if len(gathered) >= most or looked_at >= _MAXIMUM_CANDIDATES:
            break
    if refusal is not None and not gathered:
        raise refusal
    return tuple(gathered[:most])


def _locate(archive: _Searchable, patient: PatientIdentity) -> Iterator[tuple[str, str, list[str]]]:
    """Yield study, series and instances where our reports of a patient may lie, each instance once."""
    seen: set[str] = set()
    for study_uid in _studies(archive, patient):
        for series_uid in _series(archive, study_uid):
            uids = [uid for uid in _instances(archive, study_uid, series_uid) if uid not in seen]
            seen.update(uids)
            if uids:
                yield study_uid, series_uid, list(dict.fromkeys(uids))


def _studies(archive: _Searchable, patient: PatientIdentity) -> list[str]:
    answers = archive.find("STUDY", KEYS["STUDY"] | {"PatientID": patient.patient_id})
    found = {
        answer["StudyInstanceUID"]: answer["StudyDate"]
        for answer in answers
        if _is_same_id(answer["PatientID"], patient.patient_id)
        and answer["IssuerOfPatientID"] in ("", patient.issuer)
        and answer["PatientBirthDate"] in ("", patient.birth_date)
        and _may_be(answer["ModalitiesInStudy"], "SR")
        and is_valid_uid(answer["StudyInstanceUID"])
    }
    return sorted(found, key=lambda uid: found[uid], reverse=True)[:MAXIMUM_STUDIES]


def _series(archive: _Searchable, study_uid: str) -> list[str]:
    answers = archive.find("SERIES", KEYS["SERIES"] | {"StudyInstanceUID": study_uid})
    return [
        answer["SeriesInstanceUID"]
        for answer in answers
        if _may_be(answer["StudyInstanceUID"], study_uid)
        and _may_be(answer["Modality"], "SR")
        and _may_be(answer["SeriesNumber"], KEYS["SERIES"]["SeriesNumber"])
        and is_valid_uid(answer["SeriesInstanceUID"])
    ][:_MAXIMUM_SERIES]


def _instances(archive: _Searchable, study_uid: str, series_uid: str) -> list[str]:
    above = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    answers = archive.find("IMAGE", KEYS["IMAGE"] | above)
    return [
        answer["SOPInstanceUID"]
        for answer in answers
        if _may_be(answer["StudyInstanceUID"], study_uid)
        and _may_be(answer["SeriesInstanceUID"], series_uid)
        and any(_may_be(answer["SOPClassUID"], sop_class) for sop_class in REPORT_SOP_CLASSES)
        and is_valid_uid(answer["SOPInstanceUID"])
    ]


def _is_same_id(told: str, wanted: str) -> bool:
    """Say whether an answer has the Patient ID; an archive may answer in a repertoire that lacks letters.

    What it gives is looked at again, and there every letter counts.
    """
    if wanted.isascii():
        return told == wanted
    return _plain(told) == _plain(wanted)


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter != "?").strip()


def _may_be(told: str, wanted: str) -> bool:
    """Say whether an answer allows for a value: it has it, perhaps among others, or says nothing of it."""
    return not told or wanted in told.split("\\")


def _ours(
    fetched: Mapping[str, bytes | None], patient: PatientIdentity, remote: RemoteAE | RemoteWeb
) -> list[bytes]:
    return [
        encoded for uid, encoded in fetched.items() if encoded and _is_ours(encoded, uid, patient, remote)
    ]


def _is_ours(encoded: bytes, uid: str, patient: PatientIdentity, remote: RemoteAE | RemoteWeb) -> bool:
    """Say whether what an archive gave is a report of ours, the one asked for, and of this patient."""
    try:
        dataset = read_dataset(encoded)
    except (UndecodableInstance, NotEligible):
        logger.warning("%s gave %s in a form that cannot be read", remote, uid)
        return False
    same = (dataset.SOPInstanceUID, patient_of(dataset)) == (uid, patient)
    if same and dataset.SOPClassUID in REPORT_SOP_CLASSES and is_own_result(dataset):
        return True
    logger.info("%s gave %s, which is no report of ours of this patient", remote, uid)
    return False
