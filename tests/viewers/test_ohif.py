"""What a radiologist sees in OHIF: the study list, the capture, the report on the film, the overlays.

The whole way once, with the real worker; the other studies are put into the PACS as the worker builds them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from models.result import SeverityResult
from tests.conftest import free_port, wait_until
from tests.viewers.conftest import PACS, WINDOW, Seen, likeness, picture
from tests.viewers.studies import Study, as_rgb

_NO_TOUR = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"
_SERIES = "[data-cy=study-browser-thumbnail], [data-cy=study-browser-thumbnail-no-image]"
_CANVAS = "[data-cy=viewport-pane] canvas.cornerstone-canvas"


@dataclass
class Viewer:
    """OHIF with one study open."""

    seen: Seen

    @property
    def page(self) -> Page:
        return self.seen.page

    def series(self, description: str) -> Locator:
        return self.page.locator(_SERIES).filter(has_text=description)

    def open(self, description: str) -> None:
        self.series(description).dblclick()

    def shown(self) -> Any:
        """What the viewport's picture looks like: uint8, shape (rows, columns, 3)."""
        return picture(self.page.locator(_CANVAS).screenshot())

    def wait_for(self, expected: Any) -> None:
        """Wait until the viewport shows a picture."""
        try:
            wait_until(lambda: likeness(self.shown(), expected) > 0.9, 30, "the picture in OHIF's viewport")
        except AssertionError as error:
            raise AssertionError(f"{error}: likeness {likeness(self.shown(), expected)}") from None

    def report_lines(self, groups: int) -> list[list[str]]:
        """Wait for the report's outlines; return the lines of text beside each."""
        texts = self.page.locator("svg.svg-layer g text")
        for height in (WINDOW["height"] - 1, WINDOW["height"]) * 2:
            try:
                expect(texts).to_have_count(groups, timeout=6_000)
                break
            except AssertionError:
                # now and then OHIF draws them only when the picture moves for the first time
                self.page.set_viewport_size({**WINDOW, "height": height})
        expect(texts).to_have_count(groups)
        return [one.locator("tspan").all_text_contents() for one in texts.all()]

    def assert_well(self, *known: str) -> None:
        """No complaint in the console but the known ones, no message box, no error page."""
        unknown = [told for told in self.seen.complaints if not any(part in told for part in known)]
        assert not unknown
        expect(self.page.locator("[data-sonner-toast]")).to_have_count(0)
        expect(self.page.get_by_text(re.compile("something went wrong|error", re.IGNORECASE))).to_have_count(
            0
        )


@pytest.fixture
def open_study(open_page: Callable[..., Seen], ohif_url: str) -> Callable[[Study], Viewer]:
    """Open a study in OHIF and wait for its film."""

    def opened(study: Study) -> Viewer:
        seen = open_page(f"{ohif_url}/viewer?StudyInstanceUIDs={study.uid}", before=_NO_TOUR)
        viewer = Viewer(seen)
        expect(viewer.page.locator(_SERIES)).to_have_count(len(study.objects))
        wait_until(lambda: viewer.shown().std() > 20, what="the film in OHIF's viewport")
        return viewer

    return opened


def _assert_report_tells(lines: list[list[str]], result: SeverityResult) -> None:
    """Each zone's figures are named by side; OHIF prints two decimals, and nothing for a 0."""
    told = {line for one in lines for line in one}
    for zone in result.zones:
        name = f"{zone.name} zone".capitalize()
        assert f"{name} score: {_printed(zone.score)} {{score}}" in told
        assert f"{name} opacity: {_printed(zone.percent)} %" in told
    assert f"Lung opacity score, 0 to {result.score_max}: {_printed(result.score)} {{score}}" in told
    assert f"Lung opacity: {_printed(result.percent)} %" in told
    # what is not 0 when the score is
    clear = sum(not zone.score for zone in result.zones)
    assert f"Lung zones without involvement: {_printed(clear)} {{zones}}" in told


def _printed(number: float) -> str:
    return f"{number:.2f}" if number else ""


def _assert_outlines_lie_on_their_sides(viewer: Viewer) -> None:
    """Half of the zones' outlines lie left in the picture, where the patient's right is; one is round all."""
    boxes = [line.bounding_box() for line in viewer.page.locator("svg.svg-layer polyline").all()]
    film = viewer.page.locator(_CANVAS).bounding_box()
    assert film is not None
    middle = film["x"] + film["width"] / 2
    left = [box for box in boxes if box and box["x"] + box["width"] < middle + 0.05 * film["width"]]
    right = [box for box in boxes if box and box["x"] > middle - 0.05 * film["width"]]
    assert (len(left), len(right), len(boxes)) == (3, 3, 7)


def _assert_texts_can_be_read(viewer: Viewer) -> None:
    """No text lies upon another, none leaves the viewport."""
    window = viewer.page.locator(_CANVAS).bounding_box()
    boxes = [text.bounding_box() for text in viewer.page.locator("svg.svg-layer g text").all()]
    assert window is not None
    for one in boxes:
        assert one is not None
        assert window["x"] <= one["x"]
        assert one["x"] + one["width"] <= window["x"] + window["width"]
    for one, other in itertools.combinations(boxes, 2):
        assert one is not None
        assert other is not None
        beside = min(one["x"] + one["width"], other["x"] + other["width"]) <= max(one["x"], other["x"])
        below = min(one["y"] + one["height"], other["y"] + other["height"]) <= max(one["y"], other["y"])
        assert beside or below, (one, other)


@pytest.mark.parametrize("name", ["severe", "score 0", "with priors", "3D and grey", "enhanced"])
def test_capture_and_report_are_shown(
    name: str,
    studies: dict[str, Study],
    open_study: Callable[[Study], Viewer],
    keep_picture: Callable[[str, bytes], Path],
) -> None:
    study = studies[name]
    assert isinstance(study.result, SeverityResult)
    viewer = open_study(study)
    kept = f"ohif-{name.replace(' ', '-')}".lower()
    viewer.open(study.description("sc"))
    viewer.wait_for(as_rgb(study.objects["sc"]))
    expect(viewer.page.locator("[data-cy=cine-player-play-pause]")).to_have_count(0)
    keep_picture(f"{kept}-capture", viewer.page.screenshot())
    viewer.open(study.description("sr"))
    lines = viewer.report_lines(7)
    keep_picture(f"{kept}-report", viewer.page.screenshot())
    _assert_report_tells(lines, study.result)
    _assert_outlines_lie_on_their_sides(viewer)
    _assert_texts_can_be_read(viewer)
    viewer.assert_well()


def test_a_film_without_a_score_is_shown_as_such(
    studies: dict[str, Study],
    open_study: Callable[[Study], Viewer],
    keep_picture: Callable[[str, bytes], Path],
) -> None:
    study = studies["not assessable"]
    viewer = open_study(study)
    viewer.open(study.description("sc"))
    viewer.wait_for(as_rgb(study.objects["sc"]))
    keep_picture("ohif-not-assessable-capture", viewer.page.screenshot())
    viewer.open(study.description("sr"))
    ((*figures, site),) = viewer.report_lines(1)
    keep_picture("ohif-not-assessable-report", viewer.page.screenshot())
    assert not figures
    assert site.endswith(": Lung")
    viewer.assert_well()


def test_what_cannot_be_shown_does_not_end_the_page(
    studies: dict[str, Study],
    open_study: Callable[[Study], Viewer],
    keep_picture: Callable[[str, bytes], Path],
) -> None:
    """OHIF has nothing for presentation states; of a SEG it wants an orientation that no radiograph has."""
    study = studies["severe"]
    viewer = open_study(study)
    before = viewer.shown()
    viewer.open(study.description("gsps"))
    viewer.page.wait_for_timeout(1_000)
    assert likeness(viewer.shown(), before) > 0.9
    assert not viewer.seen.complaints
    viewer.open(study.description("seg"))
    expect(viewer.page.get_by_text("Loading SEG...")).to_be_visible()
    viewer.page.wait_for_timeout(1_000)
    assert viewer.seen.complaints
    keep_picture("ohif-segmentation", viewer.page.screenshot())
    viewer.open(study.description("sc"))
    viewer.wait_for(as_rgb(study.objects["sc"]))
    viewer.assert_well("ImageOrientationPatient")


def test_from_the_modality_to_the_screen(
    ohif_url: str,
    viewer_pacs: PACS,
    open_page: Callable[..., Seen],
    storescu: Any,
    start_role: Any,
    make_sample: Callable[[str], Path],
    keep_picture: Callable[[str, bytes], Path],
    tmp_path: Path,
) -> None:
    """DCMTK's storescu as the modality, the real worker, Orthanc as its PACS, OHIF as its viewer."""
    film = make_sample("from the modality")
    settings = {
        "CXR_DATA_DIR": str(tmp_path / "data"),
        "CXR_PORT": str(free_port()),
        "CXR_DESTINATIONS": f"{viewer_pacs.ae_title}@127.0.0.1:{viewer_pacs.dicom_port}",
        "CXR_SWEEP_INTERVAL_S": "0.5",
        "CXR_DEVICE": "cpu",
    }
    start_role("serve", settings=settings)
    for port, called in (
        (viewer_pacs.dicom_port, viewer_pacs.ae_title),
        (int(settings["CXR_PORT"]), "CXRWORKER"),
    ):
        assert storescu(port, film, called=called).returncode == 0
    uid = str(dcmread(film).StudyInstanceUID)
    wait_until(lambda: len(viewer_pacs.find("Series", StudyInstanceUID=uid)) == 3, 120, "film, SR and SC")

    page = (seen := open_page(ohif_url, before=_NO_TOUR)).page
    row = page.get_by_role("row").filter(has_text="FROM-THE-MODALIT")
    row.first.click()
    keep_picture("ohif-study-list", page.screenshot())
    page.get_by_role("button", name="Basic Viewer").first.click()
    viewer = Viewer(seen)
    expect(page.locator(_SERIES)).to_have_count(3)
    viewer.open("Research: AI lung opacity overlay")
    (capture,) = [
        one
        for one in viewer_pacs.datasets()
        if one.StudyInstanceUID == uid and one.SOPClassUID == SecondaryCaptureImageStorage
    ]
    viewer.wait_for(as_rgb(capture))
    viewer.open("Research: AI lung opacity severity")
    viewer.report_lines(7)
    viewer.assert_well()
