"""An object store as the spool's store: S3 and its like, through fsspec, for roles on several hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import fsspec

from worker.errors import MissingInstance, SettingsError, StorageError

ATOMIC_PROTOCOLS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
"""Where a put shows the whole object or nothing, and answers when it is durable; ``memory`` is for tests."""

_MARKER = "cxr-severity-worker-spool"
_ANSWER_WITHIN_S = 20.0
_LEAST_BYTES_A_SECOND = 1_000_000
_QUICK_S3: dict[str, object] = {
    "connect_timeout": 5,
    "read_timeout": 10,
    "retries": {"mode": "standard", "max_attempts": 2},
}
_T = TypeVar("_T")


class ObjectStore:
    """Objects under one prefix of a bucket.

    The first content under a name stays: objects are created on condition that the name is free
    (``If-None-Match`` on S3). A store that ignores the condition, as S3-compatible servers from before 2024
    do, is asked first whether the name is taken; two writers within the same moment may then both write, and
    the last one's content stays.

    Open it after a fork, never before: the connection lives in a thread that a child does not inherit.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix`` or another of ``ATOMIC_PROTOCOLS``.
    options : Mapping
        What fsspec hands to the library that speaks the protocol: for S3 ``key``, ``secret``,
        ``endpoint_url``; without them the library's own environment and files count.

    Raises
    ------
    SettingsError
        When the URL is no object store's, carries secrets, or its library is not installed.
    StorageError
        When the store does not answer, or does not let us write.
    """

    def __init__(self, url: str, options: Mapping[str, object]) -> None:
        protocol, _, place = url.partition("://")
        _require_usable(protocol, place)
        self._root = place.strip("/")
        self._shown = f"{protocol}://{self._root}"
        self._files = _open_files(protocol, options)
        # A library without asynchronous calls has time limits of its own, or none.
        self._bounded = bool(self._files.async_impl)
        self.put(_MARKER, b"cxr-severity-worker: instances and reports by the digests of their UIDs\n")

    def put(self, name: str, content: bytes) -> bool:
        """Keep content under a name durably; False if the name was taken: what is there stays."""
        path = f"{self._root}/{name}"
        with self._telling("written"):
            if self._call(self._files.exists, path):
                return False
            try:
                limit_s = _ANSWER_WITHIN_S + len(content) / _LEAST_BYTES_A_SECOND
                self._call(self._files.pipe_file, path, content, mode="create", limit_s=limit_s)
            except FileExistsError:
                return False
            except Exception:
                # Some servers say in another way that a racing writer was first.
                if self._call(self._files.exists, path):
                    return False
                raise
        return True

    def get(self, name: str) -> bytes:
        """Return what lies under a name."""
        with self._telling("read"):
            try:
                return bytes(self._call(self._files.cat_file, f"{self._root}/{name}", limit_s=600.0))
            except FileNotFoundError:
                # A bucket that is away looks like an object that is away.
                if not self._call(self._files.exists, f"{self._root}/{_MARKER}"):
                    raise StorageError(
                        f"the spool {self._shown} is away: check CXR_SPOOL_URL and that the bucket is there"
                    ) from None
        raise MissingInstance(
            f"the object is no longer in the spool {self._shown}: send the image again, or check the bucket"
        )

    def remove(self, name: str) -> None:
        """Remove a name; nothing happens if it is not there."""
        with self._telling("cleared"), suppress(FileNotFoundError):
            self._call(self._files.rm_file, f"{self._root}/{name}")

    def remove_all(self, prefix: str) -> None:
        """Remove every name that begins with ``prefix``, a folder and a digest."""
        folder, _, beginning = prefix.rpartition("/")
        with self._telling("cleared"):
            found = self._call(self._files.find, f"{self._root}/{folder}", prefix=beginning)
            # Not every library knows of the prefix.
            for path in [path for path in found if path.rpartition("/")[2].startswith(beginning)]:
                with suppress(FileNotFoundError):
                    self._call(self._files.rm_file, path)

    def remove_leftovers(self, older_than_s: float, now: float) -> int:
        """Return 0: a put that breaks off leaves nothing under any name."""
        return 0

    def remove_orphans(self, kept: Callable[[], set[str]], older_than_s: float, now: float) -> int:
        """Do nothing: nothing can be set aside here, so a writer could lose what it has just recorded."""
        return 0

    def free_bytes(self) -> tuple[int, int] | None:
        """Return None: an object store does not say how much room there is."""
        return None

    def _call(self, function: Callable[..., _T], *args: object, limit_s: float = 0.0, **named: object) -> _T:
        if self._bounded:
            named["timeout"] = limit_s or _ANSWER_WITHIN_S
        return function(*args, **named)

    @contextmanager
    def _telling(self, done: str) -> Iterator[None]:
        try:
            yield
        except (StorageError, MissingInstance):
            raise
        except Exception as error:
            # Whatever a library raises, its cause stays out of the log: it may be long, and quote requests.
            raise StorageError(
                f"the spool {self._shown} cannot be {done} ({_in_one_line(error)}): "
                "check CXR_SPOOL_URL, CXR_SPOOL_OPTIONS and that the store runs"
            ) from None


def _require_usable(protocol: str, place: str) -> None:
    if "?" in place or "@" in place or "#" in place:
        raise SettingsError(
            "CXR_SPOOL_URL carries a user or options: "
            "put them into the file that CXR_SPOOL_OPTIONS_FILE names"
        )
    if protocol not in ATOMIC_PROTOCOLS:
        raise SettingsError(
            f"CXR_SPOOL_URL: {protocol}:// is no object store where a put is atomic: "
            "use s3://bucket/prefix, or mount it and name the folder"
        )
    if not place.strip("/"):
        raise SettingsError(f"CXR_SPOOL_URL names no bucket: use {protocol}://bucket/prefix")


def _open_files(protocol: str, options: Mapping[str, object]) -> Any:
    chosen = dict(options)
    if protocol in {"s3", "s3a"}:
        own = chosen.get("config_kwargs")
        chosen["config_kwargs"] = {**_QUICK_S3, **(own if isinstance(own, dict) else {})}
    try:
        # What others wrote meanwhile must be seen, and no other part of this process shares the connection.
        return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True, **chosen)
    except ImportError:
        raise SettingsError(
            f"the library for {protocol}:// is not installed: install cxr-severity-worker[s3] "
            "(s3fs), or what fsspec names for this protocol"
        ) from None
    except (TypeError, ValueError, KeyError) as error:
        raise SettingsError(
            f"CXR_SPOOL_OPTIONS do not fit {protocol}:// ({type(error).__name__}): "
            "see fsspec's documentation of this protocol"
        ) from None


def _in_one_line(error: Exception) -> str:
    told = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
