"""Films of one patient, and documents, through the story's second step: what is compared, kept and noted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import Engine, delete, text

from dicom_node.instance import ReceivedInstance
from dicom_node.storage_scu import RemoteAE
from tests.reading_station import document, total, verdict
from worker.archives import Archive, Archives
from worker.deliveries import Deliveries
from worker.entry import EntryStatus, JournalEntry
from worker.history import History
from worker.pipeline import accept, score
from worker.priors import Priors
from worker.schema import DeliveryRow, InquiryRow, PriorRow, ReportRow
from worker.stages import Scoring

SIZE = {"Rows": 300, "Columns": 300, "PixelData": np.arange(90_000, dtype=np.uint16).tobytes()}


class Films:
    """Sends films and documents to the story, and reads what became of them."""

    def __init__(self, scoring: Scoring, history: History, make_film: Any, make_instance: Any) -> None:
        self.scoring, self.history = scoring, history
        self._make_film, self._make_instance = make_film, make_instance

    def send(self, **keywords: Any) -> str:
        """Take and score a film of the patient; return its SOP Instance UID."""
        who = {"PatientID": "4711", "IssuerOfPatientID": "A", "PatientBirthDate": "19500101"}
        return self.take(self._make_film(**SIZE, **who | keywords))

    def take(self, encoded: bytes) -> str:
        dataset = dcmread(BytesIO(encoded), stop_before_pixels=True)
        instance = replace(
            self._make_instance(str(dataset.SOPInstanceUID), encoded),
            sop_class_uid=str(dataset.SOPClassUID),
            study_instance_uid=str(dataset.StudyInstanceUID),
        )
        accept(instance, self.scoring.spool, self.scoring.journal, self.scoring.doorbell)
        score(instance.sop_instance_uid, self.scoring)
        return str(instance.sop_instance_uid)

    def entry(self, uid: str) -> JournalEntry:
        entry = self.history.entry(uid)
        assert entry is not None
        return entry

    def record(self, uid: str) -> Any:
        return self.entry(uid).result

    def film(self, uid: str) -> Dataset:
        return dcmread(BytesIO(self.scoring.spool.read_instance(uid)))

    def report(self, uid: str) -> Dataset:
        return dcmread(BytesIO(self.encoded_report(uid)))

    def encoded_report(self, uid: str) -> bytes:
        made = self.history.reports(uid)[-1]
        return self.scoring.spool.read_report(uid, made.variant, ("sr",)).instances["sr"]


@pytest.fixture
def films(
    scoring: Scoring, history: History, make_film: Any, make_instance: Callable[..., ReceivedInstance]
) -> Films:
    return Films(scoring, history, make_film, make_instance)


# --- earlier results ---------------------------------------------------------------------------------


def test_a_film_is_compared_with_those_taken_before(films: Films) -> None:
    second = films.send(StudyDate="20260103")
    first = films.send(StudyDate="20260101")
    third = films.send(StudyDate="20260105")
    assert films.record(second)["priors"] == films.record(first)["priors"] == []
    assert films.record(first)["change"] is None
    record = films.record(third)
    assert [prior["sop_instance_uid"] for prior in record["priors"]] == [first, second]
    assert record["change"]["since"] == "2026-01-03T12:00:00"
    assert record["change"]["score"] == 0
    assert record["acquired_at"] == "2026-01-05T12:00:00"
    (made,) = films.history.reports(third)
    priors = {prior.report.sop_instance_uid for prior in made.basis.priors if prior.report}
    assert priors == {films.report(first).SOPInstanceUID, films.report(second).SOPInstanceUID}
    told = str(films.report(third).get("PertinentOtherEvidenceSequence", ""))
    assert all(uid in told for uid in priors)


@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "4712"},
        {"IssuerOfPatientID": "B"},
        {"IssuerOfPatientID": None},
        {"PatientBirthDate": "19500102"},
        {"PatientID": None},
        {"PatientID": ""},
    ],
)
def test_who_has_only_the_name_in_common_is_somebody_else(films: Films, other: dict[str, Any]) -> None:
    films.send(StudyDate="20260101")
    assert films.record(films.send(StudyDate="20260103", **other))["priors"] == []


def test_without_any_date_nothing_is_compared(films: Films) -> None:
    films.send(StudyDate="20260101")
    undated = films.send(StudyDate=None, StudyTime=None)
    assert films.record(undated)["priors"] == []
    assert films.record(undated)["acquired_at"] is None
    assert films.record(films.send(StudyDate="20260109"))["priors"] != []


def test_the_journal_names_no_patient(films: Films, engine: Engine) -> None:
    films.send(PatientName="Mustermann^Erika", PatientID="PAT4711", StudyDate="20260101")
    films.send(PatientName="Mustermann^Erika", PatientID="PAT4711", StudyDate="20260103")
    with engine.connect() as connection:
        for table in ("entry", "prior", "report", "event", "inquiry"):
            rows = str(connection.execute(text(f"SELECT * FROM {table}")).all())
            assert not [word for word in ("Mustermann", "PAT4711", "19500101") if word in rows]


def test_a_film_that_is_not_assessable_is_nothing_to_compare_with(films: Films, fixed_scorer: Any) -> None:
    from models.result import NotAssessable, NotAssessableReason

    algorithm = fixed_scorer.algorithm
    films.scoring = replace(
        films.scoring, scorers=(_Says(algorithm, NotAssessable, NotAssessableReason.NO_LUNGS),)
    )
    first = films.send(StudyDate="20260101")
    assert films.record(first)["outcome"] == "not-assessable"
    films.scoring = replace(films.scoring, scorers=(fixed_scorer,))
    assert films.record(films.send(StudyDate="20260103"))["priors"] == []


class _Says:
    def __init__(self, algorithm: Any, kind: Any, reason: Any) -> None:
        self.algorithm, self._kind, self._reason = algorithm, kind, reason

    def score(self, pixels: Any) -> Any:
        return self._kind(self.algorithm, self._reason, "no lungs", np.zeros(pixels.shape, bool))


# --- archives ----------------------------------------------------------------------------------------


def forget(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(PriorRow))
        connection.execute(delete(InquiryRow))


def test_an_archive_that_does_not_answer_is_said_and_delays_little(
    films: Films, archives: Callable[..., Archives], bells: Any
) -> None:
    nobody = Archive(RemoteAE("PACS", "127.0.0.1", 9, timeout_s=5), "c-get")
    films.scoring = replace(films.scoring, archives=archives(PACS=nobody))
    started = time.monotonic()
    uid = films.send(StudyDate="20260101")
    assert time.monotonic() - started < 10
    (warning,) = [told for told in films.record(uid)["warnings"] if "earlier results" in told]
    assert warning.startswith("earlier results could not be asked for at PACS: ")
    assert warning in [what for _, what in films.history.story(uid)]
    # The next does not wait for it at all.
    second = films.send(StudyDate="20260103")
    assert [prior["sop_instance_uid"] for prior in films.record(second)["priors"]] == [uid]
    assert "a moment ago" in str(films.record(second)["warnings"])


def test_a_destination_that_rests_is_not_asked(
    films: Films, archives: Callable[..., Archives], deliveries: Deliveries
) -> None:
    deliveries.note_unreached("PACS", "away")
    films.scoring = replace(films.scoring, archives=archives(PACS=_Never()))
    assert "a moment ago" in str(films.record(films.send())["warnings"])


class _Never:
    @property
    def remote(self) -> Any:
        raise AssertionError("asked")


@pytest.mark.parametrize("by", ["c-get", "c-move", "qido"])
def test_what_an_archive_keeps_is_compared_with(
    films: Films,
    archives: Callable[..., Archives],
    archive: Any,
    engine: Engine,
    priors: Priors,
    storescu: Any,
    tmp_path: Any,
    start_node: Any,
    by: str,
) -> None:
    from dicom_node.web_session import RemoteWeb

    first = films.send(StudyDate="20260101")
    stranger = films.send(StudyDate="20260102", IssuerOfPatientID="B")
    for number, uid in enumerate((first, stranger)):
        (tmp_path / f"{number}.dcm").write_bytes(films.encoded_report(uid))
    orthanc = archive.orthanc
    sent = storescu(orthanc.dicom_port, tmp_path / "0.dcm", tmp_path / "1.dcm", called="ORTHANC")
    assert sent.returncode == 0, sent.stderr
    expected = films.history.reports(first)[0].reference
    forget(engine)
    remote: Any = RemoteAE("ORTHANC", "127.0.0.1", orthanc.dicom_port, timeout_s=10)
    if by == "qido":
        remote = RemoteWeb(f"{orthanc.url}/dicom-web", 10)
    films.scoring = replace(films.scoring, archives=archives(PACS=Archive(remote, by)))
    start_node(archive.node_port, films)
    second = films.send(StudyDate="20260103")
    (prior,) = films.record(second)["priors"]
    assert (prior["sop_instance_uid"], prior["score"]) == (first, 1)
    assert films.record(second)["warnings"] == films.record(stranger)["warnings"]
    (made,) = films.history.reports(second)
    assert made.basis.priors[0].report == expected
    # The next film need not ask.
    films.scoring = replace(films.scoring, archives=archives(PACS=_Never()))
    third = films.send(StudyDate="20260104")
    assert [one["sop_instance_uid"] for one in films.record(third)["priors"]] == [first, second]


@pytest.fixture
def start_node() -> Any:
    """The story's listener, where the archive sends what is moved: ``start_node(port, films)``."""
    from contextlib import ExitStack

    from dicom_node.storage_scp import NodeSettings, StorageSCP

    with ExitStack() as nodes:

        def start(port: int, films: Films) -> None:
            scoring = films.scoring
            nodes.enter_context(
                StorageSCP(
                    NodeSettings(port=port, allowed_calling_ae_titles=("*",)),
                    lambda instance: accept(instance, scoring.spool, scoring.journal, scoring.doorbell),
                )
            )

        yield start


# --- documents ---------------------------------------------------------------------------------------


def test_our_own_report_is_kept_as_an_earlier_result(films: Films, engine: Engine) -> None:
    first = films.send(StudyDate="20260101")
    report = films.encoded_report(first)
    forget(engine)
    uid = films.take(report)
    entry = films.entry(uid)
    assert (entry.status, entry.reason) == (EntryStatus.REJECTED, "own-result")
    record = films.record(films.send(StudyDate="20260103"))
    assert [prior["sop_instance_uid"] for prior in record["priors"]] == [first]


def test_a_readers_assessment_is_noted_with_its_film(films: Films) -> None:
    film = films.send()
    report = films.report(film)
    encoded = document(films.film(film), total(4), judges=report)
    uid = films.take(encoded)
    assert films.entry(uid).status is EntryStatus.NOTED
    (noted,) = films.history.assessments(film)
    assert (noted.document_uid, noted.report_uid) == (uid, report.SOPInstanceUID)
    assert (str(noted.assessment.verdict), noted.assessment.score) == ("corrected", 4)
    assert f"assessment of {film}: corrected; in {uid}" in [what for _, what in films.history.story(film)]
    # Said twice, it stands there once.
    before = films.history.story(film)
    films.take(encoded)
    assert films.history.assessments() == (noted,)
    assert films.history.story(film) == before
    assert films.entry(film).status is EntryStatus.REPORTED


@pytest.mark.parametrize(
    ("items", "told"),
    [([total(1)], "accepted"), ([verdict("REJECTED")], "rejected"), ([verdict("ACCEPTED")], "accepted")],
)
def test_what_a_reader_says(films: Films, items: list[Any], told: str) -> None:
    film = films.send()
    films.take(document(films.film(film), *items, judges=films.report(film)))
    (noted,) = films.history.assessments(film)
    assert str(noted.assessment.verdict) == told


def test_a_document_of_somebody_else_is_not_mistaken_for_it(films: Films) -> None:
    film = films.send()
    source, report = films.film(film), films.report(film)
    stranger = Dataset()
    stranger.update(report)
    stranger.SOPInstanceUID = generate_uid()
    for encoded in (
        document(source),  # says nothing of us
        document(source, judges=report),  # mentions our report and judges nothing
        document(source, total(4)),  # a score of its own
        document(source, total(4), judges=stranger),  # judges somebody else's report
    ):
        entry = films.entry(films.take(encoded))
        assert (entry.status, entry.reason) == (EntryStatus.REJECTED, "not-a-radiograph")
        assert "document" in str(entry.message)
    assert films.history.assessments() == ()


def test_an_assessment_of_a_report_from_before_there_was_a_list_of_them(films: Films, engine: Engine) -> None:
    film = films.send()
    report = films.report(film)
    with engine.begin() as connection:
        for table in (ReportRow, PriorRow):
            connection.execute(delete(table))
        stored = json.dumps([[report.SOPClassUID, report.SOPInstanceUID]])
        connection.execute(DeliveryRow.__table__.update().values(stored=json.loads(stored)))
    uid = films.take(document(films.film(film), total(4), judges=report))
    assert films.entry(uid).status is EntryStatus.NOTED


def test_an_assessment_of_a_film_that_was_forgotten_is_kept(films: Films, engine: Engine) -> None:
    film = films.send()
    source, report = films.film(film), films.report(film)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM entry"))
    films.take(document(source, total(4), judges=report))
    (noted,) = films.history.assessments()
    assert (noted.sop_instance_uid, noted.assessment.score) == (film, 4)


def test_a_damaged_document_ends_in_a_reason(films: Films) -> None:
    film = films.send()
    encoded = document(films.film(film), total(4), judges=films.report(film))
    uid = films.take(encoded[: len(encoded) * 2 // 3])
    assert films.entry(uid).status is EntryStatus.REJECTED
    assert films.history.assessments() == ()
