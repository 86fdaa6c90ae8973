"""Which reports a result leads to: those made before, new ones, or successors that name what they replace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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
    """One report that is wanted at one destination.

    Parameters
    ----------
    destination : str
        Who is to have it.
    result : SeverityResult or NotAssessable
        What it tells.
    variant : str
        Its name in the spool.
    form : ReportSettings
        How, and of which objects it consists.
    basis : ReportBasis
        What else it is built upon.
    reference : InstanceReference, optional
        Its Structured Report.
    made_before : bool
        Whether it was made when the radiograph was scored before.
    """

    destination: str
    result: Result
    variant: str
    form: ReportSettings
    basis: ReportBasis
    reference: InstanceReference | None = None
    made_before: bool = False


def plan_reports(
    entry: JournalEntry, results: Sequence[Result], earlier: Earlier, stage: Scoring
) -> tuple[Plan, ...]:
    """Return which reports each destination is to have: one of each algorithm.

    The same algorithm and form as of the report of that algorithm that a destination had last: that
    report. Otherwise one that names what it replaces there.

    Parameters
    ----------
    entry : JournalEntry
        The claim: new reports lie in the spool under a name of its own, and the journal's commit says
        whose count.
    results : Sequence of SeverityResult or NotAssessable
        What each algorithm found.
    earlier : Earlier
        What that is compared with.
    stage : Scoring
        What scoring has.
    """
    made = stage.history.reports(entry.sop_instance_uid)
    sent = {(one.algorithm, one.destination): one for one in stage.history.deliveries(entry.sop_instance_uid)}
    now = datetime.now(UTC)
    plans = []
    for result in results:
        name = result.algorithm.name
        past = tuple(one for one in made if one.algorithm == name)
        new = ReportBasis(now, earlier.priors.get(name, ()))
        for destination, form in (dict(stage.forms) or {_NOBODY: ReportSettings()}).items():
            wanted = Plan(destination, result, "", form.for_result(result), new)
            plans.append(_plan(entry, wanted, past, sent.get((name, destination)), stage))
    return _with_all_objects(plans)


def _plan(
    entry: JournalEntry,
    wanted: Plan,
    made: tuple[MadeReport, ...],
    delivery: Delivery | None,
    stage: Scoring,
) -> Plan:
    """Return the plan that meets what is wanted: the report made before where it does, or another."""
    alike = (wanted.result.algorithm.digest, wanted.form.digest)
    last = _last(made, delivery, None if wanted.destination == _NOBODY else alike)
    if last is not None and (last.algorithm_digest, last.form_digest) == alike:
        whole = set(wanted.form.objects) <= set(last.kinds)
        same = replace(wanted, basis=last.basis, reference=last.reference, made_before=whole)
        return replace(same, variant=last.variant if whole else _name(entry, same))
    basis = replace(wanted.basis, predecessor=_replaced(last, delivery, stage))
    new = replace(wanted, basis=basis)
    return replace(new, variant=_name(entry, new))


def write_reports(plans: Sequence[Plan], radiograph: Radiograph, stage: Scoring) -> tuple[Plan, ...]:
    """Let every planned report lie in the spool; return the plans with their Structured Reports' references.

    One that was made before is built again only if its files are gone: then with the same bytes.
    """
    from dicom_node.report import build_report  # noqa: PLC0415 - highdicom, which the listener does without

    uid = str(radiograph.dataset.SOPInstanceUID)
    references: dict[str, InstanceReference | None] = {}
    for plan in plans:
        if plan.variant in references:
            continue
        references[plan.variant] = plan.reference
        if not (plan.made_before and _lies_in_spool(uid, plan, stage)):
            report = build_report(radiograph, plan.result, plan.form, plan.basis)
            stage.spool.write_report(uid, plan.variant, report)
            if "sr" in report.instances:
                references[plan.variant] = reference_of(read_dataset(report.instances["sr"]))
    return tuple(replace(plan, reference=references[plan.variant]) for plan in plans)


def conclude(
    entry: JournalEntry,
    plans: Sequence[Plan],
    radiograph: Radiograph,
    earlier: Earlier,
    elapsed_s: float,
) -> tuple[Finding, ...]:
    """Return all that the journal is to know of it, for each algorithm."""
    by_algorithm: dict[str, list[Plan]] = {}
    for plan in plans:
        by_algorithm.setdefault(plan.result.algorithm.name, []).append(plan)
    noted = (*radiograph.warnings, *earlier.notes)
    return tuple(_conclude(entry, mine, earlier, noted, elapsed_s) for mine in by_algorithm.values())


def _conclude(
    entry: JournalEntry, plans: Sequence[Plan], earlier: Earlier, noted: Sequence[str], elapsed_s: float
) -> Finding:
    uid, result = entry.sop_instance_uid, plans[0].result
    new = {plan.variant: plan for plan in plans if not plan.made_before}
    # The reports say what they said: so does the record.
    record = None if new else entry.result_of(result.algorithm.name)
    if record is None:
        basis = next(iter(new.values()), plans[0]).basis
        record = summarise(uid, result, noted, elapsed_s, acquired_at=earlier.acquired_at, basis=basis)
    reference = next((plan.reference for plan in plans if plan.reference), None)
    return Finding(
        record=record,
        deliveries={plan.destination: plan.variant for plan in plans if plan.destination != _NOBODY},
        reports=tuple(_made(uid, plan) for plan in new.values()),
        result=result_for_later(uid, result, earlier, reference),
        notes=(*earlier.notes, *_told(plans)),
    )


def _made(uid: str, plan: Plan) -> MadeReport:
    algorithm, form = plan.result.algorithm, plan.form
    return MadeReport(
        sop_instance_uid=uid,
        variant=plan.variant,
        algorithm=algorithm.name,
        algorithm_digest=algorithm.digest,
        form_digest=form.digest,
        kinds=form.objects,
        reference=plan.reference,
        basis=plan.basis,
    )


def _told(plans: Sequence[Plan]) -> list[str]:
    lines = []
    for plan in plans:
        names = filter(None, (plan.destination, plan.result.algorithm.name))
        whose = f"{', '.join(names)}: "
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


def _name(entry: JournalEntry, plan: Plan) -> str:
    claimed_us = int(entry.updated_at.timestamp() * 1_000_000)
    digests = (plan.result.algorithm.digest[:16], plan.form.digest[:16], plan.basis.digest[:8])
    return "-".join(filter(None, (*digests, f"{claimed_us:x}")))


def _with_all_objects(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Let what two destinations share be built once, with the objects of both."""
    objects: dict[str, set[str]] = {}
    for plan in plans:
        objects.setdefault(plan.variant, set()).update(plan.form.objects)
    shared = {
        variant: tuple(kind for kind in OBJECT_KINDS if kind in kinds) for variant, kinds in objects.items()
    }
    return tuple(replace(plan, form=replace(plan.form, objects=shared[plan.variant])) for plan in plans)


def _lies_in_spool(uid: str, plan: Plan, stage: Scoring) -> bool:
    try:
        stage.spool.read_report(uid, plan.variant, plan.form.objects)
    except MissingInstance:
        return False
    return True
