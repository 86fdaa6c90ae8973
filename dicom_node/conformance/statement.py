"""The statement as a whole: overview, introduction, configuration, character sets, security."""

from __future__ import annotations

from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from dicom_node import codes
from dicom_node.conformance.called import called_sections, model_section
from dicom_node.conformance.calling import calling_sections, web_sections
from dicom_node.conformance.markdown import Section, bullets, code, contents, render, table, yes_no
from dicom_node.conformance.node import NodeDescription
from dicom_node.conformance.objects import object_sections
from dicom_node.identity import MANUFACTURER, RESEARCH_LABEL
from dicom_node.query_retrieve import FIND, RETRIEVALS
from dicom_node.storage_classes import STORAGE_SOP_CLASSES
from dicom_node.tls import CIPHER_SUITES, MINIMUM_VERSION

_ROLES = ("SOP class", "UID", "SCU", "SCP")


def conformance_statement(node: NodeDescription) -> str:
    """Return the conformance statement of a configuration as Markdown; it never holds a secret.

    Parameters
    ----------
    node : NodeDescription
        What is running.

    Returns
    -------
    str
        The same text for the same configuration and version.
    """
    sections = [
        _overview(node),
        _introduction(),
        model_section(),
        Section("Application entity NODE (called)", "", called_sections(node)),
        Section("Application entity SENDER (calling)", "", calling_sections(node)),
        Section("Web services", "", web_sections()),
        _configuration(node),
        Section(
            "Media interchange",
            "No media storage application profile is supported. The command `cxr-worker score` reads "
            "PS3.10 files "
            "from a folder and writes results as PS3.10 files; it makes and reads no DICOMDIR.",
        ),
        _character_sets(),
        _security(node),
        *object_sections(node),
    ]
    title = f"# DICOM Conformance Statement: {MANUFACTURER} {node.version}"
    cover = table(
        ("", ""),
        [
            ("Manufacturer and product", MANUFACTURER),
            ("Version", node.version),
            ("Intended use", RESEARCH_LABEL),
            (
                "Describes",
                f"the configuration of {code(node.ae_title)}, as printed by `cxr-worker conformance`",
            ),
        ],
    )
    return "\n\n".join([title, cover, "## Contents", contents(sections), render(sections)]) + "\n"


def _overview(node: NodeDescription) -> Section:
    asked = {destination.priors for destination in node.destinations}
    web = any(destination.web for destination in node.destinations)
    web_services = [
        ("Studies Service, Store (STOW-RS)", _role(True, web), "no"),
        ("Studies Service, Search (QIDO-RS)", _role(True, web), "no"),
        ("Studies Service, Retrieve (WADO-RS)", _role(True, "qido" in asked), "no"),
    ]
    return Section(
        "Overview",
        f"{MANUFACTURER} receives chest radiographs by C-STORE, measures opacity of the lungs, and sends its "
        "result to archives: a Structured Report, a Secondary Capture and, where a destination wants them, a "
        "Presentation State, a Segmentation and a second Secondary Capture that explains the score. "
        "It may ask an archive for its own earlier reports of the same patient, and it takes in readers' "
        "assessments of its reports. *Able* means that settings switch it on; this configuration does not.",
        [
            Section("Content and transfer", _transfer(node)),
            Section("Other network services", _services(node)),
            Section("Web services (PS3.18)", table(("Service", "User agent", "Origin server"), web_services)),
            Section("Media", "None."),
        ],
    )


def _transfer(node: NodeDescription) -> str:
    sent, possible = node.sent_sop_classes, node.possible_sop_classes
    rows = [
        (uid.name, code(uid), _role(uid in possible, uid in sent), yes_no(uid in STORAGE_SOP_CLASSES))
        for uid in dict.fromkeys((*STORAGE_SOP_CLASSES, *possible))
    ]
    return table(_ROLES, rows)


def _services(node: NodeDescription) -> str:
    asked = {destination.priors for destination in node.destinations}
    commitment = any(destination.commitment for destination in node.destinations)
    used = {
        StorageCommitmentPushModel: commitment,
        FIND: bool(asked & set(RETRIEVALS)),
        **{model: by in asked for by, model in RETRIEVALS.items()},
    }
    verification = (Verification.name, code(Verification), "yes, by `cxr-worker doctor`", "yes")
    return table(
        _ROLES, [verification, *((uid.name, code(uid), _role(True, on), "no") for uid, on in used.items())]
    )


def _role(able: bool, used: bool) -> str:
    return "yes" if used else "able" if able else "no"


def _introduction() -> Section:
    return Section(
        "Introduction",
        "",
        [
            Section(
                "Audience",
                "Those who connect archives, modalities and workstations with this product. Knowledge of "
                "DICOM is "
                "assumed.",
            ),
            Section(
                "Remarks",
                "A conformance statement lets one compare two products; it does not replace trying them out "
                f"together. The product is for {RESEARCH_LABEL.replace(', not', ' only and not')}. This "
                "text is "
                "generated: tests of the product negotiate every SOP class and transfer syntax named here, "
                "provoke every status, and build every object described.",
            ),
            Section(
                "Terms",
                bullets(
                    "AE, SCU, SCP, SOP, IOD, TID, CID: as in PS3.2, PS3.4, PS3.16",
                    "node: the AE that is called; sender: the AE that calls",
                    "report: a Structured Report that this product made",
                    "destination: an archive that results are sent to",
                ),
            ),
            Section(
                "References",
                "DICOM PS3.2 to PS3.18 (NEMA); BCP 195 (RFC 8996, RFC 9325); RFC 7617, RFC 6750.",
            ),
        ],
    )


def _configuration(node: NodeDescription) -> Section:
    own = [
        ("AE title of node and sender", code(node.ae_title)),
        ("Address of the node", code(f"{node.host}:{node.port}")),
        ("Calling AE titles that are served", _allowed(node.calling_ae_titles, {"*": "every"})),
        ("Addresses that are served", _allowed(node.addresses, {}) if node.addresses else "all"),
        ("Called AE title must be the node's own", yes_no(node.require_called_ae_title)),
        ("Associations at a time", str(node.maximum_associations)),
        ("Largest instance", f"{node.maximum_instance_mb} MiB"),
        ("TLS at the node", yes_no(node.tls)),
        ("Language of reports (RFC 5646)", code(node.language)),
        ("Algorithms, each of which makes a report of its own", ", ".join(map(_algorithm, node.algorithms))),
        ("Totals are graded mild, moderate, severe", yes_no(node.grade_severity)),
    ]
    destinations = [
        (
            code(destination.name),
            "STOW-RS" if destination.web else "C-STORE",
            ", ".join(kind.upper() for kind in destination.objects),
            destination.sr_class,
            destination.capture,
            yes_no(destination.tls),
            yes_no(destination.commitment),
            destination.priors or "no",
        )
        for destination in node.destinations
    ]
    heads = ("Name", "By", "Objects", "SR class", "SC", "TLS", "Commitment", "Earlier reports by")
    return Section(
        "Configuration",
        "",
        [
            Section("AE titles and parameters", table(("Parameter", "Value"), own)),
            Section(
                "Destinations",
                table(heads, destinations)
                if destinations
                else "None in this configuration: results stay here.",
            ),
        ],
    )


def _allowed(values: object, words: dict[str, str]) -> str:
    listed = [words.get(value) or code(value) for value in map(str, values)]  # type: ignore[call-overload]
    return ", ".join(listed) or "none"


def _character_sets() -> Section:
    return Section(
        "Character sets",
        "Read: every Specific Character Set (0008,0005) of PS3.3 C.12.1.1.2 that pydicom decodes, code "
        "extensions "
        "included; text without one as ISO_IR 100. Written: the source image's own set where it holds all "
        "texts "
        "of the object, else ISO_IR 192 (UTF-8); none where all is ASCII. Searches (C-FIND) state ISO_IR 192 "
        "where a Patient ID is not ASCII.",
    )


def _security(node: NodeDescription) -> Section:
    minimum = MINIMUM_VERSION.name.replace("TLSv", "TLS ").replace("_", ".")
    client = "a certificate of every caller is required" if node.client_certificate else "none is required"
    return Section(
        "Security",
        "",
        [
            Section(
                "Secure transport",
                "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12), at the node "
                "and for "
                f"each destination on its own: {minimum} or later; for TLS 1.2 the suites "
                f"{', '.join(map(code, CIPHER_SUITES))}, for TLS 1.3 those of OpenSSL's default. No "
                "renegotiation, no session resumption at the node. Certificates are checked against the "
                "authorities that the settings name; a destination's must be made out to its host name.",
            ),
            Section(
                "In this configuration",
                table(
                    ("Door", "TLS"),
                    [
                        (f"node {code(node.ae_title)}", f"yes; {client}" if node.tls else "no"),
                        *((code(one.name), yes_no(one.tls)) for one in node.destinations),
                    ],
                ),
            ),
            Section(
                "Other measures",
                bullets(
                    "Calling AE titles and addresses are checked against lists (see Configuration).",
                    "Web services: HTTP Basic (RFC 7617) or a bearer token (RFC 6750); redirects are not "
                    "followed.",
                    "What comes in is bounded in time, size and structure, and no log line holds patient "
                    "data.",
                    "No attribute confidentiality or digital signature profile is supported.",
                ),
            ),
        ],
    )


def _algorithm(name: str) -> str:
    return f"{name} (0 to {codes.SCORE_MAX[name]})"
