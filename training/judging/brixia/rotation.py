"""How the error grows when films are turned (Signoroni et al. 2021, Fig. 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.judging.bootstrap import interval
from training.judging.brixia.errors import mean_interval
from training.judging.tables.writing import ReportTable

Predict = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""From a film, float32 (rows, columns) in [0, 1], to its regions A to F, float64 (6,), 0 to 3."""

WIDEST = 30
ANGLES = tuple(range(-WIDEST, WIDEST + 1, 5))
"""Degrees, counter-clockwise."""
WITHIN = 20
"""Degrees up to which the score should hold."""


@dataclass(frozen=True)
class ReadFilm:
    """A film to turn.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, (rows, columns), in [0, 1].
    reference : numpy.ndarray
        float64, (6,): what a reader said of regions A to F.
    group : str
        Patient group.
    """

    pixels: NDArray[np.float32]
    reference: NDArray[np.float64]
    group: str


def rotate_film(pixels: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Turn a film about its centre, counter-clockwise as it is seen; same size, bilinear, black outside.

    Parameters
    ----------
    pixels : numpy.ndarray
        float32, (rows, columns).
    degrees : float
        Any; 0 returns the film as it is.
    """
    if degrees == 0:
        return pixels
    rows, columns = pixels.shape
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(pixels, turn, (columns, rows), flags=cv2.INTER_LINEAR), np.float32)


def film_errors(
    films: Sequence[ReadFilm], predict: Predict, angles: Sequence[int] = ANGLES
) -> NDArray[np.float64]:
    """Return the mean absolute error of the six regions, float64 (films, angles), of every film so turned."""
    return np.array(
        [
            [
                float(np.abs(predict(rotate_film(film.pixels, angle)) - film.reference).mean())
                for angle in angles
            ]
            for film in films
        ]
    )


def rotation_curve(
    errors: Mapping[str, NDArray[np.float64]], groups: Sequence[str], angles: Sequence[int] = ANGLES
) -> pd.DataFrame:
    """Return the MAE of each system at each angle with its 95 % interval over patient groups.

    Parameters
    ----------
    errors : mapping of str to numpy.ndarray
        From ``film_errors`` by the system's name.
    groups : sequence of str
        Patient group of each film.
    angles : sequence of int
        As for ``film_errors``.

    Returns
    -------
    pandas.DataFrame
        ``system``, ``degrees``, ``n films``, ``MAE``, ``low``, ``high``.
    """
    rows = []
    for name, table in errors.items():
        for number, angle in enumerate(angles):
            mae, low, high = mean_interval(table[:, number], groups)
            rows.append(
                {
                    "system": name,
                    "degrees": angle,
                    "n films": len(table),
                    "MAE": mae,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def rise_table(
    errors: Mapping[str, NDArray[np.float64]], groups: Sequence[str], angles: Sequence[int] = ANGLES
) -> ReportTable:
    """How much the MAE rises within 20 degrees: on average over the angles, and at the worst of them."""
    rows: list[dict[str, object]] = []
    at_0 = list(angles).index(0)
    turned = [number for number, angle in enumerate(angles) if 0 < abs(angle) <= WITHIN]
    for name, table in errors.items():

        def rise(drawn: NDArray[np.intp], table: NDArray[np.float64] = table) -> float:
            still = float(table[drawn, at_0].mean())
            return float(table[drawn][:, turned].mean()) / still - 1 if still else float("nan")

        low, high = interval(rise, groups)
        still = float(table[:, at_0].mean())
        rows.append(
            {
                "system": name,
                "n films": len(table),
                "MAE at 0°": still,
                f"MAE within ±{WITHIN}°": float(table[:, turned].mean()),
                "rise, %": 100 * rise(np.arange(len(table))),
                "95 %": f"{100 * low:.1f} to {100 * high:.1f}",
                "rise at the worst angle, %": 100 * (float(table[:, turned].mean(axis=0).max()) / still - 1)
                if still
                else float("nan"),
            }
        )
    note = (
        "MAE of the regions, films turned about their centre by "
        f"{', '.join(str(angles[number]) for number in turned)} degrees against films as they are. "
        "Intervals are 95 % bootstrap intervals over patient groups."
    )
    return ReportTable("figure_11_rise", "Rise of the error under rotation", pd.DataFrame(rows), note)
