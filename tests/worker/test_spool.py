"""The spool: durable, first content wins, no sender chooses a path."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.instance import Report
from worker.errors import MissingInstance, StorageError
from worker.spool import Spool


def test_reads_back_what_was_written(spool: Spool) -> None:
    assert spool.write_instance("1.2.3", b"film")
    assert spool.read_instance("1.2.3") == b"film"


def test_the_first_content_stays(spool: Spool) -> None:
    spool.write_instance("1.2.3", b"first")
    assert not spool.write_instance("1.2.3", b"second")
    assert spool.read_instance("1.2.3") == b"first"
    spool.write_report("1.2.3", "v", Report(b"sr1", b"sc1"))
    spool.write_report("1.2.3", "v", Report(b"sr2", b"sc2"))
    assert spool.read_report("1.2.3", "v") == Report(b"sr1", b"sc1")


def test_writers_at_once_leave_one_whole_content(spool: Spool) -> None:
    contents = [bytes([k]) * 200_000 for k in range(8)]
    new: list[bool] = []
    threads = [
        threading.Thread(target=lambda c=content: new.append(spool.write_instance("1.2.3", c)))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert new.count(True) == 1
    assert spool.read_instance("1.2.3") in contents


@given(uid=st.text(min_size=1, max_size=64))
def test_names_are_made_from_uids_never_from_them(tmp_path_factory: pytest.TempPathFactory, uid: str) -> None:
    root = tmp_path_factory.mktemp("spool")
    Spool(root).write_instance(uid, b"film")
    (written,) = [path for path in root.rglob("*") if path.is_file()]
    assert written.parent == root / "instances"
    assert set(written.stem) <= set("0123456789abcdef")


def test_missing_files_say_what_to_do(spool: Spool) -> None:
    with pytest.raises(MissingInstance, match="send the image again"):
        spool.read_instance("1.2.3")


def test_remove_takes_everything_of_one_instance(spool: Spool, tmp_path: Path) -> None:
    for uid in ("1.2.3", "1.2.4"):
        spool.write_instance(uid, b"film")
        spool.write_report(uid, "v", Report(b"sr", b"sc"))
    spool.remove("1.2.3")
    spool.remove("1.2.3")
    assert len([path for path in (tmp_path / "spool").rglob("*.dcm")]) == 3
    assert spool.read_instance("1.2.4") == b"film"


def test_leftovers_of_a_crash_go_when_old(spool: Spool, tmp_path: Path) -> None:
    leftover = tmp_path / "spool" / "incoming" / "tmpabc"
    leftover.write_bytes(b"half")
    now = leftover.stat().st_mtime
    assert spool.remove_leftovers(3600, now + 10) == 0
    assert spool.remove_leftovers(3600, now + 3601) == 1


def test_a_folder_that_cannot_be_written_is_a_transient_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        Spool(tmp_path / "file" / "spool")
    assert caught.value.transient


def test_a_full_disk_is_a_transient_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        spool.write_instance("1.2.3", b"film")
    monkeypatch.undo()
    with pytest.raises(MissingInstance):
        spool.read_instance("1.2.3")
