"""The README's journey: DCMTK's storescu as the modality, the embedded worker, Orthanc as the PACS."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

Environment = dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def settings(tmp_path: Path, orthanc: Any) -> Environment:
    return {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": f"{orthanc.ae_title}@127.0.0.1:{orthanc.dicom_port}",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
    }


def counts(cxr_worker: Any, settings: Environment) -> dict[str, int]:
    told = cxr_worker("status", "--json", settings=settings)
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout)["counts"])


def settled(cxr_worker: Any, settings: Environment, images: int) -> bool:
    found = counts(cxr_worker, settings)
    return found["STORED"] + found["REJECTED"] + found["FAILED"] == images


def test_films_come_back_as_report_and_capture(
    settings: Environment,
    orthanc: Any,
    storescu: Any,
    start_role: Any,
    cxr_worker: Any,
    sample_films: list[Path],
    tmp_path: Path,
) -> None:
    start_role("serve", settings=settings)
    port = int(settings["CXR_PORT"])
    for film in sample_films:
        assert storescu(port, film).returncode == 0
    wait_for(lambda: settled(cxr_worker, settings, len(sample_films)))
    assert counts(cxr_worker, settings)["STORED"] == len(sample_films)
    stored = orthanc.datasets()
    assert len(stored) == 2 * len(sample_films)

    offline = cxr_worker("score", "--json", *map(str, sample_films))
    records = {record["sop_instance_uid"]: record for record in json.loads(offline.stdout)}
    for film in sample_films:
        source = dcmread(film)
        report, capture = sorted(
            (dataset for dataset in stored if dataset.StudyInstanceUID == source.StudyInstanceUID),
            key=lambda dataset: dataset.Modality != "SR",
        )
        for result in (report, capture):
            assert result.PatientID == source.PatientID
            assert result.SeriesInstanceUID != source.SeriesInstanceUID
        told = json.loads(cxr_worker("status", "--json", source.SOPInstanceUID, settings=settings).stdout)
        record = records[source.SOPInstanceUID]
        for key in ("outcome", "score", "zones"):
            assert told["result"][key] == record[key]
        _check_report(report, record, tmp_path)

    # Sent twice: no second report.
    for film in sample_films:
        assert storescu(port, film).returncode == 0
    time.sleep(2)
    assert len(orthanc.instances()) == 2 * len(sample_films)


def _check_report(report: Any, record: dict[str, Any], folder: Path) -> None:
    path = folder / "report.dcm"
    report.save_as(path)
    text = subprocess.run(["/usr/bin/dsrdump", path], capture_output=True, text=True, check=True).stdout
    for zone in record["zones"]:
        assert f"{zone['side']} {zone['level']}" in text
    assert "{score}" in text
    if record["outcome"] == "scored":
        assert re.search(rf'="{record["score"]}(\.0)?" \(\{{score\}}', text)
    judged = subprocess.run(["/usr/bin/dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    assert "Error" not in judged.stderr + judged.stdout, judged.stderr + judged.stdout


def test_bad_files_harm_nothing(
    settings: Environment,
    orthanc: Any,
    storescu: Any,
    start_role: Any,
    cxr_worker: Any,
    make_film: Callable[..., bytes],
    sample_films: list[Path],
    tmp_path: Path,
) -> None:
    start_role("serve", settings=settings)
    port = int(settings["CXR_PORT"])
    size = {"Rows": 400, "Columns": 400, "PixelData": bytes(400 * 400 * 2)}
    bad = {
        "lateral": make_film(**size, ViewPosition="LATERAL"),
        "hand": make_film(**size, BodyPartExamined="HAND"),
        "blank": make_film(**size),
        "small": make_film(),
        "no-pixels": make_film(PixelData=None),
        "broken": make_film(Rows=3000),
    }
    paths = []
    for name, encoded in bad.items():
        paths.append(tmp_path / f"{name}.dcm")
        paths[-1].write_bytes(encoded)
    assert storescu(port, *paths).returncode == 0
    assert storescu(port, sample_films[0]).returncode == 0
    wait_for(lambda: settled(cxr_worker, settings, len(bad) + 1))
    found = counts(cxr_worker, settings)
    assert found["FAILED"] == 0
    # The blank film looks eligible until no lungs are found: it is not assessable, and its report says so.
    assert (found["STORED"], found["REJECTED"]) == (2, len(bad) - 1)
    assert len(orthanc.instances()) == 4
    blank = str(dcmread(tmp_path / "blank.dcm").SOPInstanceUID)
    story = json.loads(cxr_worker("status", "--json", blank, settings=settings).stdout)
    assert (story["result"]["outcome"], story["result"]["score"]) == ("not-assessable", None)


def test_what_was_accepted_survives_kill_9(
    settings: Environment,
    orthanc: Any,
    storescu: Any,
    start_role: Any,
    cxr_worker: Any,
    sample_films: list[Path],
) -> None:
    process = start_role("serve", settings=settings)
    assert storescu(int(settings["CXR_PORT"]), *sample_films).returncode == 0
    process.kill()
    process.wait()
    assert sum(counts(cxr_worker, settings).values()) == len(sample_films)
    start_role("serve", settings=settings)
    wait_for(lambda: settled(cxr_worker, settings, len(sample_films)))
    assert counts(cxr_worker, settings)["STORED"] == len(sample_films)
    assert len(orthanc.instances()) == 2 * len(sample_films)


def test_every_public_file_ends_in_one_outcome(
    settings: Environment,
    orthanc: Any,
    storescu: Any,
    start_role: Any,
    cxr_worker: Any,
    cxr_dataset: Path,
    sample_films: list[Path],
) -> None:
    """All of the data folder's DICOM files, good and bad: what is expected of each, and nothing else."""
    import csv

    start_role("serve", settings=settings)
    port = int(settings["CXR_PORT"])
    accepted, known = {}, set()
    manifest = (cxr_dataset / "dicom" / "manifest.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(manifest.splitlines()):
        path = cxr_dataset / row["file"]
        sent = storescu(port, path)
        if "Received Store Response (Success)" not in sent.stdout + sent.stderr:
            assert row["expected"] == "refuse", (row["file"], sent.stderr)
            continue
        uid = str(dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID)
        accepted[row["file"]] = (uid, row["expected"])
        known.add(uid)
    wait_for(lambda: settled(cxr_worker, settings, len(known)), timeout_s=240)
    shared = [uid for uid, _ in accepted.values()]
    for file, (uid, expected) in accepted.items():
        story = json.loads(cxr_worker("status", "--json", uid, settings=settings).stdout)
        if expected == "accept" and shared.count(uid) == 1:
            assert story["status"] == "STORED", (file, story)
            assert story["result"]["outcome"] == "scored", (file, story["result"])
        elif expected == "refuse" and shared.count(uid) == 1:
            assert story["status"] == "REJECTED", (file, story)
            assert story["message"], file
    assert storescu(port, sample_films[0]).returncode == 0
    wait_for(lambda: settled(cxr_worker, settings, len(known) + 1))
