"""Three real chest radiographs as DICOM objects, for the demonstration and the tests; see ATTRIBUTION.md."""

from pathlib import Path

FILM = Path(__file__).parent / "demo_film.dcm"
"""The film of the demonstration, and of the scorers' self-test."""
