"""What Orthanc itself shows of the objects: its Explorer, its web viewer, and what its DICOMweb renders."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from models.result import SeverityResult
from tests.conftest import wait_until
from tests.viewers.conftest import PACS, Seen, likeness, picture
from tests.viewers.studies import Study, as_rgb


def test_the_explorer_lists_every_object(
    studies: dict[str, Study],
    viewer_pacs: PACS,
    open_page: Callable[..., Seen],
    keep_picture: Callable[[str, bytes], Path],
) -> None:
    study = studies["severe"]
    (identifier,) = viewer_pacs.find("Study", StudyInstanceUID=study.uid)
    page = open_page(f"{viewer_pacs.url}/app/explorer.html#study?uuid={identifier}").page
    for kind, instance in study.objects.items():
        entry = page.locator("#list-series li").filter(has_text=instance.SeriesDescription)
        expect(entry, kind).to_have_count(1)
        expect(entry, kind).to_contain_text(instance.Modality)
    keep_picture("orthanc-explorer", page.screenshot())


@pytest.mark.parametrize("name", ["severe", "3D and grey", "not assessable"])
def test_the_web_viewer_shows_the_capture(
    name: str,
    studies: dict[str, Study],
    viewer_pacs: PACS,
    open_page: Callable[..., Seen],
    keep_picture: Callable[[str, bytes], Path],
) -> None:
    capture = studies[name].objects["sc"]
    (series,) = viewer_pacs.find("Series", SeriesInstanceUID=capture.SeriesInstanceUID)
    seen = open_page(f"{viewer_pacs.url}/web-viewer/app/viewer.html?series={series}")
    canvas = seen.page.locator("canvas").first
    expect(canvas).to_be_visible()
    wait_until(
        lambda: likeness(picture(canvas.screenshot()), as_rgb(capture)) > 0.9,
        what="the capture in Orthanc's web viewer",
    )
    keep_picture(f"orthanc-web-viewer-{name.replace(' ', '-').lower()}", seen.page.screenshot())


@pytest.mark.parametrize("name", ["severe", "3D and grey", "score 0"])
def test_dicomweb_renders_the_capture(name: str, studies: dict[str, Study], viewer_pacs: PACS) -> None:
    capture = studies[name].objects["sc"]
    path = (
        f"/dicom-web/studies/{capture.StudyInstanceUID}/series/{capture.SeriesInstanceUID}"
        f"/instances/{capture.SOPInstanceUID}/rendered"
    )
    request = urllib.request.Request(viewer_pacs.url + path, headers={"Accept": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        rendered = picture(answer.read())
    assert rendered.shape == as_rgb(capture).shape
    assert likeness(rendered, as_rgb(capture)) > 0.95


@pytest.mark.parametrize("name", ["severe", "3D and grey", "enhanced"])
def test_dicomweb_tells_the_numbers_of_the_report(
    name: str, studies: dict[str, Study], viewer_pacs: PACS
) -> None:
    """Whoever reads the report as DICOM JSON finds the same numbers."""
    result, report = studies[name].result, studies[name].objects["sr"]
    assert isinstance(result, SeverityResult)
    series = f"/dicom-web/studies/{report.StudyInstanceUID}/series/{report.SeriesInstanceUID}"
    (told,) = json.loads(viewer_pacs.get(f"{series}/metadata"))
    values = [
        float(measured["0040A30A"]["Value"][0])
        for item in _items(told)
        for measured in item.get("0040A300", {}).get("Value", ())
    ]
    for number in (result.score, result.percent, *(zone.percent for zone in result.zones)):
        assert number in values


def _items(item: dict[str, Any]) -> list[dict[str, Any]]:
    children = item.get("0040A730", {}).get("Value", [])
    return [item, *(below for child in children for below in _items(child))]
