"""Structured Reports and Key Object Selections as anyone may have made them, read within bounds.

One allowance covers a whole document, whatever its nesting: a report of ours takes a few thousand steps.
What lies beyond the bounds is left out, and ``Document.complete`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code

from dicom_node.bounded import BoundedBytes
from dicom_node.header import UNREADABLE, number, text

MAX_CONTENT_ITEMS = 4_000
MAX_DEPTH = 24
"""Levels of content items; TID 1500 has seven."""
MAX_STEPS = 100_000
MAX_SEQUENCE_BYTES = 32 << 20
"""Bytes of all sequences that are taken apart, an inner one counted again on each level."""
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class ContentItem:
    """One content item (PS3.3 C.17.3) with its children; what it does not state is empty or None.

    Parameters
    ----------
    value_type : str
        ``CONTAINER``, ``NUM``, ``CODE``, ...
    name, code : Code or None
        Concept name, and the value of a CODE.
    words : str
        Value of a TEXT, DATE, TIME, DATETIME or UIDREF.
    number : float or None
        Value of a NUM.
    reference : str
        SOP Instance UID of an IMAGE, COMPOSITE or WAVEFORM.
    children : tuple of ContentItem
        In the document's order.
    """

    value_type: str
    name: Code | None
    code: Code | None
    words: str
    number: float | None
    reference: str
    children: tuple[ContentItem, ...]

    def walk(self) -> Iterator[ContentItem]:
        """Yield the item and everything below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def named(self, name: Code) -> Iterator[ContentItem]:
        """Yield the children of a concept name."""
        return (child for child in self.children if child.is_named(name))

    def is_named(self, name: Code) -> bool:
        """Tell whether the concept name is this one, in SNOMED's present or former codes."""
        return self.name is not None and self.name == name

    def answers(self, value: Code) -> bool:
        """Tell whether the value of a CODE is this one."""
        return self.code is not None and self.code == value


@dataclass(frozen=True)
class Document:
    """A document's content and references.

    Parameters
    ----------
    root : ContentItem
        The root container.
    predecessors, evidence, others : tuple of str
        SOP Instance UIDs in Predecessor Documents; in Current Requested Procedure Evidence; in Pertinent
        Other Evidence and Identical Documents.
    complete : bool
        Whether all of it could be read.
    """

    root: ContentItem
    predecessors: tuple[str, ...]
    evidence: tuple[str, ...]
    others: tuple[str, ...]
    complete: bool

    @cached_property
    def content_references(self) -> tuple[str, ...]:
        """SOP Instance UIDs to which content items refer."""
        return tuple(item.reference for item in self.root.walk() if item.reference)

    @property
    def references(self) -> tuple[str, ...]:
        """Every SOP Instance UID referred to, each once: predecessors first, other evidence last."""
        told = (*self.predecessors, *self.evidence, *self.content_references, *self.others)
        return tuple(dict.fromkeys(told))


def read_document(dataset: Dataset) -> Document:
    """Read content tree and references of a document.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        Any instance; one that is no document gives an empty root.
    """
    reader = _Reader()
    predecessors = reader.hierarchy(dataset, "PredecessorDocumentsSequence")
    evidence = reader.hierarchy(dataset, "CurrentRequestedProcedureEvidenceSequence")
    others = reader.hierarchy(dataset, "IdenticalDocumentsSequence")
    others += reader.hierarchy(dataset, "PertinentOtherEvidenceSequence")
    root = reader.content(dataset, 0)
    return Document(root, predecessors, evidence, others, reader.complete)


class _Reader:
    """Takes sequences apart until the allowance is spent."""

    def __init__(self) -> None:
        self.complete = True
        self._steps, self._bytes, self._content_items = MAX_STEPS, MAX_SEQUENCE_BYTES, MAX_CONTENT_ITEMS

    def items(self, dataset: Dataset, keyword: str) -> list[Dataset]:
        """Return the items of a sequence; none where it is absent, unreadable or beyond the allowance."""
        try:
            element = dataset.get_item(keyword, keep_deferred=True)
            if element is None:
                return []
            found = self._parse(element) if isinstance(element, RawDataElement) else element.value
        except UNREADABLE:
            self.complete = False
            return []
        if not isinstance(found, Sequence):
            return []
        self._steps -= len(found)
        if self._steps < 0:
            self.complete = False
            return []
        return list(found)

    def _parse(self, element: RawDataElement) -> Sequence | None:
        # pydicom would keep what it parses in the data set; this way it lives as long as it is looked at.
        encoded = element.value or b""
        if element.VR not in ("SQ", "UN", None) or not isinstance(encoded, bytes):
            return None
        self._bytes -= len(encoded)
        stream = BoundedBytes(encoded, self._steps if self._bytes >= 0 else 0)
        try:
            return read_sequence(
                stream, element.is_implicit_VR, element.is_little_endian, len(encoded), "iso8859"
            )
        finally:
            self._steps = stream.steps_left

    def first(self, dataset: Dataset, keyword: str) -> Dataset:
        return next(iter(self.items(dataset, keyword)), Dataset())

    def hierarchy(self, dataset: Dataset, keyword: str) -> tuple[str, ...]:
        """Return the instances of a Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1)."""
        return tuple(
            uid
            for study in self.items(dataset, keyword)
            for series in self.items(study, "ReferencedSeriesSequence")
            for instance in self.items(series, "ReferencedSOPSequence")
            if (uid := _uid(instance))
        )

    def content(self, dataset: Dataset, depth: int) -> ContentItem:
        """Return a content item with what lies below it."""
        self._content_items -= 1
        children = self.items(dataset, "ContentSequence") if depth < MAX_DEPTH else []
        if (depth == MAX_DEPTH and "ContentSequence" in dataset) or len(children) > self._content_items:
            self.complete, children = False, []
        value_type = text(dataset, "ValueType")
        # The root's own header has values of the same keywords that are none of its content.
        value = dataset if depth else Dataset()
        return ContentItem(
            value_type=value_type,
            name=self._code(dataset, "ConceptNameCodeSequence"),
            code=self._code(value, "ConceptCodeSequence"),
            words=_words(value, value_type),
            number=number(self.first(value, "MeasuredValueSequence"), "NumericValue"),
            reference=_uid(self.first(value, "ReferencedSOPSequence")),
            children=tuple(self.content(child, depth + 1) for child in children),
        )

    def _code(self, dataset: Dataset, keyword: str) -> Code | None:
        item = self.first(dataset, keyword)
        value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
        scheme = text(item, "CodingSchemeDesignator")
        return Code(value, scheme, text(item, "CodeMeaning")) if value else None


_VALUES = {"TEXT": "TextValue", "DATE": "Date", "TIME": "Time", "DATETIME": "DateTime", "UIDREF": "UID"}


def _words(dataset: Dataset, value_type: str) -> str:
    return text(dataset, _VALUES[value_type]) if value_type in _VALUES else ""


def _uid(instance: Dataset) -> str:
    uid = text(instance, "ReferencedSOPInstanceUID")
    return uid if _UID.fullmatch(uid) else ""
