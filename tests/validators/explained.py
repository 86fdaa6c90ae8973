"""Every warning that the validators are known to give about our objects, and why it stays.

Keys are ``KIND: attribute: message`` as ``tests.validators.findings`` tells them; there is no error here,
and there must be none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

EXPLAINED: Mapping[str, str] = {
    r"sr: CodingSchemeDesignator\(0008,0102\): Unrecognized defined term = <99CXRSEV>": (
        "The private coding scheme of the scores. dciodvfy knows the public schemes only; a designator that "
        "begins with 99 is what PS3.16 8.2 provides for, and the report declares it in Coding Scheme "
        "Identification Sequence. No public scheme has a code for these scores."
    ),
    r'(?:sc|map): \(0099,10\w\w,"99CXRSEV"\): Unrecognized tag - assuming explicit value representation .*': (
        "Private elements with the figures that the picture shows (PS3.5 7.8.1), for readers that know them. "
        "No validator can know somebody's private elements."
    ),
    r"\w+: (?:StudyID|PatientID|StudyDate|StudyTime|AccessionNumber)\(\w{4},\w{4}\): "
    r"Missing attribute or value that would be needed to build DICOMDIR": (
        "The source states no such value, and a report invents none. The attribute is Type 2, so empty is "
        "right; only a DICOMDIR would want more (PS3.3 F.5), and that is for its writer to make up."
    ),
    r"\w+: (?:PatientName|ReferringPhysicianName)\(\w{4},\w{4}\): "
    r"Value dubious for this VR \[PN\] = <\.\.\.> - Retired Person Name form": (
        "The source writes a name without carets. A name is copied as it is: a report that spells the "
        "patient otherwise than the radiograph could be taken for another patient's."
    ),
}


def explanation(finding: str) -> str | None:
    """Return why a warning stays, or None for one that nobody has explained."""
    return next((why for pattern, why in EXPLAINED.items() if re.fullmatch(pattern, finding)), None)
