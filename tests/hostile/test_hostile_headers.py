"""Whatever a header says of patient, study and order, the report made of it is valid."""

from __future__ import annotations

import re
import subprocess
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.report import ReportBasis, ReportSettings, build_report
from tests.conftest import find_program
from tests.hostile import films
from tests.hostile.films import element, item
from tests.hostile.judge import CREATED_AT, Halves

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL = b"\n\r\0\x07\x1b[31m\x7f\x9b\\\\"
_CODE = (
    element(8, 0x100, b"SH", b"X" * 3000)
    + element(8, 0x102, b"SH", _CONTROL)
    + element(8, 0x104, b"LO", b"m" * 9000)
)
_GOOD_CODE = (
    element(8, 0x100, b"SH", b"C1") + element(8, 0x102, b"SH", b"99X") + element(8, 0x104, b"LO", b"m" * 200)
)
_TEXTS = {
    "patient_name": (0x10, 0x10, b"PN"),
    "patient_id": (0x10, 0x20, b"LO"),
    "birth_date": (0x10, 0x30, b"DA"),
    "sex": (0x10, 0x40, b"CS"),
    "age": (0x10, 0x1010, b"AS"),
    "size": (0x10, 0x1020, b"DS"),
    "weight": (0x10, 0x1030, b"DS"),
    "ethnic": (0x10, 0x2160, b"SH"),
    "study_date": (8, 0x20, b"DA"),
    "study_time": (8, 0x30, b"TM"),
    "accession": (8, 0x50, b"SH"),
    "modality": (8, 0x60, b"CS"),
    "manufacturer": (8, 0x70, b"LO"),
    "institution": (8, 0x80, b"LO"),
    "referring": (8, 0x90, b"PN"),
    "zone": (8, 0x201, b"SH"),
    "study_description": (8, 0x1030, b"LO"),
    "model": (8, 0x1090, b"LO"),
    "serial": (0x18, 0x1000, b"LO"),
    "versions": (0x18, 0x1020, b"LO"),
    "study_id": (0x20, 0x10, b"SH"),
    "orientation": (0x20, 0x20, b"CS"),
    "spacing": (0x18, 0x1164, b"DS"),
    "view": (0x18, 0x5101, b"CS"),
    "intent": (8, 0x68, b"CS"),
    "burned in": (0x28, 0x301, b"CS"),
    "lossy": (0x28, 0x2110, b"CS"),
}
_VALUES = {
    "empty": b"",
    "over-long": b"W" * 5000,
    "control characters": _CONTROL * 3,
    "many values": b"\\".join([b"1"] * 300),
    "bytes of no character set": bytes(range(0x80, 0x100)),
    "a script": b"<script>alert(1)</script>'; DROP TABLE entry; --",
    "many groups": b"A=B=C=D=E^^^^^^^^^^",
    "a number": b"1e308",
}
_SEQUENCES = {
    "ProcedureCodeSequence": (8, 0x1032),
    "RequestAttributesSequence": (0x40, 0x275),
    "OtherPatientIDsSequence": (0x10, 0x1002),
    "IssuerOfPatientIDQualifiersSequence": (0x10, 0x24),
    "IssuerOfAccessionNumberSequence": (8, 0x51),
}
_CONTENTS = {
    "empty items": item() * 50,
    "hostile codes": item(_CODE) * 3,
    "over-long meaning": item(_GOOD_CODE),
    "ten thousand codes": item(_GOOD_CODE) * 10_000,
    "an order of control characters": item(
        element(8, 0x50, b"SH", _CONTROL)
        + element(0x40, 0x1001, b"SH", b"R" * 99)
        + element(0x32, 0x1060, b"LO", _CONTROL)
    ),
    "identifiers": item(
        element(0x10, 0x20, b"LO", b"I" * 999)
        + element(0x10, 0x22, b"CS", b"text\n")
        + element(0x40, 0x32, b"UT", _CONTROL)
    ),
}


def _film(changed: dict[tuple[int, int], bytes]) -> bytes:
    """A plain film with further elements, in the order of their tags."""
    plain = {one[:4]: one for one in films.header().values() if one}
    for (group, number), encoded in changed.items():
        plain[group.to_bytes(2, "little") + number.to_bytes(2, "little")] = encoded
    order = sorted(plain, key=lambda tag: (tag[1], tag[0], tag[3], tag[2]))
    return films.file_of(b"".join(plain[tag] for tag in order) + films.native())


def _report(content: bytes) -> tuple[bytes, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = read_dataset(content)
        radiograph = read_radiograph(dataset)
        report = build_report(
            radiograph, Halves().score(radiograph.pixels), ReportSettings(), ReportBasis(CREATED_AT)
        )
    return report.instances["sr"], report.instances["sc"]


def _errors(path: Path) -> list[str]:
    done = subprocess.run(
        [find_program("dciodvfy"), str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def _texts(dataset: Dataset) -> list[str]:
    found = []
    for one in dataset.iterall():
        if one.VR not in ("SQ", "OB", "OW") and one.tag != 0x7FE00010:
            found += [str(value) for value in (one.value if isinstance(one.value, list) else [one.value])]
    return found


def _require_valid(content: bytes, folder: Path) -> None:
    report, capture = _report(content)
    assert len(report) < 1 << 18
    for kind, encoded in (("sr", report), ("sc", capture)):
        path = folder / f"{kind}.dcm"
        path.write_bytes(encoded)
        assert _errors(path) == []
        assert not [one for one in _texts(dcmread(path)) if _CONTROL_CHARACTER.search(one)]


@pytest.mark.parametrize("value", _VALUES)
def test_every_text_at_once(value: str, tmp_path: Path) -> None:
    changed = {
        (group, number): element(group, number, vr, _VALUES[value]) for group, number, vr in _TEXTS.values()
    }
    _require_valid(_film(changed), tmp_path)


@pytest.mark.parametrize("value", _VALUES)
def test_every_text_under_an_unknown_character_set(value: str, tmp_path: Path) -> None:
    changed = {
        (group, number): element(group, number, vr, _VALUES[value]) for group, number, vr in _TEXTS.values()
    }
    changed[8, 5] = element(8, 5, b"CS", b"ISO 2022 IR 87\\GB18030\\../etc")
    _require_valid(_film(changed), tmp_path)


@pytest.mark.parametrize("content", _CONTENTS)
def test_every_sequence_at_once(content: str, tmp_path: Path) -> None:
    changed = {tag: element(*tag, b"SQ", _CONTENTS[content]) for tag in _SEQUENCES.values()}
    _require_valid(_film(changed), tmp_path)


@pytest.mark.parametrize("vr", [b"SQ", b"US", b"OB", b"AT", b"FD", b"UN", b"ZZ"])
def test_every_text_under_another_representation(vr: bytes, tmp_path: Path) -> None:
    content = item(element(0x10, 0x10, b"PN", b"A^B")) if vr == b"SQ" else b"ABCDEFGH"
    changed = {(group, number): element(group, number, vr, content) for group, number, _ in _TEXTS.values()}
    _require_valid(_film(changed), tmp_path)


def test_nothing_but_what_an_image_needs(tmp_path: Path) -> None:
    content = films.film(
        patient_name=None, patient_id=None, study=None, series=None, modality=None, orientation=None
    )
    _require_valid(content, tmp_path)
