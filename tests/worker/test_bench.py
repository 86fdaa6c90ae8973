"""The benchmarks run; how fast is nobody's test."""

from __future__ import annotations

import pytest

from worker import bench


def test_both_benchmarks_print_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("ROUNDS", 1), ("OBJECTS", 4), ("FILMS", 1)):
        monkeypatch.setattr(bench, name, value)
    assert bench.main() == 0
    printed = capsys.readouterr().out
    assert "networks and zones" in printed
    assert "ratio" in printed or "DCMTK" in printed
