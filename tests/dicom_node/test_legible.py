"""A program that reads letters reads the Secondary Capture on a thumbnail: total, sides, research label."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from dicom_node.prior import PriorResult, ReportBasis, figures_of
from dicom_node.rendering import page_of
from dicom_node.rendering.layout import BANNER
from dicom_node.report_context import ReportContext
from dicom_node.report_settings import ReportSettings
from dicom_node.secondary_capture import build_secondary_capture, circumstances_of
from models.result import NotAssessableReason

THUMBNAIL_PX = 256
SHAPES = {"square": (1000, 1000), "portrait": (1200, 900), "landscape": (900, 1200)}
CAPTURES = ("rgb", "monochrome")
LABEL = "RESEARCH USE - NOT FOR DIAGNOSIS"


@pytest.fixture(scope="module")
def films(demo_film):
    """The demo film in three shapes, as different detectors would have it."""
    return {
        name: dataclasses.replace(demo_film, pixels=cv2.resize(demo_film.pixels, shape[::-1]))
        for name, shape in SHAPES.items()
    }


@pytest.fixture
def thumbnail_of(created_at):
    """The capture of a result, shrunk as an archive's page would, and where its header ends."""

    def make(film, result, capture, priors=()):
        context = ReportContext(
            film, result, ReportSettings(capture=capture), ReportBasis(created_at, priors)
        )
        picture = build_secondary_capture(context).pixel_array
        page = page_of(film.pixels.shape, result, circumstances_of(context))
        height = round(picture.shape[0] * THUMBNAIL_PX / picture.shape[1])
        small = cv2.resize(picture, (THUMBNAIL_PX, height), interpolation=cv2.INTER_AREA)
        if small.ndim == 3:
            small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        return small, round(page.header * THUMBNAIL_PX / 100)

    return make


@pytest.fixture
def read(tool, tmp_path, monkeypatch):
    """What tesseract reads on a picture, enlarged again and dark on light as it wants them."""
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")

    def words(picture, segmentation):
        path = tmp_path / "page.png"
        large = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), 255 - large)
        return tool("tesseract", path, "-", "--psm", str(segmentation), "-l", "eng")

    return words


def total_of(thumbnail, header):
    """The part with the total: below the label, left of the first wide gap."""
    strip = thumbnail[round((BANNER + 0.4) * THUMBNAIL_PX / 100) : header]
    inked = np.flatnonzero(strip.max(axis=0) > 100)
    gaps = np.flatnonzero(np.diff(inked) > 12)
    return strip[:, : inked[gaps[0]] + 6]


def label_of(read, thumbnail):
    return " ".join(read(thumbnail[: round(BANNER * THUMBNAIL_PX / 100)], 7).split())


def scored(severity_of, shape, score, most):
    """A result of this total, its points spread over the zones."""
    base = severity_of(shape)
    zones = tuple(
        dataclasses.replace(zone, score=score // 6 + (index < score % 6))
        for index, zone in enumerate(base.zones)
    )
    return dataclasses.replace(base, score=score, score_max=most, zones=zones)


def priors_of(result, count):
    algorithm = result.algorithm
    return tuple(
        PriorResult(
            f"2.25.{days}", datetime(2026, 3, 1) - timedelta(days=days), algorithm.name, algorithm.version,
            algorithm.digest, result.score_max // 2, result.score_max, 12.5, figures_of(result),
        )
        for days in range(7 * count, 0, -7)
    )  # fmt: skip


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [6, 18])
def test_the_total_is_read(most, shape, capture, films, severity_of, thumbnail_of, read):
    film = films[shape]
    # the many totals of the Brixia score are shared out among the shapes and kinds
    place = list(SHAPES).index(shape) + 3 * CAPTURES.index(capture)
    for score in range(most + 1) if most == 6 else range(place, most + 1, 6):
        result = scored(severity_of, film.pixels.shape, score, most)
        small, header = thumbnail_of(film, result, capture, priors_of(result, score % 4))
        assert read(total_of(small, header), 7).split() == [f"{score}/{most}"]


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("priors", [0, 3])
def test_sides_and_label_are_read(priors, shape, capture, films, severity_of, thumbnail_of, read):
    result = severity_of(SHAPES[shape])
    small, _ = thumbnail_of(films[shape], result, capture, priors_of(result, priors))
    assert label_of(read, small) == LABEL
    found = read(small, 11)
    words = [line for line in found.splitlines() if line in ("RIGHT", "LEFT")]
    assert words == ["RIGHT", "LEFT"]
    # the patient's right is at the picture's left
    columns = small.shape[1]
    halves = [read(half, 11) for half in (small[:, : columns // 5], small[:, -columns // 5 :])]
    assert [bool(re.search(r"\bRIGHT\b", half)) for half in halves] == [True, False]
    assert [bool(re.search(r"\bLEFT\b", half)) for half in halves] == [False, True]


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (NotAssessableReason.NO_LUNGS, "NO LUNGS FOUND"),
        (NotAssessableReason.ONE_LUNG, "ONLY ONE LUNG FOUND"),
        (NotAssessableReason.IMPLAUSIBLE_LUNGS, "LUNG OUTLINES NOT PLAUSIBLE"),
    ],
)
def test_that_there_is_no_score_is_read_and_why(
    reason, words, shape, capture, films, not_assessable_of, thumbnail_of, read
):
    result = dataclasses.replace(not_assessable_of(SHAPES[shape]), reason=reason)
    small, header = thumbnail_of(films[shape], result, capture)
    assert f"NOT ASSESSABLE {words}" in " ".join(read(small[:header], 6).split())
    assert label_of(read, small) == LABEL
    found = read(small, 11)
    assert "RIGHT" in found
    assert "LEFT" in found
    assert not re.search(r"\d/\d", found)
