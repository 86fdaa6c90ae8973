"""Which reports a result leads to: those made before, new ones, or successors that name what they replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dicom_node.errors import DicomNodeError
from dicom_node.instance import OBJECT_KINDS, InstanceReference
from dicom_node.own_report import reference_of
from dicom_node.prior import ReportBasis
from dicom_node.reading import read_dataset
from dicom_node.report_settings import ReportSettings
from worker.entry import Delivery, Finding, JournalEntry, MadeReport
from worker.errors import MissingInstance
from worker.longitudinal import Earlier, result_for_later
from worker.summary import summarise

if TYPE_CHECKING:
    from dicom_node.pixels import Radiograph
    from models.result import Result
    from worker.stages import Scoring

_NOBODY = ""
"""Without a destination the report is still made: it can be looked at, and sent later."""


@dataclass(frozen=True)
class Plan:
    """One report that is wanted: its name in the spool, its form, and what it is built upon."""

    variant: str
    form: ReportSettings
    basis: ReportBasis
    reference: InstanceReference | None = None
    made_before: bool = False


def plan_reports(entry: JournalEntry, result: Result, earlier: Earlier, stage: Scoring) -> Mapping[str, Plan]:
    """Return which report each destination is to have.

    The same algorithm and form as of the report that a destination had last: that report. Otherwise one
    that names what it replaces there.

    Parameters
    ----------
    entry : JournalEntry
        The claim: new reports lie in the spool under a name of its own, and the journal's commit says
        whose count.
    result : SeverityResult or NotAssessable
        What was found.
    earlier : Earlier
        What it is compared with.
    stage : Scoring
        What scoring has.
    """
    made = stage.history.reports(entry.sop_instance_uid)
    sent = {one.destination: one for one in stage.history.deliveries(entry.sop_instance_uid)}
    now = datetime.now(UTC)
    digest = result.algorithm.digest
    plans: dict[str, Plan] = {}
    for destination, form in (dict(stage.forms) or {_NOBODY: ReportSettings()}).items():
        delivery = sent.get(destination)
        last = _last(made, delivery, None if destination == _NOBODY else (digest, form.digest))
        if last is not None and (last.algorithm_digest, last.form_digest) == (digest, form.digest):
            whole = set(form.objects) <= set(last.kinds)
            variant = last.variant if whole else _name(entry, digest, form, last.basis)
            plans[destination] = Plan(variant, form, last.basis, last.reference, made_before=whole)
        else:
            basis = ReportBasis(now, earlier.priors, _replaced(last, delivery, stage))
            plans[destination] = Plan(_name(entry, digest, form, basis), form, basis)
    return _with_all_objects(plans)


def write_reports(
    plans: Mapping[str, Plan], radiograph: Radiograph, result: Result, stage: Scoring
) -> Mapping[str, Plan]:
    """Let every planned report lie in the spool; return the plans with their Structured Reports' references.

    One that was made before is built again only if its files are gone: then with the same bytes.
    """
    from dicom_node.report import build_report  # noqa: PLC0415 - highdicom, which the listener does without

    uid = str(radiograph.dataset.SOPInstanceUID)
    written: dict[str, Plan] = {}
    for plan in plans.values():
        if plan.variant in written:
            continue
        if not (plan.made_before and _lies_in_spool(uid, plan, stage)):
            report = build_report(radiograph, result, plan.form, plan.basis)
            stage.spool.write_report(uid, plan.variant, report)
            if "sr" in report.instances:
                reference = reference_of(read_dataset(report.instances["sr"]))
                written[plan.variant] = replace(plan, reference=reference)
                continue
        written[plan.variant] = plan
    return {destination: written[plan.variant] for destination, plan in plans.items()}


def conclude(
    entry: JournalEntry,
    plans: Mapping[str, Plan],
    radiograph: Radiograph,
    result: Result,
    earlier: Earlier,
    elapsed_s: float,
) -> Finding:
    """Return all that the journal is to know of it."""
    uid, digest = entry.sop_instance_uid, result.algorithm.digest
    new = {plan.variant: plan for plan in plans.values() if not plan.made_before}
    reference = next((plan.reference for plan in plans.values() if plan.reference), None)
    record: Mapping[str, Any]
    if new or entry.result is None:
        basis = next(iter(new.values() or plans.values())).basis
        noted = (*radiograph.warnings, *earlier.notes)
        record = summarise(uid, result, noted, elapsed_s, acquired_at=earlier.acquired_at, basis=basis)
    else:
        # The reports say what they said: so does the record.
        record = entry.result
    return Finding(
        record=record,
        algorithm_digest=digest,
        deliveries={name: plan.variant for name, plan in plans.items() if name != _NOBODY},
        reports=tuple(
            MadeReport(
                uid, plan.variant, digest, plan.form.digest, plan.form.objects, plan.reference, plan.basis
            )
            for plan in new.values()
        ),
        result=result_for_later(uid, result, earlier, reference),
        notes=(*earlier.notes, *_told(plans)),
    )


def _told(plans: Mapping[str, Plan]) -> list[str]:
    lines = []
    for destination, plan in plans.items():
        whose = f"{destination}: " if destination else ""
        if plan.made_before:
            lines.append(f"{whose}the report is the one made before")
        elif plan.basis.predecessor is not None:
            lines.append(f"{whose}a new report replaces {plan.basis.predecessor.sop_instance_uid}")
    return lines


def _last(
    made: tuple[MadeReport, ...], delivery: Delivery | None, alike: tuple[str, str] | None
) -> MadeReport | None:
    """Return the report that a destination had last; for a new one, the last of the form it wants."""
    if delivery is not None:
        return next((one for one in made if one.variant == delivery.variant), None)
    wanted = [one for one in made if alike in (None, (one.algorithm_digest, one.form_digest))]
    return wanted[-1] if wanted else None


def _replaced(last: MadeReport | None, delivery: Delivery | None, stage: Scoring) -> InstanceReference | None:
    """Return the Structured Report that a destination has, as far as it took one."""
    if delivery is None:
        return None if last is None else last.reference or last.basis.predecessor
    reference = _unrecorded(delivery, stage) if last is None else last.reference
    if reference is not None and reference.sop_instance_uid in {uid for _, uid in delivery.stored}:
        return reference
    return None if last is None else last.basis.predecessor


def _unrecorded(delivery: Delivery, stage: Scoring) -> InstanceReference | None:
    """Return a Structured Report that was made by a version that kept no record of it."""
    try:
        report = stage.spool.read_report(delivery.sop_instance_uid, delivery.variant, ("sr",))
        return reference_of(read_dataset(report.instances["sr"]))
    except (DicomNodeError, MissingInstance):
        return None


def _name(entry: JournalEntry, digest: str, form: ReportSettings, basis: ReportBasis) -> str:
    claimed_us = int(entry.updated_at.timestamp() * 1_000_000)
    parts = (digest[:16], form.digest[:16], basis.digest[:8], f"{claimed_us:x}")
    return "-".join(filter(None, parts))


def _with_all_objects(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """Let what two destinations share be built once, with the objects of both."""
    objects: dict[str, set[str]] = {}
    for plan in plans.values():
        objects.setdefault(plan.variant, set()).update(plan.form.objects)
    return {
        destination: replace(
            plan,
            form=replace(
                plan.form, objects=tuple(kind for kind in OBJECT_KINDS if kind in objects[plan.variant])
            ),
        )
        for destination, plan in plans.items()
    }


def _lies_in_spool(uid: str, plan: Plan, stage: Scoring) -> bool:
    try:
        stage.spool.read_report(uid, plan.variant, plan.form.objects)
    except MissingInstance:
        return False
    return True
