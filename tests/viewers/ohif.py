"""The built OHIF viewer on a loopback port, with a PACS's DICOMweb service behind the same origin."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_PIN = Path(__file__).resolve().parents[2] / ".ci" / "ohif-app.sha512"
VERSION = _PIN.read_text().split()[1].removeprefix("ohif-app-").removesuffix(".tgz")
_END_TO_END = ("Accept", "Content-Type", "Range")
_PROXIED = "/dicom-web"

_SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "dicomweb",
    "configuration": {
        "friendlyName": "PACS",
        "name": "pacs",
        "qidoRoot": _PROXIED,
        "wadoRoot": _PROXIED,
        "wadoUriRoot": _PROXIED,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "qidoSupportsIncludeField": False,
        "supportsReject": False,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "enableStudyLazyLoad": True,
        "bulkDataURI": {"enabled": True},
    },
}
_CONFIGURATION = {
    "name": "config/tests.js",
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "investigationalUseDialog": {"option": "never"},
    "showErrorDetails": "always",
    "maxNumberOfWebWorkers": 2,
    "maxNumRequests": {"interaction": 20, "thumbnail": 10, "prefetch": 10},
    "showLoadingIndicator": True,
    "defaultDataSourceName": "dicomweb",
    "dataSources": [_SOURCE],
}


def folder() -> Path:
    """Where ``.ci/fetch-ohif`` puts the app."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cxr-severity-worker" / f"ohif-{VERSION}"


@contextmanager
def serving(app: Path, pacs: str) -> Iterator[str]:
    """Serve the app and pass ``/dicom-web`` on to the PACS at the URL ``pacs``; yields the app's URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, pacs, directory=str(app)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, pacs: str, *arguments: object, **keywords: object) -> None:
        self._pacs = urlsplit(pacs).netloc
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(f"{_PROXIED}/"):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(
                HTTPStatus.OK, "text/javascript", f"window.config = {json.dumps(_CONFIGURATION)};".encode()
            )
        else:
            if not Path(self.translate_path(path)).is_file():
                # every address of a single-page application is the same page
                self.path = "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        connection = http.client.HTTPConnection(self._pacs, timeout=30)
        wanted = {name: self.headers[name] for name in _END_TO_END if name in self.headers}
        try:
            connection.request("GET", self.path, headers=wanted)
            answer = connection.getresponse()
            kind = answer.headers.get("Content-Type", "application/octet-stream")
            self._answer(answer.status, kind, answer.read())
        finally:
            connection.close()

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        # without these two the browser gives no shared memory, which the app's workers need
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
