"""Programs without a window: DCMTK's renderers, and its HTML of the report in a browser."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pydicom import dcmread

from dicom_node.presentation_state import read_presentation_texts
from models.result import SeverityResult
from tests.conftest import find_program
from tests.viewers.conftest import Seen, likeness, picture
from tests.viewers.studies import Study, as_rgb


def run(name: str, *arguments: str | Path) -> str:
    """Run a program of DCMTK; return all it says."""
    command = [find_program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["severe", "3D and grey", "not assessable"])
def test_the_capture_is_rendered(name: str, studies: dict[str, Study], tmp_path: Path) -> None:
    capture = studies[name].objects["sc"]
    capture.save_as(tmp_path / "sc.dcm")
    run("dcmj2pnm", "+on", tmp_path / "sc.dcm", tmp_path / "sc.png")
    assert likeness(picture((tmp_path / "sc.png").read_bytes()), as_rgb(capture)) > 0.99


@pytest.mark.parametrize("name", ["severe", "not assessable"])
def test_the_presentation_state_is_applied(name: str, studies: dict[str, Study], tmp_path: Path) -> None:
    """dcmp2pgm greys the film as the presentation state says, and reads every text; it draws none."""
    film, state = studies[name].objects["film"], studies[name].objects["gsps"]
    film.save_as(tmp_path / "jpeg.dcm")
    run("dcmdjpeg", tmp_path / "jpeg.dcm", tmp_path / "film.dcm")
    state.save_as(tmp_path / "gsps.dcm")
    told = run("dcmp2pgm", "-v", "-p", tmp_path / "gsps.dcm", tmp_path / "film.dcm", tmp_path / "film.pgm")
    told = " ".join(told.replace("\nI: ", " ").split())
    for text in read_presentation_texts(state):
        assert text in told
    shown = picture((tmp_path / "film.pgm").read_bytes())
    grey = dcmread(tmp_path / "film.dcm").pixel_array[..., None].repeat(3, axis=2)
    assert shown.shape == grey.shape
    assert likeness(shown, grey) > 0.95


@pytest.mark.parametrize("name", ["severe", "score 0", "with priors", "not assessable", "3D and grey"])
def test_the_report_as_a_page(
    name: str,
    studies: dict[str, Study],
    open_page: Callable[..., Seen],
    keep_picture: Callable[[str, bytes], Path],
    tmp_path: Path,
) -> None:
    """dsr2html's page says every number with its name, the 0 too, and whose it is."""
    result, report = studies[name].result, studies[name].objects["sr"]
    report.save_as(tmp_path / "sr.dcm")
    run("dsr2html", "+U8", tmp_path / "sr.dcm", tmp_path / "sr.html")
    page = open_page((tmp_path / "sr.html").as_uri()).page
    body = page.locator("body")
    expect(body).to_contain_text("Imaging Measurement Report")
    expect(body).to_contain_text(str(report.PatientID))
    text = body.inner_text()
    if isinstance(result, SeverityResult):
        assert f"{float(result.score)} {{score}}" in text or f"{result.score} {{score}}" in text
        for zone in result.zones:
            assert f"{zone.side} {zone.level}" in text
            assert f"{zone.percent} %" in text
    else:
        assert "NOT ASSESSABLE" in text
    page.get_by_text("AI lung severity").first.evaluate("element => element.scrollIntoView()")
    keep_picture(f"dsr2html-{name.replace(' ', '-').lower()}", page.screenshot())
