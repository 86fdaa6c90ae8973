"""Validate every object of every film: ``python -m tests.validators.sweep --data DIR``.

Each film is scored by the real networks, reported in every form that a destination may choose, and each
object is shown to dciodvfy; of every structure of report one is shown to DicomSRValidator. What is done
is kept in ``--out``, so that the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread

from dicom_node.eligibility import require_frontal_chest
from dicom_node.errors import DicomNodeError
from dicom_node.instance import OBJECT_KINDS, InstanceReference
from dicom_node.pixels import Radiograph, read_dataset, read_radiograph
from dicom_node.prior import PriorResult, ReportBasis, figures_of
from dicom_node.report import build_report
from dicom_node.report_settings import ReportSettings
from models.result import Explanation, Result, SeverityResult
from tests.validators.explained import explanation
from tests.validators.films import Film, films
from tests.validators.findings import Findings, dciodvfy, dicom_sr_validator, structure_of

_CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FORMS = (
    ReportSettings(objects=OBJECT_KINDS),
    ReportSettings("comprehensive-3d", "monochrome", grade_severity=True, objects=("sr", "sc", "map")),
    ReportSettings("enhanced", objects=("sr",)),
)
_scorer: Any = None


@dataclass
class Record:
    """What was found about one film."""

    film: str
    outcome: str
    objects: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    structures: dict[str, str] = field(default_factory=dict)

    def add(self, findings: Findings) -> None:
        """Count what a validator said."""
        for mine, theirs in ((self.errors, findings.errors), (self.warnings, findings.warnings)):
            for what, count in theirs.items():
                mine[what] = mine.get(what, 0) + count


def examine(film: Film, scorer: Any, keep: Path) -> Record:
    """Score one film, build its objects in every form, and validate them.

    Parameters
    ----------
    film : Film
        What to send through.
    scorer : Scorer
        The networks.
    keep : pathlib.Path
        Folder for one report of each structure, for DicomSRValidator later.
    """
    try:
        dataset = read_dataset(film.encode())
        require_frontal_chest(dataset)
        radiograph = read_radiograph(dataset)
    except DicomNodeError as refusal:
        return Record(film.name, type(refusal).__name__)
    result = _with_map(scorer.score(radiograph.pixels))
    scored = isinstance(result, SeverityResult)
    record = Record(film.name, "scored" if scored else "not assessable")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.dcm"
        for number, form in enumerate(FORMS):
            report = build_report(radiograph, result, form, _basis(radiograph, result, number))
            for kind, encoded in report.instances.items():
                path.write_bytes(encoded)
                dcmread(BytesIO(encoded))
                record.objects[kind] = record.objects.get(kind, 0) + 1
                record.add(dciodvfy(kind, path))
                if kind == "sr":
                    _keep(encoded, keep, record)
    return record


def _with_map(result: Result) -> Result:
    """Explain a score by white maps: whether the object is valid does not hang on what is painted."""
    if not isinstance(result, SeverityResult) or result.explanation is not None:
        return result
    return replace(result, explanation=Explanation(np.zeros((3, *result.zone_map.shape), np.float32), {}))


def _basis(radiograph: Radiograph, result: Result, number: int) -> ReportBasis:
    """Alone in the first form; with priors and a predecessor in the others."""
    if not number or not isinstance(result, SeverityResult):
        return ReportBasis(_CREATED_AT)
    reference = InstanceReference("1.2.840.10008.5.1.4.1.1.88.33", "2.25.11", "2.25.12", "2.25.13")
    algorithm = result.algorithm
    latest = PriorResult(
        sop_instance_uid="2.25.10",
        acquired_at=datetime(2025, 12, 24, 8, 0),
        algorithm=algorithm.name,
        version=algorithm.version,
        digest=algorithm.digest,
        score=result.score,
        score_max=result.score_max,
        percent=result.percent if result.measures_opacity else None,
        zones=figures_of(result),
        report=reference,
    )
    earlier = [replace(latest, acquired_at=latest.acquired_at - timedelta(days=30 * back)) for back in (2, 1)]
    priors = (*earlier, latest) if number == 1 else (latest,)
    study = str(radiograph.dataset.get("StudyInstanceUID", "2.25.16"))
    same_film = InstanceReference(reference.sop_class_uid, "2.25.14", "2.25.15", study)
    return ReportBasis(_CREATED_AT, priors=priors, predecessor=same_film if number == 1 else None)


def _keep(encoded: bytes, keep: Path, record: Record) -> None:
    structure = structure_of(encoded)
    record.structures[structure] = record.film
    path = keep / f"{structure}.dcm"
    if not path.exists():
        path.write_bytes(encoded)


def _start(weights: str) -> None:
    global _scorer  # noqa: PLW0603 - one scorer a process, loaded once
    from models.severity import SeverityScorer

    _scorer = SeverityScorer.load(Path(weights), threads=1)


def _examine_one(task: tuple[Path, int, Path]) -> Record:
    data, number, keep = task
    film = next(islice(films(data), number, None))
    return examine(film, _scorer, keep)


def _records(path: Path) -> Iterator[Record]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Record(**json.loads(line))


def validate_structures(keep: Path, done: Path, limit: int | None = None) -> dict[str, dict[str, int]]:
    """Show one report of each structure to DicomSRValidator; return its complaints by structure."""
    results: dict[str, dict[str, int]] = json.loads(done.read_text()) if done.exists() else {}
    waiting = [path for path in sorted(keep.glob("*.dcm")) if path.stem not in results]
    for path in waiting[:limit]:
        results[path.stem] = dicom_sr_validator(path).errors
        done.write_text(json.dumps(results, indent=1))
        _say(f"DicomSRValidator: {len(results)} of {len(waiting) + len(results)} structures")
    return results


def summarise(records: Iterable[Record], structures: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Return the figures of a sweep."""
    outcomes: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    reports: set[str] = set()
    for record in records:
        outcomes[record.outcome] += 1
        objects.update(record.objects)
        errors.update(record.errors)
        warnings.update(record.warnings)
        reports |= set(record.structures)
    for complaints in structures.values():
        errors.update(complaints)
    return {
        "films": dict(outcomes),
        "objects": dict(objects),
        "errors": dict(errors),
        "warnings": dict(warnings),
        "unexplained": sorted(warning for warning in warnings if explanation(warning) is None),
        "structures": {"of reports": len(reports), "shown to DicomSRValidator": len(structures)},
    }


def main() -> int:
    """Run the command; return 1 for an error or an unexplained warning."""
    options = _options()
    keep = options.out / "structures"
    keep.mkdir(parents=True, exist_ok=True)
    journal = options.out / "films.jsonl"
    known = {record.film for record in _records(journal)}
    names = [film.name for film in films(options.data)][: options.limit]
    waiting = [number for number, name in enumerate(names) if name not in known]
    _say(f"{len(names)} films, {len(names) - len(waiting)} of them done already")
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with (
        journal.open("a", encoding="utf-8") as file,
        context.Pool(options.jobs, _start, (options.weights,)) as pool,
    ):
        tasks = [(options.data, number, keep) for number in waiting]
        for done, record in enumerate(pool.imap_unordered(_examine_one, tasks), 1):
            file.write(json.dumps(record.__dict__) + "\n")
            file.flush()
            if done % 20 == 0 or done == len(tasks):
                _say(f"{done} of {len(tasks)} films in {time.monotonic() - began:.0f} s")
    structures = validate_structures(keep, options.out / "structures.json", options.structures)
    summary = summarise(_records(journal), structures)
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1))
    _print(summary)
    return 1 if summary["errors"] or summary["unexplained"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and dicom/")
    parser.add_argument("--out", type=Path, default=Path("data/validators"), help="where results are kept")
    parser.add_argument("--limit", type=int, help="how many films")
    parser.add_argument("--structures", type=int, help="how many structures of report DicomSRValidator sees")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--weights", default="light", help="folder or name of the weights")
    return parser.parse_args()


def _print(summary: dict[str, Any]) -> None:
    for heading in ("films", "objects", "structures"):
        _say(f"{heading}: " + ", ".join(f"{count} {what}" for what, count in summary[heading].items()))
    _say(f"errors: {sum(summary['errors'].values())}")
    for what, count in sorted(summary["errors"].items(), key=lambda pair: -pair[1]):
        _say(f"  {count:7d}  {what}")
    reasons: dict[str, list[str]] = {}
    for what, count in sorted(summary["warnings"].items(), key=lambda pair: -pair[1]):
        reasons.setdefault(explanation(what) or "NOT EXPLAINED", []).append(f"  {count:7d}  {what}")
    _say(f"warnings: {sum(summary['warnings'].values())}, of {len(reasons)} causes")
    for why, lines in reasons.items():
        _say("\n".join([why, *lines]))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
