"""The embedded worker with TLS at both doors: DCMTK sends, a PACS over TLS receives."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dicom_node.tls import TLSFiles, server_context
from tests.certificates import Authority
from tests.conftest import free_port, wait_until


def test_images_come_and_results_go_over_tls_and_nothing_else(
    tmp_path: Path, start_role: Any, cxr_worker: Any, storescu: Any, sample_films: list[Path]
) -> None:
    hospital = Authority.new(tmp_path, "hospital")
    worker, modality, pacs = (hospital.issue(name) for name in ("worker", "modality", "pacs"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stranger = Authority.new(elsewhere, "elsewhere").issue("stranger")
    port, pacs_port = free_port(), free_port()
    settings = {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(port),
        "CXR_WEIGHTS": "light",
        "CXR_TLS_CERTIFICATE": str(worker.certificate),
        "CXR_TLS_KEY": str(worker.key),
        "CXR_TLS_CA": str(worker.ca),
        "CXR_DESTINATIONS": json.dumps(
            [{"ae_title": "PACS", "host": "localhost", "port": pacs_port, "tls": True}]
        ),
    }
    received: list[bytes] = []
    server = start_pacs(pacs_port, server_context(pacs, require_client_certificate=True), received)
    try:
        start_role("serve", settings=settings)
        film = sample_films[0]
        assert storescu(port, film).returncode != 0, "plain DICOM is refused"
        assert storescu(port, film, options=secured(stranger, trusts=worker.ca)).returncode != 0
        assert storescu(port, film, options=secured(modality, trusts=worker.ca)).returncode == 0
        wait_until(lambda: len(received) == 2, 60)
        assert cxr_worker("health", "listen", settings=settings).returncode == 0
        doctor = cxr_worker("doctor", settings={**settings, "COLUMNS": "200"})
        assert "answers, over TLS" in doctor.stdout
        assert "senders must show a certificate" in doctor.stdout
    finally:
        server.shutdown()


def secured(files: TLSFiles, trusts: Path | None) -> list[str]:
    """Return DCMTK's options for TLS with a certificate."""
    return ["+tls", str(files.key), str(files.certificate), "+cf", str(trusts)]


def start_pacs(port: int, tls: ssl.SSLContext, received: list[bytes]) -> Any:
    """Start a PACS that speaks TLS alone and keeps what it gets."""

    def keep(event: evt.Event) -> int:
        received.append(event.encoded_dataset())
        return 0x0000

    ae = AE("PACS")
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax)
    handlers: list[Any] = [(evt.EVT_C_STORE, keep)]
    return ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
