"""What the validators say about one object, in a form that can be counted."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node import codes
from dicom_node.instance import ObjectKind

_JAVA_OPTIONS = " ".join(
    f"-Djdk.xml.{limit}=0" for limit in ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")
)
"""A current Java otherwise refuses the validator's own template tables as too large."""
_SILENT = re.compile(r"Found \w+ IOD|Found Root Template .*|Root Template Validation Complete|"
                     r"IOD validation complete|Picked up .*")  # fmt: skip
_TIMEOUT_S = 120
_ANSWERS = frozenset(code.value for code in (codes.YES, codes.NO, *codes.SEVERITY_GRADES))
"""Values that the template leaves open: which of them is given makes no other structure."""


@dataclass(frozen=True)
class Findings:
    """Distinct errors and warnings with how often each occurs, told without places and item numbers."""

    errors: dict[str, int]
    warnings: dict[str, int]


def program(name: str) -> str | None:
    """Return a system program's path; the virtual environment has others of the same names."""
    return shutil.which(name, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")


def dciodvfy(kind: ObjectKind, path: Path) -> Findings:
    """Run dicom3tools' validator of information objects.

    Raises
    ------
    RuntimeError
        If it does not know the object, or is not installed.
    """
    said = _run("dciodvfy", "-new", str(path))
    errors: dict[str, int] = {}
    warnings: dict[str, int] = {}
    lines = [line for line in said.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(("Error", "Warning")):
            found = errors if line.startswith("Error") else warnings
            key = f"{kind}: {_neutral(line)}"
            found[key] = found.get(key, 0) + 1
    if not any(re.fullmatch(r"\w+", line) for line in lines):
        errors[f"{kind}: dciodvfy does not recognise the object"] = 1
    return Findings(errors, warnings)


def dicom_sr_validator(path: Path) -> Findings:
    """Run pixelmed's validator of Structured Reports and their templates; whatever it complains of counts."""
    said = _run("DicomSRValidator", str(path)).splitlines()
    complaints = [line.strip() for line in said if line.strip() and not _SILENT.fullmatch(line.strip())]
    errors: dict[str, int] = {}
    for line in complaints:
        key = f"sr: DicomSRValidator: {re.sub(r'[0-9.]{20,}', 'UID', line)}"
        errors[key] = errors.get(key, 0) + 1
    if not any("IOD validation complete" in line for line in said):
        errors["sr: DicomSRValidator did not complete"] = 1
    return Findings(errors, {})


def structure_of(encoded: bytes) -> str:
    """Return a digest of what a template constrains: relations, types and codes of all content items.

    Reports of equal structure differ in numbers, texts and UIDs only, so one of them stands for all.
    """
    report = dcmread(BytesIO(encoded))
    told = [str(report.SOPClassUID), *_structure(report)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _structure(item: Dataset) -> list[str]:
    told = [f"{item.get('RelationshipType')} {item.get('ValueType')}"]
    for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence"):
        for code in item.get(keyword, []):
            told.append("answer" if code.CodeValue in _ANSWERS else f"{code.CodeValue} {code.CodeMeaning}")
    for value in item.get("MeasuredValueSequence", []):
        told.append(value.MeasurementUnitsCodeSequence[0].CodeValue)
    for child in item.get("ContentSequence", []):
        told += ["(", *_structure(child), ")"]
    return told


def _neutral(line: str) -> str:
    """``Error - </A(0008,0001)[1]/B(0008,0002)[3]> - text`` becomes ``B(0008,0002): text``."""
    found = re.fullmatch(r"(?:Error|Warning) - <(?P<path>[^>]*)> - (?P<text>.*)", line)
    if found is None:
        return re.sub(r"^(?:Error|Warning) - ", "", line)
    attribute = re.sub(r"\[\d+\]", "", found["path"]).rsplit("/", 1)[-1]
    told = found["text"]
    # names are patients' data, and each would be a finding of its own
    return f"{attribute}: {re.sub('<.*>', '<...>', told) if '[PN]' in told else told}"


def _run(name: str, *arguments: str) -> str:
    found = program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; `make test` installs it on Debian")
    done = subprocess.run(
        [found, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_TIMEOUT_S,
        env={**os.environ, "JAVA_TOOL_OPTIONS": _JAVA_OPTIONS},
    )
    return done.stdout + done.stderr
