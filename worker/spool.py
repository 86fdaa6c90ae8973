"""The spool: received instances and finished reports that survive a crash, in a folder or an object store.

Names are SHA-256 digests of UIDs, never UIDs as received, so no sender can choose a path. The first
content under a name stays, and a name exists only when its whole content is durable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from dicom_node.instance import ObjectKind, Report
from worker.spool_folder import FolderStore


class Store(Protocol):
    """Contents by name; errors are StorageError, and MissingInstance for a name that is not there."""

    def put(self, name: str, content: bytes) -> bool:
        """Keep content under a name durably; False if the name was taken: what is there stays."""

    def get(self, name: str) -> bytes:
        """Return what lies under a name."""

    def remove(self, name: str) -> None:
        """Remove a name; nothing happens if it is not there."""

    def remove_all(self, prefix: str) -> None:
        """Remove every name that begins with ``prefix``, a folder and a digest."""

    def remove_leftovers(self, older_than_s: float, now: float) -> int:
        """Delete what broken-off writers left aside; return how many."""

    def remove_orphans(self, kept: Callable[[], set[str]], older_than_s: float, now: float) -> int:
        """Delete instances whose names are not in ``kept()``, whoever may be writing; return how many."""

    def free_bytes(self) -> tuple[int, int] | None:
        """Return free and total bytes, where the store knows."""


class Spool:
    """Instances and reports by SOP Instance UID.

    Parameters
    ----------
    location : str or pathlib.Path
        A folder (a path, or ``file://…``), or the URL of an object store (``s3://bucket/prefix``).
    options : Mapping, optional
        What an object store needs to be reached; see ``worker.spool_objects``.

    Raises
    ------
    StorageError
        When the place cannot be made, reached or written.
    SettingsError
        When the location is neither folder nor object store.
    """

    def __init__(self, location: str | Path, options: Mapping[str, object] | None = None) -> None:
        self._store = _open_store(location, options or {})

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
        return self._store.put(_instance(sop_instance_uid), encoded)

    def read_instance(self, sop_instance_uid: str) -> bytes:
        """Return the PS3.10 bytes of an instance.

        Raises
        ------
        MissingInstance
            When there is no such file.
        StorageError
            When the file cannot be read.
        """
        return self._store.get(_instance(sop_instance_uid))

    def write_report(self, sop_instance_uid: str, variant: str, report: Report) -> None:
        """Keep the objects of a report; those of the same variant that are there already stay.

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
        for kind, encoded in report.instances.items():
            self._store.put(_report(sop_instance_uid, variant, kind), encoded)

    def read_report(self, sop_instance_uid: str, variant: str, kinds: Iterable[ObjectKind]) -> Report:
        """Return objects of the report first written for this instance and variant.

        Raises
        ------
        MissingInstance
            When one of them is not there.
        StorageError
            When one cannot be read.
        """
        return Report({kind: self._store.get(_report(sop_instance_uid, variant, kind)) for kind in kinds})

    def remove(self, sop_instance_uid: str) -> None:
        """Delete the instance and all its reports; nothing happens if there are none.

        Raises
        ------
        StorageError
            When something could not be removed.
        """
        self._store.remove_all(f"reports/{_digest(sop_instance_uid)}.")
        self._store.remove(_instance(sop_instance_uid))

    def remove_leftovers(self, older_than_s: float, now: float) -> int:
        """Delete half-written files that a crash left aside; return how many.

        Parameters
        ----------
        older_than_s : float
            Least age; younger ones may still be being written.
        now : float
            Seconds since the epoch.
        """
        return self._store.remove_leftovers(older_than_s, now)

    def remove_orphans(self, known: Callable[[], Iterable[str]], older_than_s: float, now: float) -> int:
        """Delete instances that nobody knows: their sender was never told Success and did not come again.

        An object store keeps them; its own rules for the age of objects are for that.

        Parameters
        ----------
        known : callable
            Returns the SOP Instance UIDs that are to be kept; called again before anything is deleted.
        older_than_s : float
            Least age; the journal may be about to learn of younger ones.
        now : float
            Seconds since the epoch.

        Raises
        ------
        StorageError
            When the folder is away.
        """
        return self._store.remove_orphans(lambda: {_instance(uid) for uid in known()}, older_than_s, now)

    def free_bytes(self) -> tuple[int, int] | None:
        """Return free and total bytes of the file system; None for an object store, which does not say.

        Raises
        ------
        StorageError
            When the folder is away.
        """
        return self._store.free_bytes()


def _open_store(location: str | Path, options: Mapping[str, object]) -> Store:
    if isinstance(location, Path):
        return FolderStore(location)
    protocol, separator, place = location.partition("://")
    if not separator:
        return FolderStore(Path(location))
    if protocol in {"file", "local"}:
        return FolderStore(Path(place))
    from worker.spool_objects import ObjectStore  # noqa: PLC0415 - fsspec, which a folder does without

    return ObjectStore(location, options)


def _instance(sop_instance_uid: str) -> str:
    return f"instances/{_digest(sop_instance_uid)}.dcm"


def _report(sop_instance_uid: str, variant: str, kind: str) -> str:
    return f"reports/{_digest(sop_instance_uid)}.{variant}.{kind}.dcm"


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()
