"""The spool, as a folder and as objects: durable, first content wins, no sender chooses a path."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.instance import Report
from tests.conftest import free_port, running
from worker import spool_objects
from worker.errors import MissingInstance, SettingsError, StorageError
from worker.spool import Spool


def test_reads_back_what_was_written(spool: Spool) -> None:
    assert spool.write_instance("1.2.3", b"film")
    assert spool.read_instance("1.2.3") == b"film"


def test_the_first_content_stays(spool: Spool) -> None:
    spool.write_instance("1.2.3", b"first")
    assert not spool.write_instance("1.2.3", b"second")
    assert spool.read_instance("1.2.3") == b"first"
    spool.write_report("1.2.3", "v", Report({"sr": b"sr1", "sc": b"sc1"}))
    spool.write_report("1.2.3", "v", Report({"sr": b"sr2", "sc": b"sc2"}))
    assert spool.read_report("1.2.3", "v", ("sr", "sc")) == Report({"sr": b"sr1", "sc": b"sc1"})


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
        spool.write_report(uid, "v", Report({"sr": b"sr", "sc": b"sc"}))
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


def test_a_folder_that_went_away_is_not_a_missing_file(spool: Spool, tmp_path: Path) -> None:
    spool.write_instance("1.2.3", b"film")
    (tmp_path / "spool").rename(tmp_path / "unmounted")
    with pytest.raises(StorageError, match="is away"):
        spool.read_instance("1.2.3")


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    Spool(f"file://{tmp_path}/spool").write_instance("1.2.3", b"film")
    assert Spool(tmp_path / "spool").read_instance("1.2.3") == b"film"
    assert Spool(str(tmp_path / "spool")).read_instance("1.2.3") == b"film"


def test_a_folder_knows_its_room_and_an_object_store_does_not(spool: Spool) -> None:
    free, total = spool.free_bytes() or (0, 0)
    assert 0 < free < total
    assert Spool("memory://spool").free_bytes() is None


@dataclass
class ObjectServer:
    """moto's HTTP server: an S3-compatible store with one bucket, ``films``."""

    process: subprocess.Popen[bytes]
    options: dict[str, object]

    def files(self) -> Any:
        return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False, **self.options)


@pytest.fixture(scope="module")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    port = free_port()
    options = {"key": "id", "secret": "sesame", "endpoint_url": f"http://127.0.0.1:{port}"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    folder = tmp_path_factory.mktemp("objects")
    with running(
        command, lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, folder
    ) as process:
        server = ObjectServer(process, options)
        server.files().mkdir("films")
        yield server


@pytest.fixture
def objects(object_server: ObjectServer, request: pytest.FixtureRequest) -> Spool:
    return Spool(f"s3://films/{request.node.name}", object_server.options)


def test_an_object_store_keeps_what_a_folder_keeps(objects: Spool) -> None:
    assert objects.write_instance("1.2.3", b"film")
    assert not objects.write_instance("1.2.3", b"second")
    assert objects.read_instance("1.2.3") == b"film"
    objects.write_report("1.2.3", "v", Report({"sr": b"sr1", "sc": b"sc1"}))
    objects.write_report("1.2.3", "v", Report({"sr": b"sr2", "sc": b"sc2"}))
    assert objects.read_report("1.2.3", "v", ("sr", "sc")) == Report({"sr": b"sr1", "sc": b"sc1"})
    with pytest.raises(MissingInstance, match="send the image again"):
        objects.read_report("1.2.3", "w", ("sr", "sc"))


def test_hosts_share_one_object_store(objects: Spool, object_server: ObjectServer) -> None:
    other = Spool(objects._store._shown, object_server.options)  # type: ignore[attr-defined]
    with pytest.raises(MissingInstance):
        other.read_instance("1.2.3")
    objects.write_instance("1.2.3", b"film")
    assert other.read_instance("1.2.3") == b"film"
    assert not other.write_instance("1.2.3", b"second")


def test_writers_at_once_leave_one_whole_object(
    objects: Spool, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All are past the first look before anyone writes: the server's condition alone decides.
    contents = [bytes([k]) * 200_000 for k in range(8)]
    together = threading.Barrier(len(contents))
    new: list[bool] = []

    def write(content: bytes) -> None:
        spool = Spool(objects._store._shown, object_server.options)  # type: ignore[attr-defined]
        files = spool._store._files  # type: ignore[attr-defined]
        looked: list[bool] = []

        def exists(path: str, **named: Any) -> bool:
            found = bool(type(files).exists(files, path, **named))
            if not looked:
                looked.append(found)
                together.wait(30)
            return found

        monkeypatch.setattr(files, "exists", exists)
        new.append(spool.write_instance("1.2.3", content))

    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [False] * 7 + [True]
    assert objects.read_instance("1.2.3") in contents


def test_remove_takes_every_object_of_one_instance(
    objects: Spool, object_server: ObjectServer, request: pytest.FixtureRequest
) -> None:
    for uid in ("1.2.3", "1.2.4"):
        objects.write_instance(uid, b"film")
        objects.write_report(uid, "v", Report({"sr": b"sr", "sc": b"sc"}))
        objects.write_report(uid, "w", Report({"sr": b"sr", "sc": b"sc"}))
    objects.remove("1.2.3")
    objects.remove("1.2.3")
    left = [
        path for path in object_server.files().find(f"films/{request.node.name}") if path.endswith(".dcm")
    ]
    assert len(left) == 5
    assert objects.remove_leftovers(0, 1e12) == 0
    assert objects.read_instance("1.2.4") == b"film"
    with pytest.raises(MissingInstance):
        objects.read_report("1.2.3", "w", ("sr", "sc"))


def test_a_bucket_that_is_away_is_not_a_missing_object(object_server: ObjectServer) -> None:
    files = object_server.files()
    files.mkdir("vanishing")
    spool = Spool("s3://vanishing/spool", object_server.options)
    files.rm("vanishing", recursive=True)
    with pytest.raises(StorageError, match="is away"):
        spool.read_instance("1.2.3")
    with pytest.raises(StorageError) as caught:
        spool.write_instance("1.2.3", b"film")
    assert caught.value.transient


@pytest.mark.parametrize("away", ["gone", "hanging"])
def test_a_store_that_does_not_answer_is_one_line_in_bounded_time(
    objects: Spool, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr(spool_objects, "_ANSWER_WITHIN_S", 2.0)
    if away == "hanging":
        # The kernel takes connections and nobody answers.
        with socket.create_server(("127.0.0.1", 0)) as mute:
            address = f"http://127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(StorageError) as caught:
                Spool("s3://films/mute", {**object_server.options, "endpoint_url": address})
    else:
        nowhere = {**object_server.options, "endpoint_url": f"http://127.0.0.1:{free_port()}"}
        with pytest.raises(StorageError) as caught:
            Spool("s3://films/gone", nowhere)
    assert caught.value.transient
    assert "check CXR_SPOOL_URL" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://id:sesame@films/x", "CXR_SPOOL_OPTIONS_FILE"),
        ("s3://films/x?secret=sesame", "CXR_SPOOL_OPTIONS_FILE"),
        ("s3://", "names no bucket"),
        ("ftp://host/folder", "no object store"),
    ],
)
def test_a_url_that_cannot_be_a_spool_is_refused(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        Spool(url)
    assert "sesame" not in str(caught.value)


def test_options_that_do_not_fit_are_refused_without_being_quoted() -> None:
    with pytest.raises(SettingsError, match="CXR_SPOOL_OPTIONS") as caught:
        Spool("s3://films/x", {"key": "id", "username": "sesame"})
    assert "sesame" not in str(caught.value)
