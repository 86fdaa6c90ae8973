"""What readers said: listed, compared, and turned into data that training reads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.uid import ComprehensiveSRStorage, generate_uid
from sqlalchemy import Engine

from dicom_node.assessment import Assessment, Verdict
from dicom_node.instance import InstanceReference, ReceivedInstance
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.prior import ReportBasis
from dicom_node.report import build_report
from dicom_node.report_settings import ReportSettings
from models.result import SeverityResult
from training.data.dataset import read_manifest
from training.judging.film_table import film_table
from training.judging.scoring import score_films
from training.prepare import main as prepare
from worker.assessments.agreement import Judgement, agreement, judgements
from worker.assessments.command import judgement_in_json, write_csv
from worker.assessments.export import UnusableFolder, export_assessments
from worker.entry import Finding, MadeReport, ReaderAssessment
from worker.history import History
from worker.journal import Journal
from worker.priors import Priors
from worker.reprocessing import Reprocessing
from worker.spool import Spool
from worker.summary import summarise

NOW = datetime(2026, 3, 1, 9, 0)


@dataclass
class Reading:
    """A journal with scored films, and readers who say what they think."""

    journal: Journal
    history: History
    spool: Spool
    engine: Engine
    scorer: Any
    make_film: Callable[..., bytes]

    def score(self, digest: str | None = None, **keywords: Any) -> str:
        """Score a film: right lower zone involved, 1 of 6; return its SOP Instance UID."""
        pixels = np.random.default_rng(len(self.history.entries())).integers(0, 4096, (300, 280), np.uint16)
        size = {"Rows": 300, "Columns": 280, "PixelData": pixels.tobytes()}
        uid = generate_uid(prefix=None)
        encoded = self.make_film(SOPInstanceUID=uid, **{**size, **keywords})
        self.spool.write_instance(uid, encoded)
        self.journal.record_received(
            ReceivedInstance("1.2.3", uid, "1.2.4", "1.2.5", "CR", encoded, datetime.now(UTC))
        )
        self.report(uid)
        return uid

    def report_of(self, uid: str) -> str:
        reference = self.history.reports(uid)[0].reference
        assert reference is not None
        return reference.sop_instance_uid

    def say(self, uid: str, verdict: Verdict, days: int = 0, **stated: Any) -> None:
        """Store a reader's assessment of the film's first report."""
        document = generate_uid(prefix=None)
        told = Assessment(
            document_uid=document,
            sop_class_uid=ComprehensiveSRStorage,
            verdict=verdict,
            **{
                "score": None,
                "zones": (None,) * 6,
                "verified": False,
                "assessed_at": NOW + timedelta(days=days),
                **stated,
            },
        )
        received = ReceivedInstance(
            ComprehensiveSRStorage, document, "1.2.6", "1.2.5", "READER", b"", datetime.now(UTC)
        )
        self.journal.record_received(received)
        entry = self.journal.claim(document)
        assert entry is not None
        noted = ReaderAssessment(document, uid, self.report_of(uid), told, datetime.now(UTC))
        assert self.journal.mark_noted(entry, noted, "assessment")

    def found(self) -> tuple[Judgement, ...]:
        return judgements(self.history, self.spool)

    def export(self, folder: Path, **options: Any) -> Any:
        pseudonym = Priors(self.engine).pseudonym
        return export_assessments(self.found(), folder, self.spool, pseudonym, **options)

    def report(self, uid: str) -> None:
        """Score what waits, with the present scorer."""
        entry = self.journal.claim(uid)
        assert entry is not None
        radiograph = read_radiograph(read_dataset(self.spool.read_instance(uid)))
        result = self.scorer.score(radiograph.pixels)
        basis = ReportBasis(datetime.now(UTC))
        form = ReportSettings(objects=("sr",))
        report = build_report(radiograph, result, form, basis)
        variant = f"v-{result.algorithm.digest[:8]}"
        self.spool.write_report(uid, variant, report)
        sr = read_dataset(report.instances["sr"])
        reference = InstanceReference(
            *(
                str(getattr(sr, f"{level}UID"))
                for level in ("SOPClass", "SOPInstance", "SeriesInstance", "StudyInstance")
            )
        )
        algorithm = result.algorithm
        made = MadeReport(
            uid, variant, algorithm.name, algorithm.digest, form.digest, ("sr",), reference, basis
        )
        record = summarise(uid, result, (), 0.1)
        self.journal.mark_reported(entry, Finding(record, {}, (made,)))


@pytest.fixture
def reading(
    journal: Journal,
    history: History,
    spool: Spool,
    engine: Engine,
    fixed_scorer: Any,
    make_film: Callable[..., bytes],
) -> Reading:
    return Reading(journal, history, spool, engine, fixed_scorer, make_film)


ON_SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
CORRECTED = {"score": 3, "score_max": 6, "zones": (0, 1, 1, 0, 0, 1)}


def test_a_correction_becomes_a_label_that_training_reads(reading: Reading, tmp_path: Path) -> None:
    same_patient = [reading.score(PatientID="A", ViewPosition="AP", PatientSex="F") for _ in range(2)]
    other = reading.score(PatientID="B")
    silent = reading.score(PatientID="C")
    reading.say(same_patient[0], Verdict.CORRECTED, **CORRECTED)
    reading.say(same_patient[1], Verdict.ACCEPTED)
    reading.say(other, Verdict.REJECTED)
    out = tmp_path / "export"
    done = reading.export(out)
    assert (done.films, sum(done.left_out.values())) == (2, 1)
    assert silent not in (out / "manifest.csv").read_text()

    films = {film.consensus: film for film in read_manifest(out)}
    assert set(films) == {3.0, 1.0}
    assert films[3.0].zones is not None
    assert films[1.0].zones is not None
    assert films[3.0].zones.tolist() == [0, 1, 1, 0, 0, 1]
    assert films[1.0].zones.tolist() == [0, 0, 1, 0, 0, 0]
    assert films[3.0].group == films[1.0].group
    assert (films[3.0].view, films[3.0].sex, films[3.0].source) == ("AP", "F", "reader")

    seen = read_radiograph(read_dataset(reading.spool.read_instance(same_patient[0]))).pixels
    picture = cv2.imread(str(films[3.0].image), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(picture, np.rint(seen * 255).astype(np.uint8))

    prepare(
        ["manifest", str(out), "--out", str(tmp_path / "divided"), "--split", "patient", "--near-bits", "-1"]
    )
    divided = {film.consensus: film for film in read_manifest(tmp_path / "divided")}
    assert divided[3.0].zones is not None
    assert divided[3.0].zones.tolist() == [0, 1, 1, 0, 0, 1]
    assert divided[3.0].split == divided[1.0].split != ""


@ON_SQLITE
def test_the_evaluation_reads_the_export(reading: Reading, tmp_path: Path) -> None:
    reading.say(reading.score(), Verdict.CORRECTED, **CORRECTED)
    reading.export(tmp_path / "export")
    table = film_table(score_films(read_manifest(tmp_path / "export"), None))
    assert table["consensus"].tolist() == [3.0]


def test_nothing_in_the_export_names_anyone(reading: Reading, tmp_path: Path) -> None:
    names = {"PatientID": "4711-XYZ", "PatientName": "Doe^Jane", "PatientBirthDate": "19501231"}
    uid = reading.score(**names, ViewPosition="AP DOE", StudyDate="20260228", AccessionNumber="ACC99")
    reading.say(uid, Verdict.CORRECTED, **CORRECTED)
    reading.export(tmp_path / "export")
    files = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
    assert len(files) == 2
    document = reading.found()[0].noted.document_uid
    for secret in ("4711", "Doe", "DOE", "1950", "20260228", "ACC99", uid, document, reading.report_of(uid)):
        assert not any(secret.encode() in path.read_bytes() for path in files)
        assert not any(secret in str(path.relative_to(tmp_path)) for path in files)
    picture = next(path for path in files if path.suffix == ".png").read_bytes()
    assert b"tEXt" not in picture
    assert b"eXIf" not in picture


def test_films_without_file_value_or_clean_pixels_are_left_out(reading: Reading, tmp_path: Path) -> None:
    gone, burned, rejected = reading.score(), reading.score(BurnedInAnnotation="YES"), reading.score()
    for uid in (gone, burned):
        reading.say(uid, Verdict.ACCEPTED)
    reading.say(rejected, Verdict.REJECTED)
    reading.spool.remove(gone)
    done = reading.export(tmp_path / "export")
    assert done.films == 0
    assert sorted(reason.split()[0] for reason in done.left_out) == ["letters", "no", "the"]
    assert reading.export(tmp_path / "all", burned_in=True).films == 1


def test_a_folder_that_holds_something_is_left_alone(reading: Reading, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(UnusableFolder, match="not an empty folder"):
        reading.export(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableFolder, match="cannot be written"):
        reading.export(tmp_path / "file" / "below")


def test_the_verified_and_the_latest_word_counts(reading: Reading) -> None:
    uid = reading.score()
    reading.say(uid, Verdict.REJECTED, days=0)
    reading.say(uid, Verdict.CORRECTED, days=1, verified=True, **CORRECTED)
    reading.say(uid, Verdict.ACCEPTED, days=2)
    assert [one.counts for one in reading.found()] == [False, True, False]


def test_what_a_reader_holds_to_be_right(reading: Reading) -> None:
    uid = reading.score()
    reading.say(uid, Verdict.CORRECTED, zones=(1, 1, 0, 0, 0, 0), score_max=6)
    reading.say(uid, Verdict.CORRECTED, zones=(1, None, None, None, None, None), score_max=6)
    reading.say(uid, Verdict.CORRECTED, score=5, score_max=6)
    reading.say(uid, Verdict.ACCEPTED)
    reading.say(uid, Verdict.REJECTED)
    told = [one.reader for one in reading.found()]
    assert [None if one is None else one.score for one in told] == [2, None, 5, 1, None]
    assert told[1] is not None
    assert told[1].zones == (1, None, None, None, None, None)
    assert told[3] is not None
    assert told[3].zones == (0, 0, 1, 0, 0, 0)


def test_agreement_in_total_and_by_zone(reading: Reading) -> None:
    accepted, corrected, rejected, partly = (reading.score() for _ in range(4))
    reading.say(accepted, Verdict.ACCEPTED)
    reading.say(corrected, Verdict.CORRECTED, **CORRECTED)
    reading.say(rejected, Verdict.REJECTED)
    reading.say(partly, Verdict.REJECTED)
    reading.say(partly, Verdict.CORRECTED, days=1, zones=(1, None, None, None, None, None), score_max=6)
    (figures,) = agreement(reading.found())
    counted = {
        name: figures[name] for name in ("radiographs", "accepted", "corrected", "rejected", "score_max")
    }
    assert counted == {"radiographs": 4, "accepted": 1, "corrected": 2, "rejected": 1, "score_max": 6}
    assert figures["total"] == {"n": 2, "exact": 1, "mean_absolute_error": 1.0}
    by_zone = [(zone["n"], zone["exact"], zone["mean_absolute_error"]) for zone in figures["zones"]]
    assert by_zone[:3] == [(3, 2, 0.333), (2, 1, 0.5), (2, 2, 0.0)]
    assert figures["all_zones"] == {"n": 13, "exact": 10, "mean_absolute_error": 0.231}


def test_another_scheme_is_not_compared(reading: Reading, tmp_path: Path) -> None:
    uid = reading.score()
    reading.say(uid, Verdict.CORRECTED, score=7, score_max=18, zones=(0, 1, 3, 0, 1, 2))
    (figures,) = agreement(reading.found())
    assert figures["total"] == {"n": 0, "exact": 0, "mean_absolute_error": None}
    reading.export(tmp_path / "export")
    (film,) = read_manifest(tmp_path / "export")
    assert film.brixia is not None
    assert film.brixia.tolist() == [0, 1, 3, 0, 1, 2]
    assert (film.consensus, film.zones) == (None, None)


def test_a_judgement_stays_with_the_report_that_was_judged(reading: Reading) -> None:
    uid = reading.score()
    reading.say(uid, Verdict.ACCEPTED)
    first = reading.found()[0].model
    assert first is not None
    _score_again(reading, uid)
    entry = reading.history.entry(uid)
    assert entry is not None
    assert entry.result is not None
    assert entry.result["score"] == 0
    assert reading.found()[0].model == first
    for report in reading.history.reports(uid):
        assert report.reference is not None
    reading.spool.remove(uid)
    assert reading.found()[0].model is None


def _score_again(reading: Reading, uid: str) -> None:
    class Improved:
        algorithm = replace(reading.scorer.algorithm, version="next")

        def score(self, pixels: Any) -> SeverityResult:
            found = reading_scorer.score(pixels)
            zones = tuple(replace(zone, score=0) for zone in found.zones)
            return replace(found, algorithm=self.algorithm, score=0, zones=zones)

    reading_scorer = reading.scorer
    reading.scorer = Improved()
    assert Reprocessing(reading.engine).start(uid) is None
    reading.report(uid)


def test_plain_data_and_csv(reading: Reading, tmp_path: Path) -> None:
    uid = reading.score()
    reading.say(uid, Verdict.CORRECTED, **CORRECTED)
    (one,) = reading.found()
    told: Mapping[str, Any] = judgement_in_json(one)
    assert json.loads(json.dumps(told)) == told
    assert (told["model"]["score"], told["reader"]["score"], told["verdict"]) == (1, 3, "corrected")
    write_csv([one], tmp_path / "said.csv")
    with (tmp_path / "said.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["sop_instance_uid"], row["score_max"], row["counts"]) == (uid, "6", "True")
    assert (row["model_score"], row["reader_score"]) == ("1", "3")
    assert (row["model_right_middle"], row["reader_right_middle"]) == ("0", "1")


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "CXR_DATA_DIR": str(folder), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@ON_SQLITE
def test_the_commands(reading: Reading, tmp_path: Path) -> None:
    uid = reading.score()
    assert "no reader has assessed a report yet" in run(tmp_path, "assessments").stdout
    reading.say(uid, Verdict.CORRECTED, verified=True, **CORRECTED)
    first = reading.report_of(uid)

    shown = run(tmp_path, "status", uid)
    assert shown.returncode == 0, shown.stderr
    assert f"{uid}: REPORTED, score 1 of 6" in shown.stdout
    assert f"report {first} of two-stage: sr, made " in shown.stdout
    said = "reader: corrected, 3 of 6, right upper 0, right middle 1, right lower 1, left upper 0"
    assert said in shown.stdout
    assert "verified, 2026-03-01" in shown.stdout
    told = json.loads(run(tmp_path, "status", "--json", uid).stdout)
    assert told["result"]["score"] == 1
    assert [report["sr_instance_uid"] for report in told["reports"]] == [first]
    assert told["reports"][0]["predecessor_sr_instance_uid"] is None
    assert told["assessments"][0]["verdict"] == "corrected"
    assert told["assessments"][0]["zones"][1] == {"side": "right", "level": "middle", "score": 1}
    document = run(tmp_path, "status", told["assessments"][0]["document_uid"]).stdout
    assert document.splitlines()[0].endswith(": NOTED")
    assert document.splitlines()[1] == "assessment"
    assert json.loads(run(tmp_path, "status", "--json").stdout)["counts"]["NOTED"] == 1

    listed = run(tmp_path, "assessments")
    assert listed.returncode == 0, listed.stderr
    assert "images: 1 (0 accepted, 1 corrected, 0 rejected)" in listed.stdout
    assert "right middle 0, reader 1" in listed.stdout
    options = ("--json", "--csv", tmp_path / "said.csv", "--out", tmp_path / "export")
    written = run(tmp_path, "assessments", *options)
    assert written.returncode == 0, written.stderr
    assert json.loads(written.stdout)["agreement"][0]["total"]["mean_absolute_error"] == 2.0
    assert f"films in {tmp_path / 'export'}: 1;" in written.stderr
    assert (tmp_path / "said.csv").exists()
    assert [film.consensus for film in read_manifest(tmp_path / "export")] == [3.0]
    again = run(tmp_path, "assessments", "--out", tmp_path / "export")
    assert (again.returncode, "not an empty folder" in again.stderr) == (1, True)
    assert len(again.stderr.strip().splitlines()) == 1
