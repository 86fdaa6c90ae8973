"""Training curves from the logs of runs (Signoroni et al. 2021, Fig. 8)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from training.data.dataset import DataError

LOG = "log.jsonl"
NOT_DRAWN = ("epoch", "seconds", "elapsed_s", "step")


def read_log(run: Path) -> pd.DataFrame:
    """Read what a run logged, one row an epoch; numbers only.

    Parameters
    ----------
    run : pathlib.Path
        The run's folder, or its log.

    Raises
    ------
    DataError
        If there is no log, or it is none.
    """
    path = run / LOG if run.is_dir() else run
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read the log {path}: {error.strerror}; name a run's folder") from error
    except ValueError as error:
        raise DataError(f"{path} is no log of a run: {error}") from error
    table = pd.json_normalize(lines, sep=" ")
    if "epoch" not in table or table.empty:
        raise DataError(f"{path} is no log of a run: its lines name no epoch")
    return table.select_dtypes("number").astype(float)


def plot_curves(logs: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw every logged number over the epochs, a panel a number, a line a run.

    Parameters
    ----------
    logs : mapping of str to pandas.DataFrame
        From ``read_log`` by the run's name; at least one.
    """
    names = list(dict.fromkeys(name for log in logs.values() for name in log if name not in NOT_DRAWN))
    across = min(3, max(1, len(names)))
    down = max(1, math.ceil(len(names) / across))
    figure = Figure(figsize=(4 * across, 2.8 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        for run, log in logs.items():
            if name in log:
                known = log[["epoch", name]].dropna()
                axes.plot(known["epoch"], known[name], marker="o", markersize=3, label=run)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure
