"""Networking in the conformance statement: implementation model, and the AE that is called."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from dicom_node import commitment_report
from dicom_node.conformance.associations import CONTEXT_HEADS, hexadecimal, names, policies
from dicom_node.conformance.markdown import Section, code, table
from dicom_node.conformance.node import NodeDescription
from dicom_node.connection import MAXIMUM_PDU_BYTES
from dicom_node.storage_classes import STORAGE_SOP_CLASSES
from dicom_node.store_status import StoreStatus
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES, UNCOMPRESSED


def model_section() -> Section:
    """Return what is said of activities, and of the services by which they take place."""
    flow = table(
        ("Real-world activity", "Local AE", "Service"),
        [
            ("A modality or archive sends a radiograph", "NODE", "Storage SCP"),
            (
                "A workstation sends a document on a report, or an archive a report of ours",
                "NODE",
                "Storage SCP",
            ),
            ("Anybody asks whether the node answers", "NODE", "Verification SCP"),
            (
                "An archive reports what it commits itself to",
                "NODE",
                "Storage Commitment SCU (N-EVENT-REPORT)",
            ),
            ("A radiograph has been scored", "SENDER", "Storage SCU, or STOW-RS user agent"),
            ("An archive has taken a result", "SENDER", "Storage Commitment SCU (N-ACTION), or QIDO-RS"),
            (
                "A radiograph is to be scored, whose patient may have earlier reports",
                "SENDER",
                "Query/Retrieve SCU, or QIDO-RS and WADO-RS user agent",
            ),
        ],
    )
    return Section(
        "Implementation model",
        "Two application entities under one AE title: NODE is called, SENDER calls.",
        [
            Section("Application data flow", flow),
            Section(
                "Sequencing",
                "Success is answered to C-STORE once the instance is durable. Scoring, search for earlier "
                "reports, "
                "and delivery follow, each at its own time and each tried again after a transient failure. "
                "Storage commitment is asked for after delivery.",
            ),
        ],
    )


def called_sections(node: NodeDescription) -> list[Section]:
    """Return what is said of NODE."""
    return [
        policies(node, f"{node.maximum_associations}; PDUs up to {MAXIMUM_PDU_BYTES} bytes", "not supported"),
        Section("Association acceptance", _rejections()),
        Section("Presentation contexts accepted", _accepted_contexts()),
        Section("Transfer syntaxes of images", _syntaxes(TRANSFER_SYNTAXES)),
        Section("Transfer syntaxes of documents", _syntaxes(UNCOMPRESSED)),
        Section("Storage SCP", _storage_scp()),
        Section("Storage Commitment, N-EVENT-REPORT", _event_reports()),
    ]


def _rejections() -> str:
    return table(
        ("Rejection (result, source, reason)", "When"),
        [
            ("1, 1, 3: calling AE title not recognised", "the caller is not on the list"),
            ("1, 1, 7: called AE title not recognised", "another title was called, if the settings ask"),
            ("2, 3, 1: temporary congestion", "nothing can be stored at present"),
            ("2, 3, 2: local limit exceeded", "all associations are in use, and none is idle"),
        ],
    )


def _storage_scp() -> str:
    statuses = [
        (hexadecimal(status), status.name.replace("_", " ").lower(), status.meaning) for status in StoreStatus
    ]
    return (
        "Level 2 (full) as to what is kept: the data set stays as received, byte for byte, until it has been "
        "worked on. Elements of groups 0000 and 0002 are refused. What is no frontal chest radiograph is "
        "taken, "
        "and noted as not eligible.\n\n" + table(("Status", "Name", "Meaning"), statuses)
    )


def _event_reports() -> str:
    statuses = [
        (hexadecimal(0x0000), "the result is known to the journal"),
        (hexadecimal(commitment_report.PROCESSING_FAILURE), "it could not be kept; send it again"),
        (hexadecimal(0x0113), "another event type"),
        (hexadecimal(0x0115), "malformed, or no such transaction"),
    ]
    return (
        "Event types 1 and 2 are taken from any association, whichever role was negotiated; at most "
        f"{commitment_report.MAXIMUM_REFERENCES} references.\n\n" + table(("Status", "When"), statuses)
    )


def _accepted_contexts() -> str:
    rows = [(Verification.name, code(Verification), "SCP", names(DEFAULT_TRANSFER_SYNTAXES))]
    rows += [
        (
            sop_class.name,
            code(sop_class),
            "SCP",
            "of images, below" if syntaxes == TRANSFER_SYNTAXES else "of documents, below",
        )
        for sop_class, syntaxes in STORAGE_SOP_CLASSES.items()
    ]
    rows.append(
        (
            StorageCommitmentPushModel.name,
            code(StorageCommitmentPushModel),
            "SCU",
            names(commitment_report.TRANSFER_SYNTAXES),
        )
    )
    return table(CONTEXT_HEADS, rows)


def _syntaxes(syntaxes: Iterable[str]) -> str:
    return table(("Transfer syntax", "UID"), [(UID(syntax).name, code(syntax)) for syntax in syntaxes])
