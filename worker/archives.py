"""Asking archives for our own earlier reports of a patient: in bounded time, never in a score's way."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydicom.dataset import Dataset

from dicom_node.association import RemoteAE
from dicom_node.errors import DicomNodeError
from dicom_node.header import text
from dicom_node.identity import is_own_result
from dicom_node.own_report import read_prior
from dicom_node.prior import PatientIdentity, patient_of
from dicom_node.reading import read_dataset
from worker.destination import PriorSearch
from worker.entry import PatientResult
from worker.errors import MissingInstance

if TYPE_CHECKING:
    from dicom_node.web_session import RemoteWeb
    from worker.history import History
    from worker.priors import Priors
    from worker.spool import Spool

logger = logging.getLogger(__name__)

_SILENT_S = 60.0


@dataclass(frozen=True)
class Archive:
    """An archive, and how it is asked: ``c-get``, ``c-move`` (to our own node), or ``qido`` over the web."""

    remote: RemoteAE | RemoteWeb
    by: PriorSearch


@dataclass
class Archives:
    """Who is asked for earlier results.

    Parameters
    ----------
    archives : Mapping
        By the destination's name.
    calling_ae_title : str
        The node's own; C-MOVE sends there.
    within_s : float
        Seconds that all archives together may take for one radiograph.
    spool : Spool
        Where the node puts what comes by C-MOVE.
    priors, history
        What was asked and told before, and who rests.
    """

    archives: Mapping[str, Archive]
    calling_ae_title: str
    within_s: float
    spool: Spool
    priors: Priors
    history: History
    _silent_until: dict[str, float] = field(default_factory=dict)

    def ask(self, identity: PatientIdentity, patient: str) -> tuple[str, ...]:
        """Fetch a patient's earlier results into the journal; return what could not be asked for, in words.

        Parameters
        ----------
        identity : PatientIdentity
            The patient, as archives know them.
        patient : str
            Their pseudonym.

        Raises
        ------
        StorageError
            When journal or spool cannot be used.
        """
        notes = []
        deadline = time.monotonic() + self.within_s
        for name, archive in self.archives.items():
            if self.priors.asked_lately(patient, name):
                continue
            why = self._why_not(name, deadline)
            if why is None:
                try:
                    found = fetch(archive, self.calling_ae_title, identity, deadline - time.monotonic())
                except DicomNodeError as error:
                    self._silent_until[name] = time.monotonic() + _SILENT_S
                    why = str(error)
                else:
                    self.priors.record(self._results(found, identity, patient, name))
                    self.priors.note_asked(patient, name)
                    continue
            logger.warning("earlier results could not be asked for at %s: %s", name, why)
            notes.append(f"earlier results could not be asked for at {name}: {why}")
        return tuple(notes)

    def _why_not(self, name: str, deadline: float) -> str | None:
        if self.history.rests(name) or time.monotonic() < self._silent_until.get(name, 0.0):
            return "it did not answer a moment ago"
        if time.monotonic() >= deadline:
            return f"the others took all of the {self.within_s:g} s"
        return None

    def _results(
        self, found: tuple[bytes | str, ...], identity: PatientIdentity, patient: str, source: str
    ) -> Iterator[PatientResult]:
        for one in found:
            try:
                encoded = self.spool.read_instance(one) if isinstance(one, str) else one
                dataset = read_dataset(encoded)
            except (DicomNodeError, MissingInstance):
                continue
            if patient_of(dataset) == identity:
                result = read_result(dataset, patient, source)
                if result is not None:
                    yield result


def read_result(dataset: Dataset, patient: str, source: str) -> PatientResult | None:
    """Return what a report of ours says of an earlier radiograph; None for anything else.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance.
    patient : str
        Its patient's pseudonym.
    source : str
        Whom it came from.
    """
    prior = read_prior(dataset) if is_own_result(dataset) else None
    if prior is None:
        return None
    made_at = f"{text(dataset, 'ContentDate')}{text(dataset, 'ContentTime')}"
    return PatientResult(patient, prior, source, made_at[:32])


def fetch(
    archive: Archive, calling_ae_title: str, identity: PatientIdentity, within_s: float
) -> tuple[bytes | str, ...]:
    """Return an archive's reports of a patient: PS3.10 bytes, or the UIDs of those it sent to our node.

    Raises
    ------
    AssociationFailed
        When it cannot be reached or takes too long.
    SearchRefused
        When it does not let us search or fetch.
    """
    from dicom_node.prior_search import find_reports, find_reports_on_web  # noqa: PLC0415 - few need it

    remote = archive.remote
    if not isinstance(remote, RemoteAE):
        return find_reports_on_web(remote, identity, within_s=within_s)
    by: Literal["c-get", "c-move"] = "c-move" if archive.by == "c-move" else "c-get"
    found = find_reports(remote, calling_ae_title, identity, by=by, within_s=within_s)
    return (*found.encoded, *found.moved)
