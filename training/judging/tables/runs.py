"""Networks and runs: Tables 5 and 6 of Danilov et al. 2022, as printed and of our own run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from models.checkpoint import NetworkSpec, Role, load_spec
from training.data.dataset import DataError
from training.judging import paper_tables
from training.judging.tables.writing import ReportTable

NOTE = (
    "Multiply-adds: the paper's counter leaves out EfficientNet encoders; the column beside it counts every "
    "operation. Best Dice: ours film by film on validation films, the paper's as in its search."
)


def read_run(folder: Path, name: str) -> list[dict[str, object]]:
    """Read what a run's folder says of each network in it.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``ROLE.json`` (one role or both) and, if it is a run's own folder, ``log.jsonl``.
    name : str
        What to call it.

    Returns
    -------
    list of dict
        One row a network.

    Raises
    ------
    DataError
        If there is no network in the folder, or its log cannot be read.
    models.errors.CheckpointError
        If a description was altered or the network cannot be built.
    """
    roles = [role for role in Role if (folder / f"{role}.json").is_file()]
    if not roles:
        raise DataError(f"{folder} holds neither lungs.json nor opacity.json; name a run's folder")
    log = _log(folder / "log.jsonl")
    return [_row(name, load_spec(folder, role), log if len(roles) == 1 else []) for role in roles]


def network_tables(folders: Mapping[str, Path]) -> list[ReportTable]:
    """Make the equivalents of Tables 5 (stage I) and 6 (stage II).

    Parameters
    ----------
    folders : mapping of str to pathlib.Path
        Run folders, or folders of weights, by name.

    Returns
    -------
    list of ReportTable
        Our networks first, then the paper's as printed.

    Raises
    ------
    DataError
        As ``read_run``.
    """
    ours = [row for name, folder in folders.items() for row in read_run(folder, name)]
    tables = []
    for name, role, stage, title in (
        ("table_5", Role.LUNGS, paper_tables.STAGE_I, "Table 5: networks of stage I"),
        ("table_6", Role.OPACITY, paper_tables.STAGE_II, "Table 6: networks of stage II"),
    ):
        rows = [
            {key: value for key, value in row.items() if key != "role"} for row in ours if row["role"] is role
        ]
        rows += [_paper(system, network) for system, network in stage.items()]
        tables.append(ReportTable(name, title, pd.DataFrame(rows), NOTE))
    return tables


def complexity(spec: NetworkSpec) -> tuple[float, float]:
    """Return a network's parameters in millions and its multiply-adds in thousands of millions, a film.

    Several members all count, and so does a look at the film's mirror image.

    Raises
    ------
    models.errors.CheckpointError
        If the network cannot be built.
    """
    from training.judging.complexity import count_spec  # noqa: PLC0415 - builds networks; only tables need it

    found = count_spec(spec)
    return found.parameters / 1e6, found.multiply_adds / 1e9


def _row(name: str, spec: NetworkSpec, log: Sequence[dict[str, Any]]) -> dict[str, object]:
    parameters, macs = complexity(spec)
    judged = [line["dice"] for line in log if line.get("dice") is not None]
    rows, columns = spec.input_shape
    row: dict[str, object] = {
        "system": f"{name} (ours)",
        "role": spec.role,
        "architecture": spec.architecture,
        "encoder": spec.encoder,
        "input": f"{rows} x {columns}",
        "parameters, M": parameters,
        "multiply-adds, G": macs,
        "all multiply-adds, G": macs,
    }
    if log:
        row |= {"epochs": log[-1].get("epoch"), "minutes": float(log[-1].get("elapsed_s", 0)) / 60}
    return {**row, "best Dice": max(judged)} if judged else row


def _paper(name: str, network: paper_tables.PaperNetwork) -> dict[str, object]:
    return {
        "system": f"{name} (paper)",
        "architecture": name,
        "encoder": network.encoder,
        "input": f"{network.input_px} x {network.input_px}",
        "parameters, M": network.parameters_m,
        "multiply-adds, G": network.macs_g,
        "all multiply-adds, G": network.macs_all_g,
        "loss": network.loss,
        "optimizer": network.optimizer,
        "learning rate": f"{network.learning_rate:g}",
        "batch": str(network.batch),
        "trials": str(network.trials),
        "best Dice": network.dice_tuning,
    }


def _log(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise DataError(f"{path} is no run's log: {error}") from error
