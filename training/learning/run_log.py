"""What a run tells while it learns: a progress bar, ``log.jsonl``, and TensorBoard files in its folder.

Everything stays on this machine: the TensorBoard writer only appends to a file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.learning.run_options import CONSOLE

Item = TypeVar("Item")
LINES = "log.jsonl"

log = logging.getLogger(__name__)


class RunLog:
    """Writes a run's story; a context manager.

    Parameters
    ----------
    folder : pathlib.Path
        The run's folder.
    epochs : int
        Epochs of the whole run, for the bar.
    done : int
        Epochs that were finished before; what a stopped run wrote of later ones is forgotten.
    """

    def __init__(self, folder: Path, epochs: int, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes seconds

        self._lines = folder / LINES
        _forget_after(self._lines, done)
        self._writer = SummaryWriter(folder, purge_step=done + 1 if done else None)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=CONSOLE, disable=not CONSOLE.is_terminal or CONSOLE.quiet)
        self._epochs = self._bars.add_task("epochs", total=epochs, completed=done)
        self._steps = self._bars.add_task("steps")

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away and close the files."""
        self._bars.stop()
        self._writer.close()

    def steps(self, items: Iterable[Item], count: int) -> Iterator[Item]:
        """Pass items through, moving the bar of the epoch's steps."""
        self._bars.reset(self._steps, total=count)
        for item in items:
            yield item
            self._bars.advance(self._steps)

    def epoch(self, line: Mapping[str, float], groups: Mapping[str, Mapping[str, float]]) -> None:
        """Write one epoch.

        Parameters
        ----------
        line : Mapping of str to float
            The line of ``log.jsonl``; holds ``epoch``.
        groups : Mapping
            Numbers for TensorBoard, by group (``loss``, ``weight``, ``validation``, ...) and name.
        """
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for group, values in groups.items():
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name.removeprefix('weight_')}", value, int(line["epoch"]))
        self._writer.flush()
        self._bars.update(self._epochs, completed=int(line["epoch"]))
        log.info("%s", dict(line))

    def pictures(self, epoch: int, pictures: torch.Tensor) -> None:
        """Write pictures, uint8 (count, 3, rows, columns), for TensorBoard."""
        self._writer.add_images("validation", pictures, epoch)


def _forget_after(path: Path, done: int) -> None:
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text(
            "".join(line for line in lines if json.loads(line)["epoch"] <= done), encoding="utf-8"
        )
