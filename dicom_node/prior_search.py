"""Our own earlier reports of a patient, looked for in the archive that keeps them.

By DIMSE (C-FIND, then C-GET or C-MOVE, PS3.4 annex C) or over the web (QIDO-RS, then WADO-RS, PS3.18 10.6
and 10.4). What an archive answers is checked, not believed: it may ignore what it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dicom_node.association import RemoteAE
from dicom_node.prior import PatientIdentity
from dicom_node.web_session import RemoteWeb

Retrieval = Literal["c-get", "c-move"]


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
    raise NotImplementedError


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
    raise NotImplementedError
