"""How many films a second the scorer does: one at a time, warm, the median of many."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from models.severity import SeverityScorer
from training.data.dataset import Film, read_pixels


@dataclass(frozen=True)
class Speed:
    """A measured speed and what it was measured on.

    Parameters
    ----------
    images_per_second : float
        1 over the median time of a film, from grey values in memory to the score.
    median_s, p95_s : float
        Time of a film.
    films, warm_up : int
        Films that were timed, and scored before without being timed.
    device, machine : str
        ``cpu`` or ``cuda``; what the processor (and GPU) call themselves, cores, torch's version.
    threads : int
        Threads that torch used.
    """

    images_per_second: float
    median_s: float
    p95_s: float
    films: int
    warm_up: int
    device: str
    threads: int
    machine: str

    def figures(self) -> dict[str, float | int | str]:
        """Return all by name."""
        return asdict(self)


def measure_speed(
    films: Sequence[Film], weights: Path | None, device: str = "cpu", warm_up: int = 3, repeats: int = 20
) -> Speed:
    """Time the worker's scorer: batches of one, evaluation mode, no gradients, networks loaded once.

    Parameters
    ----------
    films : sequence of Film
        At least one; they are scored in turn until ``repeats`` are timed. Reading their files is not timed.
    weights : pathlib.Path or None
        Folder of the weights; None for the shipped ones.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    warm_up, repeats : int
        Films that are scored untimed and timed.

    Returns
    -------
    Speed

    Raises
    ------
    models.errors.CheckpointError
        If the weights or the device cannot be used.
    """
    scorer = SeverityScorer.load(weights, device)
    pixels = [read_pixels(film.image) for film in films[: warm_up + repeats]]
    for number in range(warm_up):
        scorer.score(pixels[number % len(pixels)])
    times = []
    for number in range(repeats):
        film = pixels[(warm_up + number) % len(pixels)]
        started = time.perf_counter()
        scorer.score(film)  # its answer lies in the CPU's memory, so a GPU has finished
        times.append(time.perf_counter() - started)
    used = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    median = float(np.median(times))
    return Speed(
        images_per_second=round(1 / median, 3),
        median_s=round(median, 4),
        p95_s=round(float(np.percentile(times, 95)), 4),
        films=repeats,
        warm_up=warm_up,
        device=used,
        threads=torch.get_num_threads(),
        machine=_machine(used),
    )


def _machine(device: str) -> str:
    parts = [_processor(), f"{os.cpu_count()} cores", f"torch {torch.__version__}"]
    if device == "cuda":
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
