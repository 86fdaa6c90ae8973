"""A reading station's Structured Reports, made with highdicom: judgements of ours, and other documents."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
_WANTED = ("AccessionNumber", "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyID")
_WHEN = datetime(2026, 5, 6, 7, 8, 9)


def document(film: Dataset, *items: Any, judges: Dataset | None = None) -> bytes:
    """Return a Comprehensive SR as PS3.10 bytes: about a film, and about a report if it judges one."""
    root = hd.sr.ContainerContentItem(Code("18748-4", "LN", "Diagnostic Imaging Report"))
    words = hd.sr.TextContentItem(Code("121071", "DCM", "Finding"), "Nothing to report.", _CONTAINS)
    root.ContentSequence = hd.sr.ContentSequence(items or [words])
    source = Dataset()
    source.update({element.tag: element for element in film if element.keyword != "PixelData"})
    for keyword in _WANTED:
        setattr(source, keyword, film.get(keyword, ""))
    made = hd.sr.ComprehensiveSR(
        evidence=[source] if judges is None else [source, judges],
        content=root,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Reading Station",
        manufacturer_model_name="R1",
        software_versions="1",
        device_serial_number="1",
        content_date=_WHEN.date(),
        content_time=_WHEN.time(),
    )
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def total(score: int) -> Any:
    """Return the content item that states a total of 0 to 6."""
    name, unit = Code("LUNG-SEV-0-6", "99CXRSEV", "Total"), Code("{score}", "UCUM", "score")
    return hd.sr.NumContentItem(name, score, unit, relationship_type=_CONTAINS)


def verdict(word: str) -> Any:
    """Return the content item that states ``ACCEPTED``, ``REJECTED`` or ``CORRECTED``."""
    name, value = Code("ASSESSMENT", "99CXRSEV", "Assessment"), Code(word, "99CXRSEV", word.lower())
    return hd.sr.CodeContentItem(name, value, _CONTAINS)
