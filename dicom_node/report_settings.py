"""The choices a destination may make about its reports."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from dicom_node.instance import ObjectKind
from models.result import Result, SeverityResult

SrClass = Literal["comprehensive", "comprehensive-3d", "enhanced"]
CaptureKind = Literal["rgb", "monochrome"]


@dataclass(frozen=True)
class ReportSettings:
    """Settings that change the objects sent, never the score.

    Parameters
    ----------
    sr_class : str
        Storage class of the report: ``comprehensive`` (understood by most), ``comprehensive-3d`` or
        ``enhanced``.
    capture : str
        ``rgb``, or ``monochrome`` for archives that refuse colour.
    language : str
        RFC 5646 tag stated as the language of the report's texts, which are English.
    grade_severity : bool
        Add the grade mild, moderate or severe (a third of the score's range each) to the total.
    objects : tuple of str
        What is made at all; changes none of the objects, so it is no part of the digest.
    """

    sr_class: SrClass = "comprehensive"
    capture: CaptureKind = "rgb"
    language: str = "en-US"
    grade_severity: bool = False
    objects: tuple[ObjectKind, ...] = ("sr", "sc")

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) over the settings that shape an object: part of every UID made under them."""
        shaping = {name: value for name, value in asdict(self).items() if name != "objects"}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()

    def for_result(self, result: Result) -> ReportSettings:
        """Return the settings without what this result cannot have: a map, where nothing is explained."""
        if isinstance(result, SeverityResult) and result.explanation is not None:
            return self
        return replace(self, objects=tuple(kind for kind in self.objects if kind != "map"))
