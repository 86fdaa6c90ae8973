"""A process that takes films the worker's way, one path a line, and says what came out and what it cost.

``python -m tests.hostile.judge``: for each path on standard input, one JSON object on standard output with
``outcome, message, seconds, peak_mb`` (peak of the resident set above that before the film).
"""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.errors import NotEligible, UndecodableInstance
from dicom_node.report import ReportBasis, ReportSettings, build_report
from models.result import ZONE_ORDER, AlgorithmId, Result, SeverityResult, ZoneInvolvement
from worker.pipeline import assess

CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Halves:
    """A scorer without networks: six boxes are the zones, the third is opaque."""

    @property
    def algorithm(self) -> AlgorithmId:
        return AlgorithmId(name="two-stage", version="test", weights={"lungs": "0" * 64}, parameters={})

    def score(self, pixels: Any) -> Result:
        rows, columns = pixels.shape
        zone_map = np.zeros((rows, columns), np.uint8)
        for index in range(len(ZONE_ORDER)):
            side, level = divmod(index, 3)
            top, left = rows // 10 + level * rows // 4, columns // 10 + side * columns // 2
            zone_map[top : top + rows // 4, left : left + columns * 3 // 10] = index + 1
        opacity = zone_map == 3
        zones = tuple(
            ZoneInvolvement(
                *ZONE_ORDER[index],
                int((zone_map == index + 1).sum()),
                int((opacity & (zone_map == index + 1)).sum()),
                int(index == 2),
            )
            for index in range(len(ZONE_ORDER))
        )
        return SeverityResult(self.algorithm, 1, 6, zones, zone_map, opacity)


def judge(path: Path) -> dict[str, Any]:
    """Assess one film, build its report, and measure."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest resident set so far
    before_mb, started = _resident_mb("VmRSS"), time.monotonic()
    told: dict[str, Any] = {"message": ""}
    try:
        radiograph, result = assess(path.read_bytes(), Halves())
        report = build_report(radiograph, result, ReportSettings(), ReportBasis(CREATED_AT))
        for kind, encoded in report.instances.items():
            path.with_suffix(f".{kind}.dcm").write_bytes(encoded)
        told["outcome"] = "radiograph"
    except NotEligible as refusal:
        told = {"outcome": str(refusal.reason), "message": refusal.message}
    except UndecodableInstance as error:
        told = {"outcome": "undecodable", "message": str(error)}
    except Exception as error:
        told = {"outcome": "unexpected", "message": f"{type(error).__name__}: {error}"}
    told["seconds"] = round(time.monotonic() - started, 3)
    told["peak_mb"] = round(_resident_mb("VmHWM") - before_mb, 1)
    return told


def _resident_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(judge(Path(line.strip()))) + "\n")
        sys.stdout.flush()
        gc.collect()
