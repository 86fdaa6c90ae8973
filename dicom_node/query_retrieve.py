"""An archive asked by DIMSE: C-FIND, C-GET and C-MOVE in the Study Root model (PS3.4 annex C), as an SCU.

Study Root, because every archive that can be searched offers it; Patient Root is optional in IHE's
profiles, and answers no question that this model leaves open. Searches are hierarchical, as the baseline
behaviour has it (PS3.4 C.4.1.2.2.1), and what is fetched is taken in uncompressed transfer syntaxes only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, cast

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)
from pynetdicom.status import STATUS_SUCCESS, STATUS_WARNING, code_to_category

from dicom_node.association import CallBudget, RemoteAE, open_association
from dicom_node.errors import AssociationFailed, SearchRefused
from dicom_node.header import texts

# pynetdicom would describe every question and every answer in its log
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False

Level = Literal["STUDY", "SERIES", "IMAGE"]
Retrieval = Literal["c-get", "c-move"]
Answer = Mapping[str, str]

FIND = StudyRootQueryRetrieveInformationModelFind
RETRIEVALS: Mapping[Retrieval, UID] = {
    "c-get": StudyRootQueryRetrieveInformationModelGet,
    "c-move": StudyRootQueryRetrieveInformationModelMove,
}
"""Models by which instances are fetched."""

REPORT_SOP_CLASSES: tuple[UID, ...] = (ComprehensiveSRStorage, Comprehensive3DSRStorage, EnhancedSRStorage)
"""What our reports are, and so what C-GET may bring."""

TRANSFER_SYNTAXES: tuple[UID, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What is proposed: not the deflated one, in which little can decode to much."""

MAXIMUM_ANSWERS = 1000
"""Answers to one question that are listened to."""
MAXIMUM_REPORT_BYTES = 4 * 1024 * 1024
"""Largest report that is taken; ours have some 40 kB."""

_MAXIMUM_FIND_BYTES = 1024 * 1024
_COMMANDS_BYTES = 256 * 1024  # answers that say how far a retrieval has got
_MOVE_DESTINATION_UNKNOWN = 0xA801
_NOT_ASKED_FOR, _TOO_LARGE = 0xA900, 0xA700  # answers to C-STORE (PS3.4 B.2.3)
_PENDING = (0xFF00, 0xFF01)


@contextmanager
def open_archive(
    remote: RemoteAE, calling_ae_title: str, by: Retrieval, within_s: float
) -> Iterator[QueryRetrieve]:
    """Call an archive to search it and to fetch from it.

    Raises
    ------
    AssociationFailed
        If there is no association, or it breaks.
    SearchRefused
        If it offers no search, or not the retrieval that is wanted.
    """
    budget = CallBudget(within_s)
    fetched = _Fetched()
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, fetched.take)]
    # C-GET brings instances back over the same association, on which we are their SCP (PS3.4 C.5.3.1)
    brought = REPORT_SOP_CLASSES if by == "c-get" else ()
    roles = [build_role(sop_class, scp_role=True) for sop_class in brought]
    contexts = [build_context(model, list(TRANSFER_SYNTAXES)) for model in (FIND, RETRIEVALS[by], *brought)]
    with open_association(
        remote, calling_ae_title, contexts, handlers, roles=roles, budget=budget
    ) as association:
        archive = QueryRetrieve(association, remote, calling_ae_title, budget, fetched)
        archive.require(FIND, "search (C-FIND, Study Root)")
        archive.require(RETRIEVALS[by], f"retrieval by {by.upper()} (Study Root)")
        yield archive


class QueryRetrieve:
    """One association with an archive, and the three questions that it is asked."""

    def __init__(
        self,
        association: Association,
        remote: RemoteAE,
        calling_ae_title: str,
        budget: CallBudget,
        fetched: _Fetched,
    ) -> None:
        self._association = association
        self._remote = remote
        self._calling_ae_title = calling_ae_title
        self._budget = budget
        self._fetched = fetched
        self._numbers = itertools.count(1)

    def require(self, model: UID, what: str) -> None:
        """Raise ``SearchRefused`` unless the archive has accepted a model."""
        if all(context.abstract_syntax != model for context in self._association.accepted_contexts):
            raise SearchRefused(f"{self._remote} does not offer {what}: switch it on there, or off here")

    def find(self, level: Level, keys: Mapping[str, str]) -> list[Answer]:
        """Ask one question (C-FIND).

        Parameters
        ----------
        level : str
            Query/Retrieve Level (0008,0052).
        keys : mapping of str to str
            Values to match by keyword; ``""`` asks for the value.

        Returns
        -------
        list of mapping
            For each answer the values of the same keywords as text, several parted by a backslash, ``""``
            where it has none. What matches is the archive's opinion.
        """
        self._budget.allow(_MAXIMUM_FIND_BYTES)
        answers: list[Answer] = []
        code: int | None = None
        heard = 0
        for status, found in self._ask("C-FIND", FIND, _identifier(level, keys)):
            code = status.get("Status")
            if code not in _PENDING:
                continue
            heard += 1
            if heard > MAXIMUM_ANSWERS:
                self._association.abort()
                raise SearchRefused(
                    f"{self._remote} answers with more than {MAXIMUM_ANSWERS} matches at {level} level: it "
                    "does not go by what it is asked for"
                )
            if found is not None:
                answers.append({keyword: "\\".join(texts(found, keyword)) for keyword in keys})
        self._judge("C-FIND", code)
        return answers

    def get(self, study_uid: str, series_uid: str, uids: Sequence[str]) -> Mapping[str, bytes]:
        """Fetch instances of a series (C-GET).

        Returns
        -------
        mapping of str to bytes
            PS3.10 files by SOP Instance UID, as the archive sent them; without those that did not come.
        """
        self._budget.allow(len(uids) * MAXIMUM_REPORT_BYTES + _COMMANDS_BYTES)
        self._fetched.expect(uids)
        code: int | None = None
        for status, _ in self._ask("C-GET", RETRIEVALS["c-get"], _references(study_uid, series_uid, uids)):
            code = status.get("Status")
        self._judge("C-GET", code)
        return self._fetched.files

    def move(self, study_uid: str, series_uid: str, uids: Sequence[str]) -> tuple[str, ...]:
        """Have instances of a series sent to the AE that we call as (C-MOVE).

        Returns
        -------
        tuple of str
            The UIDs of those that the archive says it has sent.
        """
        self._budget.allow(_COMMANDS_BYTES)
        end, failed = Dataset(), None
        for status, identifier in self._ask(
            "C-MOVE", RETRIEVALS["c-move"], _references(study_uid, series_uid, uids)
        ):
            end, failed = status, identifier
        self._judge("C-MOVE", end.get("Status"))
        missing = texts(failed, "FailedSOPInstanceUIDList") if failed is not None else ()
        sent = tuple(uid for uid in uids if uid not in missing)
        told = [end.get(f"NumberOf{kind}Suboperations") for kind in ("Completed", "Warning")]
        # which of several were sent, an answer leaves open whose number is another
        return sent if told == [None, None] or sum(filter(None, told)) == len(sent) else ()

    def _ask(self, service: str, model: UID, identifier: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
        association, number = self._association, next(self._numbers)
        try:
            if model == FIND:
                yield from association.send_c_find(identifier, model, number)
            elif model == RETRIEVALS["c-get"]:
                yield from association.send_c_get(identifier, model, number)
            else:
                yield from association.send_c_move(identifier, self._calling_ae_title, model, number)
        except RuntimeError:
            # the archive broke off between two questions
            raise self._broken_off(service) from None

    def _judge(self, service: str, code: int | None) -> None:
        """Raise what an end other than success or a warning amounts to."""
        if code is None or code in _PENDING:
            raise self._broken_off(service)
        if code_to_category(code) in (STATUS_SUCCESS, STATUS_WARNING):
            return
        # the archive's own comment is dropped: some quote names and patient identifiers
        hint = "ask for its log of this call"
        if code == _MOVE_DESTINATION_UNKNOWN:
            hint = f"let it know {self._calling_ae_title} as a destination, with host and port of our node"
        raise SearchRefused(f"{self._remote} refused {service} with 0x{code:04X}: {hint}", code)

    def _broken_off(self, service: str) -> AssociationFailed:
        how = self._budget.exceeded or f"broke off or gave no answer to {service}"
        return AssociationFailed(f"{self._remote} {how}: see its log of this call")


class _Fetched:
    """What C-GET brings: handles the C-STORE requests that come back over the association."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._expected: frozenset[str] = frozenset()

    def expect(self, uids: Iterable[str]) -> None:
        """Wait for these instances, and no others, from now on."""
        self.files = {}
        self._expected = frozenset(uids)

    def take(self, event: evt.Event) -> int:
        """Handle one."""
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        if uid not in self._expected or uid in self.files:
            return _NOT_ASKED_FOR
        encoded = event.encoded_dataset()
        if len(encoded) > MAXIMUM_REPORT_BYTES:
            return _TOO_LARGE
        self.files[uid] = encoded
        return 0x0000


def _identifier(level: Level, keys: Mapping[str, str]) -> Dataset:
    identifier = Dataset()
    if not "".join(keys.values()).isascii():
        identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _references(study_uid: str, series_uid: str, uids: Sequence[str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = study_uid, series_uid
    identifier.SOPInstanceUID = list(uids)
    return identifier
