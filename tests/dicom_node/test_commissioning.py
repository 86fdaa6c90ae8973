"""The picture that commissioning sends."""

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread

from dicom_node.commissioning import PATIENT_ID, build_test_capture
from dicom_node.identity import is_own_result
from dicom_node.storage_scu import RemoteAE, store
from tests.conftest import find_program


def test_it_is_valid_says_that_it_is_a_test_and_is_ours(tmp_path: Path) -> None:
    encoded = build_test_capture("CXRWORKER")
    dataset = dcmread(BytesIO(encoded))
    assert dataset.PatientID == PATIENT_ID
    assert is_own_result(dataset), "sent back to us it is not scored"
    path = tmp_path / "test.dcm"
    path.write_bytes(encoded)
    told = subprocess.run(
        [find_program("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False
    )
    assert "Error" not in told.stderr + told.stdout, told.stderr


def test_sent_twice_a_pacs_keeps_one(orthanc: Any) -> None:
    remote = RemoteAE(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    for _ in range(2):
        (outcome,) = store(remote, "CXRWORKER", [build_test_capture("CXRWORKER")])
        assert outcome.succeeded
    assert len(orthanc.instances()) == 1
