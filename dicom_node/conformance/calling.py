"""Networking in the conformance statement: the application entity that calls, and the web services called."""

from __future__ import annotations

from pynetdicom import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from dicom_node import commitment_report, query_retrieve
from dicom_node.conformance.associations import CONTEXT_HEADS, hexadecimal, names, policies
from dicom_node.conformance.markdown import Section, code, table
from dicom_node.conformance.node import NodeDescription
from dicom_node.prior_search import KEYS, MAXIMUM_STUDIES
from dicom_node.storage_scu import StoreOutcome
from dicom_node.web_search import ABOUT_THE_CALL

_SENT_SYNTAX = "as the object is encoded (Explicit VR Little Endian), and Implicit VR Little Endian"
_STATUSES_OF_PEERS = (
    0x0000, 0x0001, 0x0107, 0x0110, 0x0111, 0x0116, 0x0117, 0x0122, 0x0124, 0x0213,
    0xA700, 0xA900, 0xB000, 0xB006, 0xB007, 0xC000,
)  # fmt: skip


def calling_sections(node: NodeDescription) -> list[Section]:
    """Return what is said of SENDER."""
    return [
        policies(node, "one for each delivery or search under way; PDUs of any size", "not supported"),
        Section("Presentation contexts proposed", _proposed_contexts(node)),
        Section("Storage SCU", _storage_scu()),
        Section(
            "Storage Commitment SCU",
            "For destinations that ask for it. N-ACTION of type 1 for what was sent; the answer is taken "
            "on the "
            "same association for a short time, then at NODE. Success and warnings: the answer is waited "
            "for. "
            "0x0110, 0x0213, silence: asked again later. Other failures, or no such service: a person has to "
            "look. An instance that the archive does not commit itself to is sent again.",
        ),
        Section(
            "Query/Retrieve SCU",
            _query_retrieve(),
            [
                Section("Search keys", _search_keys()),
                Section("Statuses", _query_statuses()),
            ],
        ),
    ]


def _proposed_contexts(node: NodeDescription) -> str:
    syntaxes = names(query_retrieve.TRANSFER_SYNTAXES)
    used = node.sent_sop_classes
    rows = [
        (
            sop_class.name,
            code(sop_class),
            "SCU",
            f"{_SENT_SYNTAX}{'' if sop_class in used else ' (not in this configuration)'}",
        )
        for sop_class in node.possible_sop_classes
    ]
    rows += [
        (Verification.name, code(Verification), "SCU", names(DEFAULT_TRANSFER_SYNTAXES)),
        (
            StorageCommitmentPushModel.name,
            code(StorageCommitmentPushModel),
            "SCU",
            names(commitment_report.TRANSFER_SYNTAXES),
        ),
        (query_retrieve.FIND.name, code(query_retrieve.FIND), "SCU", syntaxes),
        *((model.name, code(model), "SCU", syntaxes) for model in query_retrieve.RETRIEVALS.values()),
        *(
            (sop_class.name, code(sop_class), "SCP, with C-GET only", syntaxes)
            for sop_class in query_retrieve.REPORT_SOP_CLASSES
        ),
    ]
    return table(CONTEXT_HEADS, rows)


def _storage_scu() -> str:
    rows = []
    for status in _STATUSES_OF_PEERS:
        outcome = StoreOutcome("", status)
        if outcome.succeeded:
            what = "delivered, with a remark" if outcome.warning else "delivered"
        else:
            what = (
                "sent again later, unchanged"
                if outcome.transient
                else "failed, until a person sends it again"
            )
        rows.append((hexadecimal(status), what))
    rows.append(("none, or association lost", "sent again later, unchanged"))
    return (
        "Objects are sent as they are kept. Where a peer accepts an object's SOP class in Implicit VR Little "
        "Endian only, it is rewritten in that. 0x0111 counts as delivered: UIDs here are derived from "
        "content.\n\n"
        + table(("Status of the peer", "What follows"), rows)
        + "\n\nOther 0xA7xx: as 0xA700. Other 0xBxxx: as 0xB000. Any other failure: as 0xC000."
    )


def _query_retrieve() -> str:
    return (
        "For destinations that ask for it. Study Root, hierarchical: STUDY, SERIES, IMAGE; no relational "
        "queries, "
        "no extended negotiation. Then C-GET or C-MOVE at IMAGE level, to the sender's own AE title. "
        "Answers are "
        "checked, not believed: other patients, series and UIDs are passed over, and only reports whose "
        "patient, "
        "issuer and birth date are exactly the radiograph's are used. A Patient ID that holds `*`, `?` or a "
        f"backslash is not searched for. At most {query_retrieve.MAXIMUM_ANSWERS} answers to a question, the "
        f"{MAXIMUM_STUDIES} newest studies, {query_retrieve.MAXIMUM_REPORT_BYTES >> 20} MiB a report."
    )


def _search_keys() -> str:
    filled = {
        "STUDY": {"PatientID"},
        "SERIES": {"StudyInstanceUID"},
        "IMAGE": {"StudyInstanceUID", "SeriesInstanceUID"},
    }
    return table(
        ("Level", "Attribute", "Matching"),
        [
            (
                level,
                keyword,
                "single value" if keyword in filled[level] else code(value) if value else "universal",
            )
            for level, keys in KEYS.items()
            for keyword, value in keys.items()
        ],
    )


def _query_statuses() -> str:
    return table(
        ("Status", "What follows"),
        [
            ("0xFF00, 0xFF01", "the answer is looked at; more may come"),
            ("0x0000", "the answers, or instances, are complete"),
            ("0xBxxx", "as 0x0000; of C-MOVE, the Failed SOP Instance UID List counts as not sent"),
            (
                "0xA7xx, 0x0110, 0x0213",
                "the result is told without earlier reports of this archive; transient",
            ),
            ("0xA801", "as other failures; the log says that the archive must know the node as destination"),
            ("other, or association lost", "the result is told without earlier reports of this archive"),
        ],
    )


def web_sections() -> list[Section]:
    """Return what is said of the web services that are called."""
    media = 'multipart/related; type="application/dicom"'
    return [
        Section(
            "Store (STOW-RS), user agent",
            f"`POST {{base}}/studies`, {code(media)}, one instance a request, byte for byte; answers in "
            "`application/dicom+json`. A server's reason is a C-STORE status, treated as above. HTTP 400, "
            "409, 413 "
            "and the like without one: failed; 415: failed (0xC122); 500: sent again later. Where an "
            "answer leaves "
            "open what became of the instance, it is searched for.",
        ),
        Section(
            "Search (QIDO-RS), user agent",
            "`GET {base}/studies`, `/studies/{study}/series`, `/studies/{study}/series/{series}/instances` "
            "with the "
            "keys of Query/Retrieve, `includefield` and `limit`; to look for an instance sent, `GET "
            "{base}/instances`. "
            "Answers in `application/dicom+json`.",
        ),
        Section(
            "Retrieve (WADO-RS), user agent",
            "`GET {base}/studies/{study}/series/{series}/instances/{instance}`, "
            f"{code(media + '; transfer-syntax=*')}.",
        ),
        Section(
            "Statuses that concern the call",
            table(
                ("HTTP status", "The server ..."),
                [(str(http_status), why) for http_status, why in ABOUT_THE_CALL.items()]
                + [
                    ("3xx", "points elsewhere; redirects are not followed"),
                    ("5xx but 500", "cannot answer at present"),
                ],
            )
            + "\n\nResults wait until a person has mended what it is, or it has passed.",
        ),
    ]
