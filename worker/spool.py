"""The spool: received instances and finished reports as files that survive a crash.

File names are SHA-256 digests of UIDs, never UIDs as received, so no sender can choose a path. A name
exists only when its whole content is on disk: content is written aside, synced, linked, and the folder
synced. The first content under a name stays.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from dicom_node.instance import Report
from worker.errors import MissingInstance, StorageError


class Spool:
    """Instances and reports by SOP Instance UID.

    Parameters
    ----------
    root : pathlib.Path
        Folder of the spool; made if it is not there.

    Raises
    ------
    StorageError
        When the folder cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            for folder in ("instances", "reports", "incoming"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            _sync_folder(root)
        except OSError as error:
            raise StorageError(
                f"the spool {root} cannot be written ({error.strerror}): check CXR_DATA_DIR and its rights"
            ) from error

    def write_instance(self, sop_instance_uid: str, encoded: bytes) -> bool:
        """Keep a received instance durably.

        Parameters
        ----------
        sop_instance_uid : str
            Identity of the instance.
        encoded : bytes
            PS3.10 bytes, kept as they are.

        Returns
        -------
        bool
            False if an instance of this UID was there already; it stays unchanged.

        Raises
        ------
        StorageError
            When bytes or folder entry could not be made durable.
        """
        return self._write(self._instance_path(sop_instance_uid), encoded)

    def read_instance(self, sop_instance_uid: str) -> bytes:
        """Return the PS3.10 bytes of an instance.

        Raises
        ------
        MissingInstance
            When there is no such file.
        StorageError
            When the file cannot be read.
        """
        return self._read(self._instance_path(sop_instance_uid))

    def write_report(self, sop_instance_uid: str, variant: str, report: Report) -> None:
        """Keep both objects of a report; a report of the same variant that is there already stays.

        Parameters
        ----------
        sop_instance_uid : str
            Identity of the source instance.
        variant : str
            Digest of the report settings and the algorithm that shaped it.
        report : Report
            The objects.

        Raises
        ------
        StorageError
            When one could not be made durable.
        """
        self._write(self._report_path(sop_instance_uid, variant, "sr"), report.structured_report)
        self._write(self._report_path(sop_instance_uid, variant, "sc"), report.secondary_capture)

    def read_report(self, sop_instance_uid: str, variant: str) -> Report:
        """Return the report first written for this instance and variant.

        Raises
        ------
        MissingInstance
            When there is none.
        StorageError
            When it cannot be read.
        """
        return Report(
            structured_report=self._read(self._report_path(sop_instance_uid, variant, "sr")),
            secondary_capture=self._read(self._report_path(sop_instance_uid, variant, "sc")),
        )

    def remove(self, sop_instance_uid: str) -> None:
        """Delete the instance and all its reports; nothing happens if there are none."""
        for path in (
            *(self._root / "reports").glob(f"{_digest(sop_instance_uid)}.*"),
            self._instance_path(sop_instance_uid),
        ):
            path.unlink(missing_ok=True)

    def remove_leftovers(self, older_than_s: float, now: float) -> int:
        """Delete half-written files that a crash left aside; return how many.

        Parameters
        ----------
        older_than_s : float
            Least age; younger ones may still be being written.
        now : float
            Seconds since the epoch.
        """
        count = 0
        for path in (self._root / "incoming").iterdir():
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    count += 1
        return count

    def _instance_path(self, sop_instance_uid: str) -> Path:
        return self._root / "instances" / f"{_digest(sop_instance_uid)}.dcm"

    def _report_path(self, sop_instance_uid: str, variant: str, kind: str) -> Path:
        return self._root / "reports" / f"{_digest(sop_instance_uid)}.{variant}.{kind}.dcm"

    def _write(self, path: Path, content: bytes) -> bool:
        try:
            new = self._link_once(path, content)
            # Also when the name was there: another process may have linked it and not synced yet.
            _sync_folder(path.parent)
        except OSError as error:
            raise StorageError(
                f"the spool cannot be written ({error.strerror}): "
                "check the data folder's free space and rights"
            ) from error
        return new

    def _link_once(self, path: Path, content: bytes) -> bool:
        if path.exists():
            return False
        descriptor, name = tempfile.mkstemp(dir=self._root / "incoming")
        aside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        return True

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise MissingInstance(
                "the file is no longer in the spool: send the image again, or check the data folder"
            ) from None
        except OSError as error:
            raise StorageError(
                f"the spool cannot be read ({error.strerror}): check the data folder"
            ) from error


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
