"""What a search has taught: every trial, importance and correlation of hyperparameters, the best choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from models.checkpoint import Role
from training.learning.config import ConfigError, config_text
from training.tuning.space import Tuning
from training.tuning.study import FAILURE

LEAST_TRIALS = 2
TREES = 200


def trial_table(study: optuna.Study) -> pd.DataFrame:
    """Return all trials that have ended.

    Parameters
    ----------
    study : optuna.Study
        The search.

    Returns
    -------
    pandas.DataFrame
        One row a trial: ``number``, ``state``, ``figure`` (the best validation figure; NaN if there is none),
        ``epochs``, ``seconds``, ``failure``, and a column for each hyperparameter.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            rows.append(
                {
                    "number": trial.number,
                    "state": trial.state.name,
                    "figure": trial.value
                    if trial.state == TrialState.COMPLETE
                    else trial.user_attrs.get("best", np.nan),
                    "epochs": trial.user_attrs.get("epochs", np.nan),
                    "seconds": trial.user_attrs.get("seconds", np.nan),
                    "failure": trial.user_attrs.get(FAILURE, ""),
                    **trial.params,
                }
            )
    return pd.DataFrame(rows)


def influence(table: pd.DataFrame, hyperparameters: Sequence[str], seed: int = 11) -> pd.DataFrame:
    """Say how much each hyperparameter matters (Danilov et al. 2022, Figs 7, 8 and C1).

    Numbers are taken as they are; each value of any other hyperparameter becomes a column of 0 and 1.

    Parameters
    ----------
    table : pandas.DataFrame
        As ``trial_table`` returns; rows without a figure are left out.
    hyperparameters : sequence of str
        Columns of it.
    seed : int
        Of the forest.

    Returns
    -------
    pandas.DataFrame
        One row an encoded column, in the given order: ``hyperparameter``, ``value`` (empty for a number),
        ``importance`` (a random forest's, from the columns to the figure; they sum to 1) and ``correlation``
        (Pearson's with the figure; NaN where one of the two never changes).

    Raises
    ------
    ConfigError
        If fewer than two trials have a figure.
    """
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 - takes a second; only reports need it

    judged = table[table["figure"].notna()] if len(table) else table
    if len(judged) < LEAST_TRIALS:
        raise ConfigError(
            f"{len(judged)} trials of this study have a figure, two are needed; trials.csv tells why "
            "others failed"
        )
    names, columns = [], []
    for hyperparameter in hyperparameters:
        values = judged[hyperparameter]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            names.append((hyperparameter, ""))
            columns.append(values.to_numpy(float))
            continue
        for value in sorted(values.astype(str).unique()):
            names.append((hyperparameter, value))
            columns.append((values.astype(str) == value).to_numpy(float))
    encoded, figures = np.stack(columns, 1), judged["figure"].to_numpy(float)
    forest = RandomForestRegressor(TREES, random_state=seed).fit(encoded, figures)
    importances = forest.feature_importances_
    if not importances.sum():  # every trial has the same figure: nothing tells the columns apart
        importances = np.full(len(columns), 1 / len(columns))
    result = pd.DataFrame(names, columns=["hyperparameter", "value"])
    return result.assign(
        importance=importances / importances.sum(),
        correlation=[_pearson(column, figures) for column in columns],
    )


def by_hyperparameter(influences: pd.DataFrame) -> pd.DataFrame:
    """Sum up ``influence`` by hyperparameter.

    Returns
    -------
    pandas.DataFrame
        One row a hyperparameter, the most important first: ``importance`` (they sum to 1), ``correlation``
        (of the value with the strongest one) and ``value`` (that value; empty for a number).
    """
    rows = []
    for name, part in influences.groupby("hyperparameter", sort=False):
        strongest = part.iloc[int(part["correlation"].abs().fillna(-1.0).to_numpy().argmax())]
        rows.append((name, part["importance"].sum(), strongest["correlation"], strongest["value"]))
    table = pd.DataFrame(rows, columns=["hyperparameter", "importance", "correlation", "value"])
    return table.sort_values("importance", ascending=False, ignore_index=True)


def write_report(study: optuna.Study, tuning: Tuning, stage: Role, folder: Path) -> list[Path]:
    """Write what a search has taught.

    Parameters
    ----------
    study : optuna.Study
        The search.
    tuning : Tuning
        What it searches.
    stage : Role
        Which network.
    folder : pathlib.Path
        For ``trials.csv``; ``best.toml``, which ``training.train`` takes; ``influence.csv`` by value,
        ``importance.csv`` by hyperparameter, and ``importance.png``, the latter with the epochs and seconds
        that a trial took.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    ConfigError
        If no trial was completed.
    """
    from training.judging.figures.importance import plot_importance  # noqa: PLC0415 - only reports draw

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("trials.csv", "best.toml", "influence.csv", "importance.csv")]
    table = trial_table(study)
    table.to_csv(paths[0], index=False)
    complete = table[table["state"] == TrialState.COMPLETE.name] if len(table) else table
    if not len(complete):
        raise ConfigError(f"no trial of {study.study_name} was completed; {paths[0]} tells why")
    best = study.best_trial
    head = f"# Study {study.study_name}, trial {best.number}: validation figure {best.value:.4f}.\n"
    paths[1].write_text(head + config_text(tuning.config(stage, best.params)), encoding="utf-8")
    if table["figure"].notna().sum() < LEAST_TRIALS:
        return paths[:2]
    influences = influence(table, [*tuning.for_stage(stage), "epochs", "seconds"], tuning.study.seed)
    influences.to_csv(paths[2], index=False)
    summary = by_hyperparameter(influences)
    summary.to_csv(paths[3], index=False)
    labels = [f"{row.hyperparameter} {row.value}".strip() for row in summary.itertuples()]
    picture = folder / "importance.png"
    plot_importance(
        dict(zip(labels, summary["importance"], strict=True)),
        dict(zip(labels, summary["correlation"], strict=True)),
    ).savefig(picture, dpi=120)
    return [*paths, picture]


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
