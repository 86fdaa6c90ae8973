"""Each kind of object, in every situation, is what it was: compared element by element with those kept.

A change that is meant is kept by ``python -m tests.golden.write`` and read as a difference in git.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from PIL import Image

from tests.golden.cases import CASES
from tests.golden.readable import first_differences
from tests.golden.write import FOLDER, PICTURES, path_of, picture_of, picture_path, text_of

OBJECTS = [(name, kind) for name, case in CASES.items() for kind in case.settings.objects]
SLIGHT = 24
"""Grey levels by which another CPU's resampling or another release's letters may differ."""


PICTURED = [(name, kind) for name, kind in OBJECTS if kind in PICTURES]


@pytest.fixture(scope="module")
def built():
    return cache(lambda name: CASES[name].build())


@pytest.mark.parametrize("name", CASES)
def test_every_element_is_as_it_was(name, built):
    report = built(name)
    assert list(report.instances) == list(CASES[name].settings.objects)
    changed = []
    for kind, encoded in report.instances.items():
        kept = path_of(name, kind).read_text(encoding="utf-8")
        changed += [f"{name} {kind}: {line}" for line in first_differences(kept, text_of(kind, encoded))]
    if changed:
        changed.append("if this is meant: python -m tests.golden.write, then read `git diff tests/golden`")
        pytest.fail("\n".join(changed), pytrace=False)


@pytest.mark.parametrize(("name", "kind"), PICTURED)
def test_the_picture_looks_as_it_did(name, kind, built):
    found = picture_of(built(name).instances[kind]).astype(int)
    kept = np.asarray(Image.open(picture_path(name, kind))).astype(int)
    assert found.shape == kept.shape
    differing = (np.abs(found - kept) > SLIGHT).mean()
    assert differing < 0.002, f"{100 * differing:.2f} % of the picture's samples differ"


def test_nothing_else_is_kept():
    expected = {path_of(*one) for one in OBJECTS} | {picture_path(*one) for one in PICTURED}
    assert set(FOLDER.iterdir()) == expected


def test_a_change_is_told_by_its_element():
    name, report = "score-3", CASES["score-3"].build()
    kept = path_of(name, "gsps").read_text(encoding="utf-8")
    altered = text_of("gsps", report.instances["gsps"]).replace("AI severity 3 of 6", "AI severity 4 of 6")
    first, second = first_differences(kept, altered)
    assert "UnformattedTextValue ST AI severity 3 of 6" in first
    assert "UnformattedTextValue ST AI severity 4 of 6" in second
