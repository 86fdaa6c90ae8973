"""A folder as the spool's store: what has a name is whole and synced to disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from worker.errors import MissingInstance, StorageError

_ORPHAN = "orphan-"
"""Begins the name of an instance that is set aside because the journal may not know it."""


class FolderStore:
    """Files in a local or network-mounted folder.

    A name exists only when its whole content is on disk: content is written aside, synced, linked, and the
    folder synced. The first content under a name stays.

    Parameters
    ----------
    root : pathlib.Path
        The folder; made if it is not there.

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

    def put(self, name: str, content: bytes) -> bool:
        """Keep content under a name durably; False if the name was taken: what is there stays."""
        path = self._root / name
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

    def get(self, name: str) -> bytes:
        """Return what lies under a name."""
        path = self._root / name
        try:
            with suppress(FileNotFoundError):
                return path.read_bytes()
            # A sweeper may have set it aside, and died before it put it back.
            return self._aside(name).read_bytes()
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise StorageError(
                    f"the spool {self._root} is away: check that its file system is mounted"
                ) from None
            raise MissingInstance(
                "the file is no longer in the spool: send the image again, or check the data folder"
            ) from None
        except OSError as error:
            raise StorageError(
                f"the spool cannot be read ({error.strerror}): check the data folder"
            ) from error

    def remove(self, name: str) -> None:
        """Remove a name; nothing happens if it is not there."""
        try:
            (self._root / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"the spool cannot be cleared ({error.strerror}): check the data folder's rights"
            ) from error

    def remove_all(self, prefix: str) -> None:
        """Remove every name that begins with ``prefix``, a folder and a digest."""
        folder, _, beginning = prefix.partition("/")
        for path in (self._root / folder).glob(f"{beginning}*"):
            self.remove(f"{folder}/{path.name}")

    def remove_leftovers(self, older_than_s: float, now: float) -> int:
        """Delete half-written files that a crash left aside; return how many."""
        count = 0
        try:
            for path in (self._root / "incoming").iterdir():
                if path.name.startswith(_ORPHAN):
                    continue
                with suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        count += 1
        except OSError as error:
            raise StorageError(
                f"the spool cannot be cleared ({error.strerror}): check the data folder"
            ) from error
        return count

    def remove_orphans(self, kept: Callable[[], set[str]], older_than_s: float, now: float) -> int:
        """Delete old instances whose names are not in ``kept()``; return how many.

        A writer may find such a name taken and record it at the same moment. So the file is first set
        aside, then ``kept`` is asked again, and what is known by now is put back; a writer looks again
        after it has recorded.
        """
        try:
            self._put_back(self._root.glob(f"incoming/{_ORPHAN}*"), kept)
            names = [
                f"instances/{path.name}"
                for path in (self._root / "instances").iterdir()
                if now - path.stat().st_mtime > older_than_s
            ]
            suspects = sorted(set(names) - kept()) if names else []
            for name in suspects:
                (self._root / name).rename(self._aside(name))
            return self._put_back((self._aside(name) for name in suspects), kept)
        except OSError as error:
            raise StorageError(
                f"the spool cannot be cleared ({error.strerror}): check the data folder"
            ) from error

    def free_bytes(self) -> tuple[int, int] | None:
        """Return the file system's free and total bytes."""
        try:
            usage = shutil.disk_usage(self._root)
        except OSError as error:
            raise StorageError(
                f"the spool {self._root} is away ({error.strerror}): check the data folder"
            ) from error
        return usage.free, usage.total

    def _aside(self, name: str) -> Path:
        return self._root / "incoming" / f"{_ORPHAN}{Path(name).name}"

    def _put_back(self, aside: Iterable[Path], kept: Callable[[], set[str]]) -> int:
        paths = list(aside)
        known = kept() if paths else set()
        removed = 0
        for path in paths:
            name = f"instances/{path.name.removeprefix(_ORPHAN)}"
            if name in known:
                with suppress(FileExistsError, FileNotFoundError):
                    os.link(path, self._root / name)
            else:
                removed += 1
            path.unlink(missing_ok=True)
        return removed

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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
