"""What is fuzzed: a film taken the worker's way, from its four UIDs to its pixels and to what a report needs.

``python -m tests.fuzz.target FILE...`` replays files, one line each; an input that breaks a promise ends it.
"""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import DicomNodeError, NotEligible, UndecodableInstance
from dicom_node.incoming import read_identity
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.source_header import requested_procedures, source_header
from dicom_node.transfer_syntaxes import TRANSFER_SYNTAXES
from tests.fuzz.mutations import data_set_start


def handle(content: bytes) -> str:
    """Take a film the worker's way, as far as its pixels; return what came out."""
    start = data_set_start(content)
    syntax = next((one for one in TRANSFER_SYNTAXES if one.encode() + b"\0" in content[:start]), None)
    # What is refused on arrival is read below all the same, as `cxr-worker score` would.
    with suppress(DicomNodeError):
        read_identity(content[start:], syntax or TRANSFER_SYNTAXES[len(content) % len(TRANSFER_SYNTAXES)])
    try:
        dataset = read_dataset(content)
    except (UndecodableInstance, NotEligible) as error:
        return type(error).__name__
    outcome = "radiograph"
    try:
        require_frontal_chest(dataset)
    except (UndecodableInstance, NotEligible) as error:
        outcome = getattr(error, "reason", "undecodable")
    try:
        radiograph = read_radiograph(dataset)
    except (UndecodableInstance, NotEligible) as error:
        return str(getattr(error, "reason", "undecodable"))
    assert radiograph.pixels.ndim == 2
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    header = source_header(radiograph.dataset)
    requested_procedures(radiograph.dataset, header.StudyInstanceUID)
    return str(outcome)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)
    for name in sys.argv[1:]:
        started = time.monotonic()
        told = handle(Path(name).read_bytes())
        sys.stdout.write(f"{Path(name).name}\t{told}\t{time.monotonic() - started:.3f}\n")
        sys.stdout.flush()
