"""The fault points: where a process dies, hangs or errs, in the order in which an image passes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LISTEN, SCORE, DELIVER, SWEEP = "listen", "score", "deliver", "sweep"

_COMMIT = "sqlalchemy.engine.default:DefaultDialect.do_commit"
_RECV = "dicom_node.connection:GuardedSocket._read:after"
_SEND = "dicom_node.connection:GuardedSocket.send"
_SPOOL = "worker.spool:Spool"
_FOLDER = "worker.spool_folder:FolderStore"
_JOURNAL = "worker.journal:Journal"
_DELIVERIES = "worker.deliveries:Deliveries"
_UPKEEP = "worker.upkeep:Upkeep"
_BELL = "worker.tasks:CeleryDoorbell"
_STORE = "dicom_node.storage_scu:store"
_C_STORE = "pynetdicom.association:Association.send_c_store"
_SCORER = "models.severity:SeverityScorer"
_SECOND_SCORER = "models.bsnet.scorer:BSNetScorer"
CLAIM_TIMEOUT_S = 8
"""What the clusters set; a hang must outlast it."""


@dataclass(frozen=True)
class Arm:
    """One armed point; see ``launch``. ``skip`` passes are let through first."""

    point: str
    role: str
    action: str = "kill"
    within: str = ""
    skip: int = 0
    times: int = 1
    seconds: float = 0.0

    def arguments(self, embedded: bool) -> dict[str, Any]:
        """Return what ``Cluster.arm`` wants; an embedded installation is one role, with its children."""
        given = {"action": self.action, "within": self.within, "seconds": self.seconds}
        return given | {"role": "" if embedded else self.role, "skip": self.skip, "times": self.times}


@dataclass(frozen=True)
class Fault:
    """A named fault: what is armed before images are sent; ``core`` ones are part of every test run."""

    name: str
    stage: str
    arms: tuple[Arm, ...] = field(default=())
    core: bool = False
    embedded: bool = True
    waits: bool = False
    """Whether the point is passed some time after its images have ended (retention)."""


def _one(stage: str, role: str, name: str, point: str, **options: Any) -> Fault:
    flags = {key: options.pop(key) for key in ("core", "embedded", "waits") if key in options}
    return Fault(name, stage, (Arm(point, role, **options),), **flags)


def _receiving(name: str, point: str, **options: Any) -> Fault:
    return _one("receiving", LISTEN, name, point, **options)


def _scoring(name: str, point: str, **options: Any) -> Fault:
    return _one("scoring", SCORE, name, point, **options)


def _delivery(name: str, point: str, **options: Any) -> Fault:
    return _one("delivery", DELIVER, name, point, **options)


def _sweeping(name: str, point: str, **options: Any) -> Fault:
    return _one("sweeper", SWEEP, name, point, **options)


RECEIVING = (
    _receiving("in the middle of the PDUs", _RECV, skip=14, core=True),
    _receiving("bytes complete, nothing kept", "dicom_node.storage_scp:_received:after"),
    _receiving("before the spool", f"{_SPOOL}.write_instance:before"),
    _receiving("file written, not synced", "os:fsync:before", within="write_instance"),
    _receiving("file synced, no name yet", "os:link:before", within="write_instance", core=True),
    _receiving("name linked, folder not synced", "os:link:after", within="write_instance"),
    _receiving("folder synced", f"{_SPOOL}.write_instance:after"),
    _receiving("before the commit", f"{_COMMIT}:before", within="record_received"),
    _receiving("committed, not known", f"{_COMMIT}:after", within="record_received", core=True),
    _receiving("before the bell", f"{_JOURNAL}.record_received:after"),
    _receiving("after the bell", f"{_BELL}.ring_score:after"),
    _receiving("before the answer", "dicom_node.storage_scp:StorageSCP._on_store:after"),
    _receiving("answer in hand", f"{_SEND}:before", skip=5),
    _receiving("after the answer", f"{_SEND}:after", skip=5, core=True),
    _receiving("disk error at sync", "os:fsync:before", within="write_instance", action="raise", times=2),
    _receiving("error in the journal", f"{_JOURNAL}.record_received:before", action="error", times=2),
    _receiving("listener stopped for a while", f"{_JOURNAL}.record_received:before", action="stop"),
)

SCORING = (
    _scoring("before the claim", f"{_JOURNAL}.claim:before"),
    _scoring("before the claim's commit", f"{_COMMIT}:before", within="claim"),
    _scoring("claimed", f"{_JOURNAL}.claim:after"),
    _scoring("bytes read", f"{_SPOOL}.read_instance:after"),
    _scoring("decoded", "dicom_node.pixels:read_radiograph:after"),
    _scoring("in inference", f"{_SCORER}.score:before", core=True),
    _scoring("between the two networks", f"{_SCORER}.find_opacity:before"),
    _scoring("between the algorithms", f"{_SECOND_SCORER}.score:before", core=True),
    _scoring("inferred", f"{_SECOND_SCORER}.score:after"),
    _scoring("report built", "dicom_node.report:build_report:after"),
    _scoring("between SR and SC", "os:link:after", within="write_report"),
    _scoring("between the algorithms' reports", f"{_SPOOL}.write_report:after"),
    _scoring("reports written", f"{_SPOOL}.write_report:after", skip=1),
    _scoring("before mark_reported", f"{_JOURNAL}.mark_reported:before"),
    _scoring("before mark_reported's commit", f"{_COMMIT}:before", within="mark_reported", core=True),
    _scoring("mark_reported committed", f"{_COMMIT}:after", within="mark_reported"),
    _scoring("before the delivery's bell", f"{_JOURNAL}.mark_reported:after", core=True),
    _scoring("after the delivery's bell", f"{_BELL}.ring_deliver:after"),
    _scoring("rejection not committed", f"{_COMMIT}:before", within="mark_rejected"),
    _scoring("whole worker in inference", f"{_SCORER}.score:before", action="group"),
    _scoring("worker's parent in inference", f"{_SCORER}.score:before", action="parent", embedded=False),
    _scoring("two images at once", f"{_SCORER}.score:after", times=2),
    _scoring("error in inference", f"{_SCORER}.score:before", action="error"),
    _scoring("disk error at the report", "os:fsync:before", within="write_report", action="raise", times=2),
    _scoring("hangs past its claim", f"{_SCORER}.score:before", action="hang", seconds=CLAIM_TIMEOUT_S + 3),
    _scoring(
        "hangs past its claim, report written",
        f"{_SPOOL}.write_report:after",
        action="hang",
        seconds=CLAIM_TIMEOUT_S + 3,
    ),
    _scoring("stopped past its claim", f"{_JOURNAL}.mark_reported:before", action="stop"),
)

DELIVERY = (
    _delivery("before the claim", f"{_DELIVERIES}.claim:before"),
    _delivery("before the claim's commit", f"{_COMMIT}:before", within="claim"),
    _delivery("claimed", f"{_DELIVERIES}.claim:after"),
    _delivery("report read", f"{_SPOOL}.read_report:after"),
    _delivery("before the association", f"{_STORE}:before"),
    _delivery("associated", f"{_C_STORE}:before"),
    _delivery("between SR and SC", f"{_C_STORE}:after", core=True),
    _delivery("PACS answered, journal does not know", f"{_STORE}:after", core=True),
    _delivery("before settling", f"{_DELIVERIES}.settle:before"),
    _delivery("before settling's commit", f"{_COMMIT}:before", within="settle"),
    _delivery("settled, not known", f"{_COMMIT}:after", within="settle"),
    _delivery("one algorithm's report settled", f"{_DELIVERIES}.settle:after", core=True),
    _delivery("whole worker between SR and SC", f"{_C_STORE}:after", action="group"),
    _delivery("error in sending", f"{_STORE}:before", action="error"),
    _delivery("hangs past its claim", f"{_STORE}:before", action="hang", seconds=CLAIM_TIMEOUT_S + 3),
    _delivery(
        "hangs between SR and SC past its claim",
        f"{_C_STORE}:after",
        action="hang",
        seconds=CLAIM_TIMEOUT_S + 3,
    ),
    _delivery("stopped past its claim", f"{_DELIVERIES}.settle:before", action="stop"),
    _delivery("commitment claimed", f"{_DELIVERIES}.claim_commitment:after", skip=2),
    _delivery("before asking for commitment", "dicom_node.storage_commitment:request_commitment:before"),
    _delivery("commitment asked for", "dicom_node.storage_commitment:request_commitment:after", core=True),
    _delivery("commitment not settled", f"{_COMMIT}:before", within="settle_commitment"),
    _one(
        "delivery", LISTEN, "commitment's word not committed", f"{_COMMIT}:before", within="record_commitment"
    ),
    _one("delivery", LISTEN, "commitment's word committed", f"{_COMMIT}:after", within="record_commitment"),
)

_DEAD_CLAIM = Arm(f"{_JOURNAL}.claim:after", SCORE)
_LOST_BELL = Arm(f"{_JOURNAL}.mark_reported:after", SCORE)


def _after(first: Arm, name: str, point: str, core: bool = False, **options: Any) -> Fault:
    return Fault(name, "sweeper", (first, Arm(point, SWEEP, **options)), core=core)


SWEEPER = (
    _sweeping("before the round", "worker.pipeline:sweep:before"),
    _after(_DEAD_CLAIM, "dead claim found", f"{_COMMIT}:before", within="restore_stale"),
    _after(_DEAD_CLAIM, "dead claim restored", f"{_UPKEEP}.restore_stale:after", skip=10),
    _after(_LOST_BELL, "overdue noted, not rung", f"{_BELL}.ring_deliver:before"),
    _after(_LOST_BELL, "rung again", f"{_BELL}.ring_deliver:after", core=True),
    _sweeping("before files are removed", f"{_SPOOL}.remove:before", waits=True),
    _sweeping("reports removed, image not", f"{_FOLDER}.remove_all:after", waits=True),
    _sweeping("files removed, journal does not know", f"{_SPOOL}.remove:after", waits=True, core=True),
    _sweeping("purge committed", f"{_COMMIT}:after", within="mark_purged", waits=True),
    _sweeping("error while removing", f"{_SPOOL}.remove:before", action="raise", waits=True),
)

FAULTS = RECEIVING + SCORING + DELIVERY + SWEEPER
POINTS = tuple(sorted({arm.point for fault in FAULTS for arm in fault.arms}))
