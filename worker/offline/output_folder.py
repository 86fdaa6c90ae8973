"""The folder of ``cxr-worker score --out``: a picture and the objects of a report for each file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.instance import OBJECT_KINDS, InstanceReference
from dicom_node.own_report import reference_of
from dicom_node.reading import read_dataset
from dicom_node.rendering import Circumstances, render_explanation, render_overlay
from dicom_node.report import ReportBasis, ReportSettings, build_report
from dicom_node.report_context import ReportContext
from dicom_node.secondary_capture import circumstances_of
from models.result import SeverityResult
from worker.errors import SettingsError, WorkerError

if TYPE_CHECKING:
    from dicom_node.pixels import Radiograph
    from models.result import Result


class UnwritableFile(WorkerError):
    """A file cannot be written."""


def open_output(
    folder: Path | None, objects: str, grade_severity: bool, *, by_algorithm: bool = False
) -> OutputFolder | None:
    """Return the folder for ``score --out``, None where none is named.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Made when needed.
    objects : str
        Kinds of object, separated by commas: ``sr,sc,gsps,seg,map``.
    grade_severity : bool
        As in ``ReportSettings``.
    by_algorithm : bool
        Whether several algorithms write there, so that names must tell which.

    Raises
    ------
    SettingsError
        When a kind is unknown or none is named.
    """
    named = {part.strip().lower() for part in objects.split(",")} - {""}
    kinds = tuple(kind for kind in OBJECT_KINDS if kind in named)
    if not kinds or named - set(kinds):
        raise SettingsError(f"--objects {objects}: name one or more of {', '.join(OBJECT_KINDS)}")
    form = ReportSettings(grade_severity=grade_severity, objects=kinds)
    return None if folder is None else OutputFolder(folder, form, by_algorithm)


class OutputFolder:
    """A folder of results, named by the files that they come from.

    Parameters
    ----------
    folder : pathlib.Path
        Made when needed.
    form : ReportSettings
        How objects are written, and which.
    by_algorithm : bool
        Whether a name ends in the algorithm's: ``NAME.bs-net.sr.dcm``.
    """

    def __init__(self, folder: Path, form: ReportSettings, by_algorithm: bool = False) -> None:
        self._folder = folder
        self._form = form
        self._by_algorithm = by_algorithm
        self._taken: dict[str, Path] = {}

    @property
    def explains(self) -> bool:
        """Whether explanations are wanted, where a result has one."""
        return "map" in self._form.objects

    def write_picture(self, path: Path, pixels: NDArray[np.float32], result: Result) -> None:
        """Write ``NAME.png``, the result drawn over a picture that has no header.

        Raises
        ------
        UnwritableFile
            When it cannot be written.
        """
        name = self._free_name(path, result)
        self._write(name, render_overlay(pixels, result))
        self._write_explanation(name, pixels, result)

    def write_report(
        self, path: Path, radiograph: Radiograph, result: Result, basis: ReportBasis
    ) -> InstanceReference | None:
        """Write ``NAME.png`` and the report's objects, ``NAME.sr.dcm`` and so on.

        Returns
        -------
        InstanceReference or None
            The Structured Report; None where none is asked for.

        Raises
        ------
        UnwritableFile
            When one cannot be written.
        """
        name = self._free_name(path, result)
        report = build_report(radiograph, result, self._form, basis)
        context = ReportContext(radiograph, result, self._form, basis)
        circumstances = circumstances_of(context)
        self._write(name, render_overlay(radiograph.pixels, result, circumstances))
        self._write_explanation(name, radiograph.pixels, result, circumstances)
        with _told_if_unwritable(self._folder):
            for kind, encoded in report.instances.items():
                (self._folder / f"{name}.{kind}.dcm").write_bytes(encoded)
        encoded_report = report.instances.get("sr")
        return None if encoded_report is None else reference_of(read_dataset(encoded_report))

    def _write_explanation(
        self,
        name: str,
        pixels: NDArray[np.float32],
        result: Result,
        circumstances: Circumstances | None = None,
    ) -> None:
        if isinstance(result, SeverityResult) and "map" in self._form.for_result(result).objects:
            self._write(f"{name}.map", render_explanation(pixels, result, circumstances))

    def _write(self, name: str, drawn: NDArray[np.uint8]) -> None:
        encoded = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1]
        with _told_if_unwritable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{name}.png").write_bytes(encoded.tobytes())

    def _free_name(self, path: Path, result: Result) -> str:
        name = path.stem
        if self._taken.setdefault(name, path) != path:
            name = f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        return f"{name}.{result.algorithm.name}" if self._by_algorithm else name


@contextmanager
def _told_if_unwritable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnwritableFile(
            f"{folder} cannot be written to ({reason}): check folder, rights and free space"
        ) from None
