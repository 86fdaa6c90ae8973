"""What the conformance statement claims is what happens: each claim is read from its text and tried."""

import re
import ssl
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import pytest
from pydicom import dcmread, uid
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node import capture_figures, codes
from dicom_node.conformance import DestinationDescription, NodeDescription, conformance_statement
from dicom_node.conformance.node import created_sop_classes
from dicom_node.conformance.objects import FILLED_ATTRIBUTES, FIXED_ATTRIBUTES, TEMPLATES
from dicom_node.errors import AssociationFailed, DicomNodeError, SearchRefused
from dicom_node.identity import SERIES_NUMBERS
from dicom_node.instance import OBJECT_KINDS
from dicom_node.prior import PatientIdentity, ReportBasis
from dicom_node.prior_search import find_reports
from dicom_node.report import build_report
from dicom_node.report_settings import ReportSettings
from dicom_node.storage_commitment import offers_commitment
from dicom_node.storage_scp import CannotListen
from dicom_node.storage_scu import RemoteAE, StoreOutcome, echo, store
from dicom_node.store_status import StoreStatus
from dicom_node.tls import TLSFiles, client_context

NODE = NodeDescription(version="1.2.3")
PACS = DestinationDescription(
    name="PACS@pacs.example:104",
    objects=OBJECT_KINDS,
    sr_class="comprehensive-3d",
    capture="monochrome",
    tls=True,
    commitment=True,
    priors="c-move",
)
WEB = DestinationDescription(name="https://pacs.example/dicom-web", web=True, tls=True, priors="qido")


def section(text, title):
    """Return the text under a title, with what lies below it."""
    lines = text.splitlines()
    (start,) = [i for i, line in enumerate(lines) if re.fullmatch(rf"#+ [0-9.]+ {re.escape(title)}", line)]
    level = len(lines[start].split()[0])
    end = next(
        (i for i, line in enumerate(lines[start + 1 :], start + 1) if re.match(rf"#{{1,{level}}} ", line)),
        None,
    )
    return "\n".join(lines[start + 1 : end])


def rows(text):
    """Return the cells of the rows of every table in a text, without heads."""
    cells = [
        re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")
    ]
    heads = {i for i, line in enumerate(text.splitlines()) if line.startswith("|---")}
    numbers = [i for i, line in enumerate(text.splitlines()) if line.startswith("| ")]
    return [cell for number, cell in zip(numbers, cells, strict=True) if number + 1 not in heads]


@pytest.fixture(scope="module")
def statement():
    return conformance_statement(NODE)


def accepted_of(port, contexts):
    ae = AE("MODALITY")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    association = ae.associate("127.0.0.1", port, contexts, "CXRWORKER")
    accepted = {
        (context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts
    }
    association.release()
    return accepted


# --- what the node accepts ------------------------------------------------------------------------


def claimed_contexts(text):
    groups = {
        "of images, below": {
            UID(row[1].strip("`")) for row in rows(section(text, "Transfer syntaxes of images"))
        },
        "of documents, below": {
            UID(row[1].strip("`")) for row in rows(section(text, "Transfer syntaxes of documents"))
        },
    }
    by_name = {UID(syntax).name: UID(syntax) for syntax in uid.AllTransferSyntaxes}
    for _, sop_class, role, syntaxes in rows(section(text, "Presentation contexts accepted")):
        told = groups.get(syntaxes) or {by_name[name] for name in syntaxes.split(", ")}
        yield UID(sop_class.strip("`")), role, told


def test_the_node_accepts_what_is_claimed_and_nothing_else(start_node, statement):
    port = start_node().port
    claimed = {
        (sop_class, syntax)
        for sop_class, role, syntaxes in claimed_contexts(statement)
        if role == "SCP"
        for syntax in syntaxes
    }
    classes = [Verification, *(context.abstract_syntax for context in AllStoragePresentationContexts)]
    wanted = [build_context(one, syntax) for one in classes for syntax in uid.AllTransferSyntaxes]
    accepted = set()
    for start in range(0, len(wanted), 128):
        accepted |= accepted_of(port, wanted[start : start + 128])
    assert accepted == claimed
    assert len(claimed) > 80


def test_the_node_takes_commitment_reports_in_the_syntaxes_claimed(start_node, statement):
    port = start_node(confirm=lambda result: True).port
    ((_, role, syntaxes),) = [
        one for one in claimed_contexts(statement) if one[0] == StorageCommitmentPushModel
    ]
    assert role == "SCU"
    accepted = set()
    for syntax in uid.AllTransferSyntaxes[:4]:
        accepted |= accepted_of(port, [build_context(StorageCommitmentPushModel, syntax)])
    assert {syntax for _, syntax in accepted} == syntaxes


def _raise(error):
    def accept(_instance):
        raise error

    return accept


def test_every_status_claimed_is_answered_and_no_other(start_node, make_film, statement):
    class Transient(DicomNodeError):
        transient = True

    answered = set()
    for accept, film in (
        (lambda instance: None, make_film()),
        (_raise(Transient("full")), make_film()),
        (_raise(OSError("disk")), make_film()),
        (_raise(DicomNodeError("no")), make_film()),
        (lambda instance: None, make_film(SOPInstanceUID="1.2.3", StudyInstanceUID="1.02")),
        (lambda instance: None, make_film(StudyInstanceUID="")),
    ):
        node = start_node(accept=accept)
        answered.update(o.status for o in store(RemoteAE("CXRWORKER", "127.0.0.1", node.port), "X", [film]))
    claimed = {int(row[0], 16): row[2] for row in rows(section(statement, "Storage SCP"))}
    assert answered == set(claimed)
    assert claimed == {int(status): status.meaning for status in StoreStatus}


@pytest.mark.parametrize(
    ("settings", "called", "claim"),
    [
        ({"allowed_calling_ae_titles": ()}, "CXRWORKER", "1, 1, 3"),
        ({"require_called_ae_title": True}, "OTHER", "1, 1, 7"),
        ({"refuse": lambda: "full"}, "CXRWORKER", "2, 3, 1"),
        ({"maximum_associations": 0}, "CXRWORKER", "2, 3, 2"),
    ],
)
def test_every_rejection_claimed_is_answered(start_node, statement, settings, called, claim):
    node = start_node(**settings)
    ae = AE("MODALITY")
    ae.add_requested_context(uid.ComputedRadiographyImageStorage)
    association = ae.associate("127.0.0.1", node.port, ae_title=called)
    answer = association.acceptor.primitive
    assert association.is_rejected
    assert f"{answer.result}, {answer.result_source}, {answer.diagnostic}" == claim
    assert any(row[0].startswith(claim) for row in rows(section(statement, "Association acceptance")))


# --- what is proposed -----------------------------------------------------------------------------


@pytest.fixture
def listener():
    """A peer that accepts nothing and remembers what it was offered."""
    offered = {}

    def remember(event):
        for context in event.assoc.requestor.requested_contexts:
            offered.setdefault(str(context.abstract_syntax), set()).update(map(str, context.transfer_syntax))
        for item in event.assoc.requestor.role_selection.values():
            offered.setdefault("roles", set()).add((str(item.sop_class_uid), item.scu_role, item.scp_role))

    ae = AE("PACS")
    ae.add_supported_context("1.2.840.10008.1.1.999")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, remember)])
    yield SimpleNamespace(remote=RemoteAE("PACS", "127.0.0.1", server.server_address[1]), offered=offered)
    server.shutdown()


def objects_of(film, result, created_at, **settings):
    every = ReportSettings(objects=OBJECT_KINDS, **settings)
    return build_report(film, result, every, ReportBasis(created_at)).instances


@pytest.fixture(scope="module")
def made(film_of, new_film, severity_of, explained_of, created_at):
    """One object of each kind and form."""
    film = film_of(new_film(PatientID="P-1", AccessionNumber="A-1"))
    result = severity_of(film.pixels.shape, explanation=explained_of(film.pixels.shape).explanation)
    return {
        sr_class: objects_of(film, result, created_at, sr_class=sr_class)
        for sr_class in ("comprehensive", "comprehensive-3d", "enhanced")
    }


def test_what_is_proposed_is_what_is_claimed(listener, made, statement):
    instances = [encoded for objects in made.values() for encoded in objects.values()]
    store(listener.remote, "CXRWORKER", instances)
    with pytest.raises(AssociationFailed, match="C-ECHO"):
        echo(listener.remote, "CXRWORKER")
    assert not offers_commitment(listener.remote, "CXRWORKER")
    for by in ("c-get", "c-move"):
        with pytest.raises(SearchRefused):
            find_reports(listener.remote, "CXRWORKER", PatientIdentity("P-1", "", ""), by=by)
    roles = listener.offered.pop("roles")
    claimed = [
        (row[1].strip("`"), row[2], row[3])
        for row in rows(section(statement, "Presentation contexts proposed"))
    ]
    # this film is grey, so that no colour presentation state is made of it
    unmade = {str(uid.ColorSoftcopyPresentationStateStorage)}
    assert {one[0] for one in claimed} - unmade == set(listener.offered)
    for sop_class, role, syntaxes in claimed:
        if not syntaxes.startswith("as the object") and role == "SCU":
            assert {UID(one).name for one in listener.offered[sop_class]} == set(syntaxes.split(", "))
    assert {one[0] for one in roles if one[2]} == {one[0] for one in claimed if one[1].startswith("SCP")}


def test_what_follows_a_status_is_what_sending_does(statement):
    words = {(True, False): "delivered", (True, True): "delivered, with a remark"}
    for row in rows(section(statement, "Storage SCU")):
        if not row[0].startswith("0x"):
            continue
        outcome = StoreOutcome("", int(row[0], 16))
        expected = words.get((outcome.succeeded, outcome.warning))
        assert row[1] == expected or (
            not outcome.succeeded and outcome.transient == row[1].startswith("sent again later")
        )


def test_every_other_status_is_treated_as_the_statement_says(statement):
    text = section(statement, "Storage SCU")
    told = {int(row[0], 16): row[1] for row in rows(text) if row[0].startswith("0x")}
    assert "Other 0xA7xx: as 0xA700. Other 0xBxxx: as 0xB000. Any other failure: as 0xC000." in text
    for status in range(0x10000):
        group = {0xA7: 0xA700}.get(status >> 8, 0xB000 if status >> 12 == 0xB else 0xC000)
        claimed, outcome = told.get(status, told[group]), StoreOutcome("", status)
        assert outcome.succeeded == claimed.startswith("delivered")
        assert outcome.transient == claimed.startswith("sent again later")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_kinds_of_addresses_are_served_and_called(start_node, host):
    try:
        node = start_node(host=host)
    except CannotListen:
        pytest.skip("this host has no IPv6")
    echo(RemoteAE("CXRWORKER", host, node.port), "MODALITY")


# --- objects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OBJECT_KINDS)
@pytest.mark.parametrize("sr_class", ["comprehensive", "comprehensive-3d", "enhanced"])
def test_objects_are_made_as_claimed(made, statement, kind, sr_class):
    dataset = dcmread(BytesIO(made[sr_class][kind]))
    assert dataset.SOPClassUID in created_sop_classes(kind, sr_class)
    assert dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert dataset.SeriesNumber == SERIES_NUMBERS[kind]
    for keyword, value in FIXED_ATTRIBUTES[kind].items():
        assert str(dataset[keyword].value) == value
    for keyword in FILLED_ATTRIBUTES:
        assert dataset[keyword].value
    told = {row[1]: row[2] for row in rows(section(statement, "Annex: objects made"))[:4]}
    for tag, value in told.items():
        assert str(dataset[int(re.sub(r"\W", "", tag), 16)].value) == value.strip("`")
    assert dataset.SOPClassUID in section(statement, kind.upper())


def test_the_report_names_the_templates_claimed(made):
    def named(item):
        for template in item.get("ContentTemplateSequence", []):
            yield template.TemplateIdentifier
        for child in item.get("ContentSequence", []):
            yield from named(child)

    assert set(named(dcmread(BytesIO(made["comprehensive"]["sr"])))) == set(TEMPLATES)


def test_every_private_code_used_is_in_the_statement(made, statement):
    def used(item):
        for element in item:
            if element.VR == "SQ":
                for one in element.value:
                    if one.get("CodingSchemeDesignator") == codes.PRIVATE_SCHEME and "CodeValue" in one:
                        yield one.CodeValue, one.CodeMeaning
                    yield from used(one)

    told = {(row[0].strip("`"), row[2]) for row in rows(section(statement, "Private codes"))}
    found = set(used(dcmread(BytesIO(made["comprehensive"]["sr"]))))
    assert found
    assert found <= told


@pytest.mark.parametrize("kind", ["sc", "map"])
def test_every_private_attribute_of_a_capture_is_in_the_statement(made, statement, kind):
    capture = dcmread(BytesIO(made["comprehensive"][kind]))
    text = section(statement, "Annex: private attributes")
    private = [element for element in capture if element.tag.is_private]
    assert private[0].value == capture_figures.PRIVATE_CREATOR
    for element in private[1:]:
        line = next(
            line for line in text.splitlines() if f"(0099,xx{element.tag.element & 0xFF:02X})" in line
        )
        assert f" {element.VR} " in line


def test_the_form_of_an_assessment_is_what_its_module_says(statement):
    text = section(statement, "Annex: readers' assessments")
    for one in (codes.ASSESSMENT, codes.ACCEPTED, codes.REJECTED, codes.CORRECTED):
        assert one.value in text


# --- security, configuration ----------------------------------------------------------------------


def test_the_cipher_suites_claimed_are_those_offered(statement):
    context = client_context(TLSFiles())
    offered = {one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"}
    text = section(statement, "Secure transport")
    assert offered == {name for name in re.findall(r"`([A-Z0-9-]+)`", text)}
    assert "TLS 1.2 or later" in text
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_configuration_shows_in_the_statement():
    node = replace(
        NODE, ae_title="AI|1", tls=True, calling_ae_titles=("CT1", "*"), addresses=("10.0.0.0/8",),
        destinations=(PACS, WEB),
    )  # fmt: skip
    text = conformance_statement(node)
    first, second = rows(section(text, "Destinations"))
    assert first == [
        "`PACS@pacs.example:104`", "C-STORE", "SR, SC, GSPS, SEG, MAP", "comprehensive-3d", "monochrome",
        "yes", "yes", "c-move",
    ]  # fmt: skip
    assert second[1] == "STOW-RS"
    sent = {row[1].strip("`"): row[2] for row in rows(section(text, "Content and transfer"))}
    assert sent[uid.Comprehensive3DSRStorage] == sent[uid.SegmentationStorage] == "yes"
    # the web destination has the default class
    assert sent[uid.ComprehensiveSRStorage] == "yes"
    assert sent[uid.EnhancedSRStorage] == "able"
    assert sent[uid.ComputedRadiographyImageStorage] == "no"
    services = {row[0]: row[2] for row in rows(section(text, "Other network services"))}
    assert services["Study Root Query/Retrieve Information Model - MOVE"] == "yes"
    assert services["Study Root Query/Retrieve Information Model - GET"] == "able"
    parameters = dict(row[:2] for row in rows(section(text, "AE titles and parameters")))
    assert parameters["AE title of node and sender"] == r"`AI\|1`"
    assert parameters["Calling AE titles that are served"] == "`CT1`, every"
    assert "a certificate of every caller is required" in section(text, "In this configuration")


def test_nothing_breaks_out_of_its_cell():
    text = conformance_statement(replace(NODE, destinations=(replace(PACS, name="P`\n\n# x|y@h:1"),)))
    assert "\n# x" not in text
    (row,) = rows(section(text, "Destinations"))
    assert len(row) == 8


def test_every_tag_named_is_the_attributes_own(statement):
    for keyword in FILLED_ATTRIBUTES:
        tag = tag_for_keyword(keyword)
        assert f"({tag >> 16:04X},{tag & 0xFFFF:04X})" in statement
