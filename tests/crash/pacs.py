"""A PACS that writes down what it gets and misbehaves on order: ``python pacs.py FOLDER PORT``.

``FOLDER/record`` gets a JSON line for each object it keeps. ``FOLDER/behaviour``, JSON, is read again when
it changes: ``mode``, ``times`` (how many requests it lasts), and for some ``status`` or ``seconds``:

======== ==========================================================================================
status   answers C-STORE with ``status`` until the association ends (``modality``: to such objects only);
         keeps the object if that is Success, a warning or 0x0111
refuse   rejects associations
abort    breaks the association off at a C-STORE, and keeps nothing
lose     keeps the object and breaks off instead of answering
half     like ``lose``, but at the second C-STORE of an association
hang     keeps the object and answers after ``seconds``
======== ==========================================================================================
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_preamble
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification

AE_TITLE = "RECORDER"

_config.LOG_HANDLER_LEVEL = "none"


class Recorder:
    """The node; see the module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._changed: int | None = None
        self._behaviour: dict[str, Any] = {}
        self._stored: dict[object, int] = {}
        self._answering: dict[object, dict[str, Any]] = {}

    def serve(self, port: int) -> None:
        ae = AE(AE_TITLE)
        ae.maximum_associations = 200
        ae.maximum_pdu_size = 0
        ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), list(uid.AllTransferSyntaxes))
        ae.start_server(
            ("127.0.0.1", port),
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._requested)],
        )

    def _requested(self, event: evt.Event) -> None:
        if self._next("refuse"):
            event.assoc.acse.send_reject(2, 3, 2)
            event.assoc.kill()

    def _store(self, event: evt.Event) -> int:
        behaviour = self._behaviour_for(event)
        mode = behaviour.get("mode")
        status = int(behaviour.get("status", 0))
        with self._lock:
            self._stored[event.assoc] = number = self._stored.get(event.assoc, 0) + 1
        if mode == "abort":
            event.assoc.abort()
            return 0xC000
        if mode != "status" or _keeps(status):
            self._keep(event.encoded_dataset(), status)
        if mode == "lose" or (mode == "half" and number == 2):
            event.assoc.abort()
        if mode == "hang":
            time.sleep(behaviour["seconds"])
        return status

    def _behaviour_for(self, event: evt.Event) -> dict[str, Any]:
        behaviour = self._answering.get(event.assoc)
        if behaviour is None:
            behaviour = self._next("status", "abort", "lose", "half", "hang")
            if behaviour.get("mode") == "status":
                # one answer for all of an association: a report and its capture share their fate
                self._answering[event.assoc] = behaviour
        only = behaviour.get("modality", "")
        is_report = str(event.request.AffectedSOPClassUID).startswith("1.2.840.10008.5.1.4.1.1.88.")
        return {} if only and (only == "SR") != is_report else behaviour

    def _keep(self, encoded: bytes, status: int) -> None:
        line = describe(encoded) | {"status": status}
        with self._lock, (self._folder / "record").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _next(self, *modes: str) -> dict[str, Any]:
        """Return what is ordered now, if it is one of these modes; counts it."""
        with self._lock:
            path = self._folder / "behaviour"
            changed = path.stat().st_mtime_ns if path.exists() else None
            if changed != self._changed:
                self._changed = changed
                self._behaviour = json.loads(path.read_text(encoding="utf-8")) if changed else {}
            if self._behaviour.get("mode") not in modes or self._behaviour.get("times", 0) <= 0:
                return {}
            self._behaviour["times"] -= 1
            return dict(self._behaviour)


def order(folder: Path, **behaviour: Any) -> None:
    """Change what the recorder of a folder does."""
    aside = folder / "behaviour.new"
    aside.write_text(json.dumps(behaviour), encoding="utf-8")
    aside.replace(folder / "behaviour")


def describe(encoded: bytes) -> dict[str, Any]:
    """Return what the judge wants to know of an object: identity, digest, patient, algorithm, references."""
    file = BytesIO(encoded)
    dataset = dcmread(file, stop_before_pixels=True)
    return {
        "uid": str(dataset.SOPInstanceUID),
        "modality": str(dataset.Modality),
        "patient": str(dataset.PatientID),
        "algorithm": str(dataset.get("SoftwareVersions", "")).partition(" ")[0],
        "sources": sorted(set(_references(dataset))),
        "sha256": hashlib.sha256(_data_set(encoded)).hexdigest(),
    }


def _data_set(encoded: bytes) -> bytes:
    """Return the bytes after the file meta information: each PACS writes its own."""
    file = BytesIO(encoded)
    read_preamble(file, force=False)
    start = file.tell()
    length = int.from_bytes(encoded[start + 8 : start + 12], "little")
    return encoded[start + 12 + length :]


def _references(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)


def _keeps(status: int) -> bool:
    return status in (0x0000, 0x0001, 0x0107, 0x0111, 0x0116) or 0xB000 <= status <= 0xBFFF


if __name__ == "__main__":
    Recorder(Path(sys.argv[1])).serve(int(sys.argv[2]))
