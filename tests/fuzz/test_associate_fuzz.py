"""A node that is spoken to in nonsense goes on answering everybody else."""

from __future__ import annotations

import logging

import pytest

from tests.fuzz.associate import campaign, split


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_short_campaign(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "dicom_node")
    outcome = campaign(runs=300, seed=1)
    assert outcome.echoes == 6
    # Some changes do no harm; these films must have been taken.
    assert 0 < outcome.taken < 300


def test_streams_fall_into_pdus() -> None:
    assert split(b"\x01\0\0\0\0\x02ab\x05\0\0\0\0\x04cdef") == [
        b"\x01\0\0\0\0\x02ab",
        b"\x05\0\0\0\0\x04cdef",
    ]
