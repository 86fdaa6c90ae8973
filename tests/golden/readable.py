"""A DICOM object as text, one element a line, for reading and comparing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from difflib import unified_diff
from io import BytesIO

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_PIXEL_DATA = 0x7FE00010
_SHORT = 16
_BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "UN"})
_LIBRARY_VERSIONS = frozenset({"ImplementationClassUID", "ImplementationVersionName"})
_LIBRARY_ITEM = "Highdicom open-source contributors"


def readable(encoded: bytes, *, pixels: bool) -> str:
    """Return every element of a PS3.10 file: path, keyword, VR, value.

    Left out is what another release of a library would change by itself: its name and version, and
    lengths.

    Parameters
    ----------
    encoded : bytes
        The file.
    pixels : bool
        Whether pixel data is told, by its digest; else only that there is some.
    """
    dataset = dcmread(BytesIO(encoded))
    lines = [*_lines(dataset.file_meta, "", pixels=pixels), *_lines(dataset, "", pixels=pixels)]
    return "\n".join(lines) + "\n"


def first_differences(expected: str, found: str, most: int = 12) -> list[str]:
    """Return the first lines that differ, ``-`` as kept and ``+`` as now made."""
    changes = unified_diff(expected.splitlines(), found.splitlines(), lineterm="", n=0)
    return [line for line in changes if not line.startswith(("---", "+++", "@@"))][:most]


def _lines(dataset: Dataset, path: str, *, pixels: bool) -> Iterator[str]:
    for element in dataset:
        if element.tag.element == 0 or element.keyword in _LIBRARY_VERSIONS:
            continue
        name = f"{path}{element.tag.group:04X},{element.tag.element:04X}"
        keyword = keyword_for_tag(element.tag) or element.name
        if element.VR == "SQ":
            yield f"{name} {keyword} SQ, {len(element.value)} item(s)"
            for number, item in enumerate(element.value, 1):
                yield from _lines(_neutral(item), f"{name}[{number}]/", pixels=pixels)
        else:
            yield f"{name} {keyword} {element.VR} {_value(element, pixels=pixels)}".rstrip()


def _neutral(item: Dataset) -> Dataset:
    """Take the library's own version out of the equipment that contributed."""
    if item.get("Manufacturer") == _LIBRARY_ITEM and "SoftwareVersions" in item:
        item.SoftwareVersions = "*"
    return item


def _value(element: DataElement, *, pixels: bool) -> str:
    if element.tag == _PIXEL_DATA and not pixels:
        return f"{len(element.value)} bytes, compared as a picture"
    if element.VR in _BINARY and len(element.value) <= _SHORT:
        return str(element.value.hex())
    if element.VR in _BINARY:
        digest = hashlib.sha256(element.value).hexdigest()
        return f"{len(element.value)} bytes, sha256 {digest}"
    if element.is_empty:
        return ""
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(_text(one, element.VR) for one in values)


def _text(value: object, vr: str) -> str:
    if vr in ("FL", "FD") and isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\r", "\\r").replace("\n", "\\n")
