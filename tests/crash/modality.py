"""A modality: sends films and sends each again until it has been answered Success."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO

from films import Film
from pydicom import dcmread, uid
from pynetdicom import AE, _config
from pynetdicom.association import Association

_config.LOG_HANDLER_LEVEL = "none"


class Modality:
    """Sends over several associations at once; remembers what was answered.

    Parameters
    ----------
    port : int
        Of the worker's node, on this host.
    associations : int
        Open at the same time.
    """

    def __init__(self, port: int, associations: int = 4) -> None:
        self.answered: set[str] = set()
        self.statuses: Counter[str] = Counter()
        self._port = port
        self._associations = associations
        self._lock = threading.Lock()

    def send(self, films: Sequence[Film], give_up_after_s: float = 120) -> list[Film]:
        """Send until every film has its Success; return those that never got one."""
        deadline = time.monotonic() + give_up_after_s
        shares = [list(films[number :: self._associations]) for number in range(self._associations)]
        with ThreadPoolExecutor(self._associations) as pool:
            left = list(pool.map(lambda share: self._send_share(share, deadline), filter(None, shares)))
        return [film for share in left for film in share]

    def send_at_once(self, film: Film, times: int) -> None:
        """Send one film over ``times`` associations at the same time, each until its Success."""
        deadline = time.monotonic() + 120
        with ThreadPoolExecutor(times) as pool:
            list(pool.map(lambda _: self._send_share([film], deadline), range(times)))

    def _send_share(self, films: list[Film], deadline: float) -> list[Film]:
        while films and time.monotonic() < deadline:
            association = self._associate()
            if association is None:
                time.sleep(0.2)
                continue
            while films and association.is_established:
                if not self._send_one(association, films[0]):
                    break
                films.pop(0)
            association.release()
            if films:
                time.sleep(0.1)
        return films

    def _associate(self) -> Association | None:
        ae = AE("MODALITY")
        ae.connection_timeout = ae.acse_timeout = ae.network_timeout = 5
        ae.dimse_timeout = 40
        ae.add_requested_context(uid.DigitalXRayImageStorageForPresentation, [uid.ExplicitVRLittleEndian])
        association = ae.associate("127.0.0.1", self._port, ae_title="CXRWORKER", max_pdu=0)
        return association if association.is_established else None

    def _send_one(self, association: Association, film: Film) -> bool:
        status = None
        with suppress(RuntimeError, OSError):
            answer = association.send_c_store(dcmread(BytesIO(film.encoded)))
            status = answer.get("Status")
        with self._lock:
            self.statuses["none" if status is None else f"0x{status:04X}"] += 1
            if status == 0:
                self.answered.add(film.sop_instance_uid)
        return status == 0
