"""Real viewers in a real browser: Chromium without a window, shown what an Orthanc holds.

Pictures of what was seen go to the tests' temporary folder. To refresh those of the compatibility page::

    CXR_VIEWER_PICTURES=dicom_node/pictures python -m pytest tests/viewers
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from models.severity import SeverityScorer
from tests.conftest import ROOT, Orthanc, find_program, free_port, missing, running
from tests.end_to_end.conftest import start_role  # noqa: F401 - a fixture, the same here
from tests.viewers import ohif
from tests.viewers.studies import Study, build_studies, renamed

WINDOW = {"width": 1600, "height": 1000}
_COMMITTED = {
    "ohif-study-list",
    "ohif-severe-capture",
    "ohif-severe-report",
    "ohif-score-0-report",
    "ohif-with-priors-capture",
    "ohif-not-assessable-capture",
    "orthanc-explorer",
    "orthanc-web-viewer-severe",
    "dsr2html-severe",
}
_OWN_RENDERING = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@dataclass(frozen=True)
class PACS(Orthanc):
    """An Orthanc that is filled over its REST API, and looked at through its viewers."""

    def take(self, content: bytes) -> None:
        request = urllib.request.Request(f"{self.url}/instances", data=content, method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def find(self, level: str, **query: str) -> list[str]:
        """Return Orthanc's own identifiers: ``find("Series", SeriesInstanceUID=...)``."""
        body = json.dumps({"Level": level, "Query": query}).encode()
        request = urllib.request.Request(f"{self.url}/tools/find", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return list(json.load(answer))


@pytest.fixture(scope="session")
def viewer_pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PACS]:
    """An Orthanc with DICOMweb and its web viewer."""
    program, folder = find_program("Orthanc"), tmp_path_factory.mktemp("viewer-pacs")
    plugins = [
        Path("/usr/share/orthanc/plugins") / name
        for name in ("libOrthancDicomWeb.so", "libOrthancWebViewer.so")
    ]
    for plugin in plugins:
        if not plugin.exists():
            missing(f"{plugin.name} is not installed (orthanc-dicomweb, orthanc-webviewer)")
    pacs = PACS("VIEWED", free_port(), f"http://127.0.0.1:{free_port()}")
    configuration = {
        "DicomAet": pacs.ae_title,
        "DicomPort": pacs.dicom_port,
        "HttpPort": int(pacs.url.rsplit(":", 1)[1]),
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "Plugins": [str(plugin) for plugin in plugins],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "WebViewer": {"CachePath": str(folder / "cache")},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with running([program, str(folder / "orthanc.json")], lambda: pacs.get("/dicom-web/studies"), folder):
        yield pacs


@pytest.fixture(scope="session")
def studies(viewer_pacs: PACS) -> dict[str, Study]:
    """What the PACS holds, by name."""
    built = build_studies(ROOT / "worker" / "sample", SeverityScorer.load(threads=1))
    for study in built.values():
        for content in study.files:
            viewer_pacs.take(content)
    return built


@pytest.fixture
def make_sample(tmp_path: Path) -> Callable[[str], Path]:
    """Write a shipped film as that of another patient: ``make_sample("name")``."""

    def make(name: str) -> Path:
        path = tmp_path / "film.dcm"
        path.write_bytes(renamed(ROOT / "worker" / "sample" / "severe_film.dcm", name)[1])
        return path

    return make


@pytest.fixture(scope="session")
def ohif_url(viewer_pacs: PACS) -> Iterator[str]:
    """OHIF in front of the PACS; skips where it was not fetched, for that may need a network."""
    if not (ohif.folder() / "index.html").is_file():
        pytest.skip(f"OHIF {ohif.VERSION} is not in {ohif.folder()}: run `sh .ci/fetch-ohif` (needs npm)")
    with ohif.serving(ohif.folder(), viewer_pacs.url) as url:
        yield url


# Not for the session: while it lives, playwright's event loop counts as running, which others' may not be.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window; it opens nothing but pages of these tests."""
    program = find_program("chromium")
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=_OWN_RENDERING)
        yield chromium
        chromium.close()


@dataclass
class Seen:
    """A page, and what its console complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Seen]]:
    """Open a page of its own: ``open_page(url, before="script")``."""
    with ExitStack() as contexts:

        def opened(url: str, before: str = "") -> Seen:
            context = browser.new_context(viewport=WINDOW)
            contexts.callback(context.close)
            context.set_default_timeout(30_000)
            if before:
                context.add_init_script(before)
            seen = Seen(context.new_page())
            seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
            seen.page.on(
                "console",
                lambda message: message.type == "error" and seen.complaints.append(message.text),
            )
            seen.page.goto(url)
            return seen

        yield opened


@pytest.fixture(scope="session")
def keep_picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], Path]:
    """Keep a picture of what was seen: ``keep_picture("ohif-sr", png)``."""
    temporary, named = tmp_path_factory.mktemp("pictures"), os.environ.get("CXR_VIEWER_PICTURES")

    def keep(name: str, png: bytes) -> Path:
        folder = Path(named) if named and name in _COMMITTED else temporary
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.webp"
        whole = Image.open(BytesIO(png)).convert("RGB")
        whole.resize((1280, 800), Image.Resampling.LANCZOS).save(path, quality=80, method=6)
        return path

    return keep


def picture(png: bytes) -> NDArray[np.uint8]:
    """Return a screenshot as pixels: uint8, shape (rows, columns, 3)."""
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def likeness(shown: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Return the correlation of two pictures; the shown one may have a border, and another size.

    The expected one is laid into the middle of the shown one as large as it fits, as viewers do; both are
    compared small, for viewers differ in how they scale.
    """
    rows, columns = shown.shape[:2]
    scale = min(rows / expected.shape[0], columns / expected.shape[1])
    width, height = round(expected.shape[1] * scale), round(expected.shape[0] * scale)
    left, top = (columns - width) // 2, (rows - height) // 2
    part = Image.fromarray(shown[top : top + height, left : left + width])
    small = [
        np.asarray(one.resize((256, 256), Image.Resampling.BOX), np.float64).ravel()
        for one in (part, Image.fromarray(expected))
    ]
    return float(np.corrcoef(*small)[0, 1]) if small[0].std() else 0.0
