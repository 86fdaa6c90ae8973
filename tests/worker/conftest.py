"""Journals on both databases, spools, and a scorer that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import generate_uid
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from dicom_node.instance import ReceivedInstance
from dicom_node.report_settings import ReportSettings
from models.result import ZONE_ORDER, AlgorithmId, Result, SeverityResult, ZoneInvolvement
from worker.archives import Archive, Archives
from worker.assessments import Assessments
from worker.database import migrate, open_engine
from worker.deliveries import Deliveries
from worker.history import History
from worker.journal import Journal
from worker.priors import Priors
from worker.spool import Spool
from worker.stages import Scoring
from worker.upkeep import Upkeep


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'journal.sqlite3'}"
    else:
        url = request.getfixturevalue("postgresql_url")
    engine = open_engine(make_url(url))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine) -> Journal:
    return Journal(engine)


@pytest.fixture
def deliveries(engine: Engine) -> Deliveries:
    return Deliveries(engine)


@pytest.fixture
def history(engine: Engine) -> History:
    return History(engine)


@pytest.fixture
def upkeep(engine: Engine) -> Upkeep:
    return Upkeep(engine)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def make_instance() -> Callable[..., ReceivedInstance]:
    """Build a received instance around PS3.10 bytes."""

    def make(uid: str | None = None, encoded: bytes = b"film") -> ReceivedInstance:
        return ReceivedInstance(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            sop_instance_uid=uid or generate_uid(prefix=None),
            series_instance_uid=generate_uid(prefix=None),
            study_instance_uid=generate_uid(prefix=None),
            calling_ae_title="MODALITY",
            encoded=encoded,
            received_at=datetime.now(UTC),
        )

    return make


@dataclass
class Bells:
    """A doorbell that remembers."""

    score: list[str] = field(default_factory=list)
    deliver: list[str] = field(default_factory=list)

    def ring_score(self, sop_instance_uid: str) -> None:
        self.score.append(sop_instance_uid)

    def ring_deliver(self, sop_instance_uid: str) -> None:
        self.deliver.append(sop_instance_uid)


@pytest.fixture
def bells() -> Bells:
    return Bells()


ALGORITHM = AlgorithmId(name="two-stage", version="test", weights={"lungs": "0" * 64}, parameters={})


@dataclass
class FixedScorer:
    """A scorer without networks: both halves of the film are lungs, the right lower zone is opaque."""

    error: Exception | None = None
    calls: int = 0

    @property
    def algorithm(self) -> AlgorithmId:
        return ALGORITHM

    def score(self, pixels: NDArray[np.float32]) -> Result:
        self.calls += 1
        if self.error is not None:
            raise self.error
        rows, columns = pixels.shape
        zone_map = np.zeros((rows, columns), np.uint8)
        for index in range(len(ZONE_ORDER)):
            side, level = divmod(index, 3)
            top = rows // 10 + level * rows // 4
            left = columns // 10 + side * columns // 2
            zone_map[top : top + rows // 4, left : left + columns * 3 // 10] = index + 1
        opacity = zone_map == 3
        zones = tuple(
            ZoneInvolvement(
                side,
                level,
                int((zone_map == k + 1).sum()),
                int((opacity & (zone_map == k + 1)).sum()),
                int(k == 2),
            )
            for k, (side, level) in enumerate(ZONE_ORDER)
        )
        return SeverityResult(ALGORITHM, 1, 6, zones, zone_map, opacity)


@pytest.fixture
def fixed_scorer() -> FixedScorer:
    return FixedScorer()


@pytest.fixture
def priors(engine: Engine) -> Priors:
    return Priors(engine)


@pytest.fixture
def archives(spool: Spool, priors: Priors, history: History) -> Callable[..., Archives]:
    """Who is asked for earlier results: ``archives(NAME=Archive(...))``."""

    def make(within_s: float = 15.0, **known: Archive) -> Archives:
        return Archives(known, "CXRWORKER", within_s, spool, priors, history)

    return make


@pytest.fixture
def scoring(
    engine: Engine,
    spool: Spool,
    journal: Journal,
    bells: Bells,
    fixed_scorer: FixedScorer,
    history: History,
    priors: Priors,
    archives: Callable[..., Archives],
) -> Scoring:
    return Scoring(
        spool,
        journal,
        bells,
        (fixed_scorer,),
        {"PACS": ReportSettings()},
        maximum_attempts=2,
        history=history,
        priors=priors,
        assessments=Assessments(engine),
        archives=archives(),
    )
