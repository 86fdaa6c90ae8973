"""What goes from a film's header into a report is the film's own, and valid."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicom_node.pixels import read_dataset
from dicom_node.source_header import requested_procedures, source_header


def sequence(**attributes):
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return [item]


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientID", "P-1", "P-1"),
        ("PatientID", " padded ", "padded"),
        ("PatientID", None, ""),
        ("StudyDate", "20260303", "20260303"),
        ("StudyDate", "2026.03.03", "20260303"),
        ("StudyDate", "20261341", ""),
        ("StudyDate", None, ""),
        ("StudyTime", "10:11:12", "101112"),
        ("StudyTime", "101112.123456", "101112.123456"),
        ("StudyTime", "1011", "1011"),
        ("StudyTime", "991112", ""),
        ("PatientSex", "M", "M"),
        ("PatientSex", "male", ""),
        ("StudyID", None, ""),
        ("AccessionNumber", "A" * 16, "A" * 16),
        ("AccessionNumber", None, ""),
    ],
)
def test_required_values(keyword, value, kept, new_film, encoded):
    header = source_header(read_dataset(encoded(new_film(**{keyword: value}))))
    assert header[keyword].value == kept


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("keyword", ["PatientID", "AccessionNumber", "StudyID", "PatientName"])
def test_an_identifier_that_is_too_long_is_emptied_never_cut(keyword, new_film, encoded):
    header = source_header(read_dataset(encoded(new_film(**{keyword: "X" * 100}))))
    assert header[keyword].value == ""


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_free_text_that_is_too_long_is_cut(new_film, encoded):
    header = source_header(read_dataset(encoded(new_film(StudyDescription="thorax " * 20))))
    assert header.StudyDescription == ("thorax " * 20)[:64].strip()


@pytest.mark.parametrize(("value", "kept"), [("71.5", 71.5), ("0", None), ("0.000", None), (None, None)])
def test_a_weight_of_zero_is_none(value, kept, new_film, encoded):
    header = source_header(read_dataset(encoded(new_film(PatientWeight=value, PatientSize=value))))
    assert header.get("PatientWeight") == header.get("PatientSize") == kept


def test_issuers_are_carried(new_film, encoded):
    film = new_film(
        IssuerOfPatientID="HOSPITAL",
        IssuerOfAccessionNumberSequence=sequence(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO"),
    )
    header = source_header(read_dataset(encoded(film)))
    assert header.IssuerOfPatientID == "HOSPITAL"
    assert header.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.3"


@pytest.mark.parametrize(
    ("characters", "name", "declared"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "ISO_IR 100"),
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        ("ISO_IR 144", "Люкceмбypг", "ISO_IR 144"),
        (None, "Doe^Plain", None),
    ],
)
def test_names_keep_their_characters(characters, name, declared, new_film, encoded):
    film = read_dataset(encoded(new_film(SpecificCharacterSet=characters, PatientName=name)))
    header = source_header(film)
    assert str(header.PatientName) == name
    assert header.get("SpecificCharacterSet") == declared


def test_bytes_without_a_declared_set_are_kept_as_latin_1(new_film, encoded):
    whole = encoded(new_film(PatientName="Mxller^Jane"))
    film = read_dataset(whole.replace(b"Mxller", b"M\xfcller"))
    header = source_header(film)
    assert header.SpecificCharacterSet == "ISO_IR 100"
    assert str(header.PatientName) == "Müller^Jane"


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_an_unknown_character_set_becomes_utf_8(new_film, encoded):
    whole = encoded(new_film(SpecificCharacterSet="ISO_IR 100", PatientName="Mxller^Jane"))
    film = read_dataset(whole.replace(b"ISO_IR 100", b"ISO_IR 999").replace(b"Mxller", b"M\xfcller"))
    assert source_header(film).SpecificCharacterSet == "ISO_IR 192"


def test_an_order_becomes_a_referenced_request(new_film):
    film = new_film(RequestAttributesSequence=sequence(RequestedProcedureID="RP1", AccessionNumber="A-9"))
    (request,) = requested_procedures(film, film.StudyInstanceUID)
    assert request.RequestedProcedureID == "RP1"
    assert request.AccessionNumber == "A-9"
    assert request.StudyInstanceUID == film.StudyInstanceUID
    assert list(request.RequestedProcedureCodeSequence) == []


def test_an_accession_number_alone_is_an_order_and_nothing_is_none(new_film):
    (request,) = requested_procedures(new_film(), "2.25.9")
    assert request.AccessionNumber == "A-1"
    assert requested_procedures(new_film(AccessionNumber=None), "2.25.9") == []


def test_incomplete_procedure_codes_are_left_out(new_film):
    whole = sequence(CodeValue="30745-4", CodingSchemeDesignator="LN", CodeMeaning="Chest X-ray")
    assert (
        source_header(new_film(ProcedureCodeSequence=whole)).ProcedureCodeSequence[0].CodeValue == "30745-4"
    )
    assert "ProcedureCodeSequence" not in source_header(
        new_film(ProcedureCodeSequence=sequence(CodeValue="X"))
    )


@pytest.mark.parametrize(("offset", "kept"), [("+0100", "+0100"), ("CET", None)])
def test_time_zones(offset, kept, new_film):
    assert source_header(new_film(TimezoneOffsetFromUTC=offset)).get("TimezoneOffsetFromUTC") == kept
