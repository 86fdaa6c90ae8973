"""Annexes of the conformance statement: objects made, templates, private attributes, codes, assessments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from dicom_node import assessment, capture_figures, codes
from dicom_node.conformance.markdown import Section, bullets, code, table
from dicom_node.conformance.node import NodeDescription, created_sop_classes, possible_sop_classes_of
from dicom_node.identity import MANUFACTURER, MODEL_NAME, SERIES_NUMBERS
from dicom_node.instance import OBJECT_KINDS, ObjectKind

_SAME = {
    "Manufacturer": MANUFACTURER,
    "ManufacturerModelName": MODEL_NAME,
    "ContentQualification": "RESEARCH",
    "InstanceNumber": "1",
}
FIXED_ATTRIBUTES: Mapping[ObjectKind, Mapping[str, str]] = {
    "sr": {"Modality": "SR", "VerificationFlag": "UNVERIFIED", "PreliminaryFlag": "PRELIMINARY"},
    "sc": {"ConversionType": "WSD", "BurnedInAnnotation": "YES"},
    "gsps": {"Modality": "PR", "ContentLabel": "AI_SEVERITY"},
    "seg": {"Modality": "SEG", "ContentLabel": "AI_SEVERITY", "SegmentationType": "BINARY"},
    "map": {"ConversionType": "WSD", "BurnedInAnnotation": "YES"},
}
"""Values that every object of a kind has, besides what all kinds have."""

FILLED_ATTRIBUTES: Mapping[str, str] = {
    "SOPInstanceUID": "derived from source image, algorithm, settings and what the report is built upon, "
    "under 2.25: "
    "the same for the same, another for another",
    "SeriesInstanceUID": "derived likewise; each kind has a series of its own",
    "StudyInstanceUID": "the source image's",
    "PatientID": "the source image's, as are name, birth date, sex, issuer and other identifying attributes",
    "AccessionNumber": "the source image's",
    "DeviceSerialNumber": "the first 32 digits of the algorithm's digest (SHA-256)",
    "SoftwareVersions": "name and version of the algorithm",
    "SeriesDescription": "begins with `Research:`",
    "ContributingEquipmentSequence": "the equipment that took the image, and this product",
}
"""What every object has, with a value of its own."""

TEMPLATES: Mapping[str, str] = {
    "1500": "Measurement Report: the document",
    "1410": "Planar ROI Measurements and Qualitative Evaluations: one group for both lungs, one for each "
    "zone",
}
"""Templates that the reports name (PS3.16)."""

_INCLUDED_TEMPLATES = (
    "1204 Language of Content Item and Descendants", "1001 Observation Context", "1004 Device Observer",
    "1600 Image Library", "1419 ROI Measurements", "300 Measurement",
    "4019 Algorithm Identification",
)  # fmt: skip

_CAPTURE_MODULES = (
    "Patient, General Study, General Series, General Equipment, SC Equipment, General Image, General "
    "Reference, "
    "SC Image, Image Pixel, SOP Common; private attributes"
)
_MODULES: Mapping[ObjectKind, str] = {
    "sr": "Patient, General Study, SR Document Series, General Equipment, SR Document General, SR Document "
    "Content, "
    "SOP Common",
    "sc": _CAPTURE_MODULES,
    "gsps": "Patient, General Study, General Series, Presentation Series, General Equipment, Presentation "
    "State "
    "Identification, Presentation State Relationship, Displayed Area, Graphic Annotation, Graphic Layer, "
    "greyscale "
    "or colour modules, SOP Common",
    "seg": "Patient, General Study, General Series, Segmentation Series, General Equipment, Enhanced General "
    "Equipment, General Image, Image Pixel, Segmentation Image, Multi-frame Functional Groups, Multi-frame "
    "Dimension, "
    "Common Instance Reference, SOP Common",
    "map": f"{_CAPTURE_MODULES}. Which parts of the lungs a score rests on; only from an algorithm "
    "that explains its scores, and only of a radiograph that has one",
}


def object_sections(node: NodeDescription) -> list[Section]:
    """Return the annexes on what is written, and on what is understood of what others write."""
    return [
        Section("Annex: objects made", _objects_text(), [_object(kind, node) for kind in OBJECT_KINDS]),
        Section("Annex: templates", _templates()),
        Section("Annex: private attributes", _fenced(capture_figures.__doc__)),
        Section("Annex: coded terminology", "", _terminology()),
        Section("Annex: readers' assessments", _assessments()),
        Section(
            "Annex: extensions",
            "Both kinds of Secondary Capture are Standard Extended SOP classes by their private attributes. "
            "No specialised or private SOP class, no private transfer syntax.",
        ),
    ]


def _objects_text() -> str:
    return "Written in Explicit VR Little Endian. Every object has:\n\n" + _attributes(
        {keyword: code(value) for keyword, value in _SAME.items()} | dict(FILLED_ATTRIBUTES)
    )


def _object(kind: ObjectKind, node: NodeDescription) -> Section:
    made = sum(
        (created_sop_classes(kind, one.sr_class) for one in node.destinations if kind in one.objects), ()
    )
    names = bullets(
        *(
            f"{uid.name} ({code(uid)}){'' if uid in made else ', not in this configuration'}"
            for uid in possible_sop_classes_of(kind)
        )
    )
    attributes = {"SeriesNumber": str(SERIES_NUMBERS[kind])} | dict(FIXED_ATTRIBUTES[kind])
    text = f"{names}\n\nModules: {_MODULES[kind]}.\n\n"
    return Section(
        kind.upper(), text + _attributes({name: code(value) for name, value in attributes.items()})
    )


def _attributes(values: Mapping[str, str]) -> str:
    rows = []
    for keyword, value in values.items():
        tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
        rows.append((dictionary_description(tag), str(tag).replace(" ", ""), value))
    return table(("Attribute", "Tag", "Value"), rows)


def _templates() -> str:
    included = ", ".join(f"TID {name}" for name in _INCLUDED_TEMPLATES)
    return (
        table(("TID", "Use"), [(f"TID {tid}", use) for tid, use in TEMPLATES.items()])
        + f"\n\nIncluded by these: {included}. Continuity of Content "
        "is SEPARATE throughout. A zone without area, and a radiograph that is not assessable, has a coded "
        "reason "
        "in place of numbers."
    )


def _terminology() -> list[Section]:
    used = list(dict.fromkeys(_codes(vars(codes).values())))
    private = [one for one in used if one.scheme_designator == codes.PRIVATE_SCHEME]
    standard = sorted(set(used) - set(private), key=lambda one: (one.scheme_designator, one.value))
    heads = ("Value", "Scheme", "Meaning")

    def rows(listed: Iterable[Code]) -> list[tuple[str, str, str]]:
        return [(code(one.value), one.scheme_designator, one.meaning) for one in listed]

    declared = (
        f"Scheme {code(codes.PRIVATE_SCHEME)}, {codes.PRIVATE_SCHEME_NAME}, responsible: {MANUFACTURER}; "
        "declared in "
        "the Coding Scheme Identification Sequence of every report.\n\n"
    )
    return [
        Section("Private codes", declared + table(heads, rows(private))),
        Section("Standard codes", table(heads, rows(standard))),
    ]


def _codes(values: Iterable[object]) -> Iterator[Code]:
    for value in values:
        if isinstance(value, Code):
            yield value
        elif isinstance(value, Mapping):
            yield from _codes(value.values())
        elif isinstance(value, tuple | list):
            yield from _codes(value)


def _assessments() -> str:
    return _fenced(assessment.__doc__)


def _fenced(documentation: str | None) -> str:
    """Return what a module says of its format, as it says it."""
    summary, _, rest = cleandoc(documentation or "").partition("\n\n")
    return f"{summary}\n\n```text\n{rest}\n```"
