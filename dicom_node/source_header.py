"""What a report takes over from its radiograph: patient, study, order and equipment, made valid.

Radiographs arrive with empty, malformed and over-long values; a report built on them must
still be a valid object, in the same study, for the same patient. Rules: a value that fits its
VR is kept as it is; an old form of date or time is rewritten; free text that is too long is cut;
an identifier that does not fit is left empty, because a shortened one could be another patient's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset

from dicom_node.header import integer, items, numbers, text, texts
from dicom_node.instance import derive_uid

_REQUIRED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 in every object: present, if need be empty (PS3.3 C.7.1.1, C.7.2.1)."""

_OPTIONAL = (
    "IssuerOfPatientID", "TypeOfPatientID", "OtherPatientIDsSequence", "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthTime", "EthnicGroup", "PatientAge", "PatientSize", "PatientWeight",
    "IssuerOfAccessionNumberSequence", "StudyDescription", "TimezoneOffsetFromUTC",
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "StationName",
    "InstitutionName",
)  # fmt: skip

_LONGEST = {"SH": 16, "LO": 64, "CS": 16, "ST": 1024, "LT": 10240, "PN": 3 * 64 + 2, "UT": 1 << 16, "AE": 16}
_FREE_TEXT = frozenset(
    {"StudyDescription", "CodeMeaning", "EthnicGroup", "RequestedProcedureDescription", "InstitutionName"}
    | {"Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions"}
)
_FORMS = {
    "DA": re.compile(r"(?:18|19|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"),
    "TM": re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,6})?)?)?"),
    "CS": re.compile(r"[A-Z0-9_ ]+"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "UI": re.compile(r"(?=.{1,64}$)(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+"),
    "DS": re.compile(r"(?=.{1,16}$)[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"),
    "IS": re.compile(r"[+-]?\d{1,10}"),
}
_SEPARATORS = {"DA": re.compile(r"[.\-/]"), "TM": re.compile(r":")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_CODE_ITEMS = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_ORDER_TEXTS = (
    "RequestedProcedureID", "RequestedProcedureDescription",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
)  # fmt: skip
_ITEM_TEXTS = (
    "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "UniversalEntityID", "UniversalEntityIDType",
    "LocalNamespaceEntityID",
)  # fmt: skip
_ENTITY_TYPES = frozenset({"DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"})
_PATIENT_ID_TYPES = frozenset({"TEXT", "RFID", "BARCODE"})


def source_header(dataset: Dataset) -> Dataset:
    """Return patient, study, equipment and image attributes of a radiograph, each valid or empty.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Header of the radiograph, as received; not changed.

    Returns
    -------
    pydicom.dataset.Dataset
        Fit for highdicom as evidence and as the origin of a derived object.
    """
    header = Dataset()
    header.SOPClassUID = text(dataset, "SOPClassUID")
    header.SOPInstanceUID = text(dataset, "SOPInstanceUID")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(header, keyword, text(dataset, keyword) or derive_uid(header.SOPInstanceUID, keyword))
    for keyword in _REQUIRED:
        setattr(header, keyword, _valid(dataset, keyword) or "")
    if header.PatientSex not in ("M", "F", "O"):
        header.PatientSex = ""
    for keyword in _OPTIONAL:
        _carry(dataset, header, keyword)
    for keyword in ("PatientSize", "PatientWeight"):
        # A zero stands for "not measured"; nobody weighs nothing.
        if keyword in header and not float(header[keyword].value):
            del header[keyword]
    if not re.fullmatch(r"[+-]\d{4}", header.get("TimezoneOffsetFromUTC", "+0000")):
        del header.TimezoneOffsetFromUTC
    header.Modality = _fit(text(dataset, "Modality").upper(), "CS", "Modality") or "OT"
    header.Rows, header.Columns = integer(dataset, "Rows", 0), integer(dataset, "Columns", 0)
    codes = procedure_codes(dataset)
    if codes:
        header.ProcedureCodeSequence = codes
    _set_character_set(dataset, header)
    return header


def without_names(header: Dataset) -> Dataset:
    """Return a copy with empty person names, for a library that repeats odd names in its warnings."""
    copied = copy.deepcopy(header)
    copied.PatientName = copied.ReferringPhysicianName = None
    return copied


def procedure_codes(dataset: Dataset) -> list[Dataset]:
    """Return the complete items of the study's Procedure Code Sequence."""
    return _code_items(dataset, "ProcedureCodeSequence")


def requested_procedures(dataset: Dataset, study_instance_uid: str) -> list[Dataset]:
    """Return items for a Referenced Request Sequence (PS3.3 C.17.2), one per order known to the image.

    Empty if the image carries neither an Accession Number nor a Requested Procedure ID.
    """
    accession = _valid(dataset, "AccessionNumber") or ""
    requests = list(items(dataset, "RequestAttributesSequence")) or [Dataset()]
    result = []
    for request in requests:
        item = Dataset()
        item.ReferencedStudySequence = []
        item.StudyInstanceUID = study_instance_uid
        item.AccessionNumber = _valid(request, "AccessionNumber") or accession
        _carry(dataset, item, "IssuerOfAccessionNumberSequence")
        for keyword in _ORDER_TEXTS:
            setattr(item, keyword, _valid(request, keyword) or _valid(dataset, keyword) or "")
        item.RequestedProcedureCodeSequence = _code_items(request, "RequestedProcedureCodeSequence")
        if item.AccessionNumber or item.RequestedProcedureID:
            result.append(item)
    return result


def positive_pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two positive numbers, such as a pixel spacing in mm (row, column); else None."""
    values = numbers(dataset, keyword)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None


def _code_items(dataset: Dataset, keyword: str) -> list[Dataset]:
    result = []
    for source in items(dataset, keyword):
        item = Dataset()
        for name in _CODE_ITEMS:
            value = _valid(source, name)
            if value:
                setattr(item, name, value)
        if all(name in item for name in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")):
            result.append(item)
    return result


def _carry(source: Dataset, target: Dataset, keyword: str) -> None:
    """Copy an optional attribute if it has a valid value, sequences item by item."""
    if dictionary_VR(keyword) != "SQ":
        value = _valid(source, keyword)
        if value:
            setattr(target, keyword, value)
        return
    copies = []
    for source_item in items(source, keyword):
        item = Dataset()
        for name in _ITEM_TEXTS:
            _carry(source_item, item, name)
        _complete_identifier(item)
        if len(item) and ("PatientID" in item or keyword != "OtherPatientIDsSequence"):
            copies.append(item)
    if copies:
        setattr(target, keyword, copies)


def _complete_identifier(item: Dataset) -> None:
    """Leave out or add what the macros want together (PS3.3 tables 10-18 and C.7-1)."""
    if item.get("UniversalEntityIDType") not in _ENTITY_TYPES or "UniversalEntityID" not in item:
        for name in ("UniversalEntityID", "UniversalEntityIDType"):
            if name in item:
                del item[name]
    if "PatientID" in item and item.get("TypeOfPatientID") not in _PATIENT_ID_TYPES:
        item.TypeOfPatientID = "TEXT"
    elif "PatientID" not in item and "TypeOfPatientID" in item:
        del item.TypeOfPatientID


def _valid(dataset: Dataset, keyword: str) -> str | list[str] | None:
    vr = dictionary_VR(keyword)
    values = [value for one in texts(dataset, keyword) if (value := _fit(one, vr, keyword))]
    if not values:
        return None
    return values[0] if dictionary_VM(keyword) == "1" or len(values) == 1 else values


def _fit(value: str, vr: str, keyword: str) -> str | None:
    """Return the value as its VR allows it (PS3.5 6.2), or None."""
    if vr in _SEPARATORS:
        value = _SEPARATORS[vr].sub("", value)
    if vr in _FORMS:
        return value if _FORMS[vr].fullmatch(value) and len(value) <= _LONGEST.get(vr, 64) else None
    value = _CONTROL.sub(" ", value).strip()
    longest = _LONGEST.get(vr, 64)
    if keyword in _FREE_TEXT:
        value = value.replace("\ufffd", "?")
    if vr == "PN":
        return (
            value if all(len(group) <= 64 for group in value.split("=")) and value.count("=") <= 2 else None
        )
    if len(value) > longest:
        return value[:longest].rstrip() if keyword in _FREE_TEXT else None
    return value


def _set_character_set(dataset: Dataset, header: Dataset) -> None:
    """Keep the source's Specific Character Set where it holds all texts, else UTF-8.

    Text without a declared set is read as Latin-1; saying so keeps its bytes as they were.
    """
    declared = texts(dataset, "SpecificCharacterSet")
    content = list(_strings(header))
    if all(value.isascii() for value in content) and not any(declared):
        return
    candidate = list(declared) if any(declared) else ["ISO_IR 100"]
    encodings = [python_encoding.get(name) for name in candidate]
    if None in encodings or not all(_encodes(value, [e for e in encodings if e]) for value in content):
        candidate = ["ISO_IR 192"]
    header.SpecificCharacterSet = candidate if len(candidate) > 1 else candidate[0]


def _strings(dataset: Dataset) -> Iterable[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _strings(item)
        else:
            yield str(element.value)


def _encodes(value: str, encodings: list[str]) -> bool:
    """Tell whether each character has a place in one of the sets (code extensions, PS3.5 6.1.2.5)."""
    return all(any(_encodes_character(character, e) for e in encodings) for character in value)


def _encodes_character(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
