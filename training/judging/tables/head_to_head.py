"""Our systems and the published ones on the same test films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from training.data.dataset import DataError, Film
from training.judging.bootstrap import interval
from training.judging.metrics import ScoreAgreement, score_agreement
from training.judging.published import ALL_SYSTEMS, BS_NET, COVID_NET
from training.judging.tables.writing import ReportTable

FILM_COLUMNS = ("id", "split", "group", "covid", "consensus", "filename", "reader_r", "reader_d")
"""Of ``same_films``, beside the systems' scores."""
CALIBRATED = (BS_NET, COVID_NET)
"""The comparators, whose own scales differ from the 0-6 score."""
MORE_IS_BETTER = ("ρ COVID-19", "κ quadratic", "exact", "within 1")
ALWAYS_4 = "always 4"
READERS = "reader R against reader D"


def same_films(
    films: Sequence[Film], published: pd.DataFrame, ours: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Join the readers' scores, the published systems' and ours by film.

    Parameters
    ----------
    films : sequence of Film
        Of the data folder; those without a readers' score of good quality are left out.
    published : pandas.DataFrame
        From ``training.judging.published.read_all_scores``.
    ours : mapping of str to pandas.DataFrame
        Tables of ``training.judging.film_table`` by name; a film that one of them lacks has NaN there.

    Returns
    -------
    pandas.DataFrame
        ``id``, ``split``, ``group``, ``covid`` (bool: not called normal), ``consensus``, ``reader_r``,
        ``reader_d`` and one column of scores for each system.

    Raises
    ------
    DataError
        If no film is in the published tables.
    """
    rows = [
        {
            "id": film.name,
            "split": film.split,
            "group": film.group,
            "covid": film.finding != "normal",
            "consensus": film.consensus,
            "filename": film.published_name,
        }
        for film in films
        if film.consensus is not None and film.published_name
    ]
    if not rows:
        raise DataError("no film of the data folder has a readers' score and a name in the published tables")
    columns = ["filename", "reader_r", "reader_d", *ALL_SYSTEMS]
    joined = pd.DataFrame(rows).merge(published[columns], on="filename", how="inner", validate="1:1")
    for name, table in ours.items():
        joined = joined.merge(table[["id", "score"]].rename(columns={"score": name}), on="id", how="left")
    return joined


def head_to_head(films: pd.DataFrame, ours: Sequence[str], split: str = "test") -> ReportTable:
    """Compare all systems on the films of one subset.

    Parameters
    ----------
    films : pandas.DataFrame
        From ``same_films``.
    ours : sequence of str
        Our systems' columns.
    split : str
        Subset of the data folder.

    Returns
    -------
    ReportTable
        Least MAE on COVID-19 films first; then the readers among themselves and a constant score. Intervals
        resample patients.
    """
    rows = []
    fitted = {system: f"{system}, calibrated" for system in CALIBRATED}
    films = films.assign(**{name: calibrated(films, system) for system, name in fitted.items()})
    chosen = films[films["split"] == split]
    covid = chosen[chosen["covid"]]
    for system in (*ours, *ALL_SYSTEMS, *fitted.values()):
        every, sick = (part[["group", system, "consensus"]].dropna() for part in (chosen, covid))
        if len(sick) and len(every):
            rows.append(_row(system, every, sick))
    rows.sort(key=lambda row: float(str(row["MAE COVID-19"])))
    rows.append(_covid_only(READERS, covid[["reader_r", "reader_d"]].dropna().to_numpy(np.float64)))
    constant = np.column_stack([np.full(len(covid), 4.0), covid["consensus"]])
    rows.append(_covid_only(ALWAYS_4, constant))
    note = (
        f"{len(chosen)} {split} films of good quality with a readers' score, {len(covid)} not normal. "
        "Most of these films were in the published systems' own training set, which favours them. "
        "A film without a score is left out of its system's figures; n says how many are left. "
        "Calibrated: a line fitted to the readers' scores of the training films, cut at 0 and 6."
    )
    table = pd.DataFrame(rows)
    return ReportTable(f"head_to_head_{split}", f"Same {split} films", table, note, MORE_IS_BETTER, True)


def calibrated(films: pd.DataFrame, system: str) -> pd.Series:
    """Fit a line from a system's scores to the readers' on the training films, and apply it to all films.

    Parameters
    ----------
    films : pandas.DataFrame
        From ``same_films``.
    system : str
        Column of scores.

    Returns
    -------
    pandas.Series
        Float, in [0, 6]; NaN where the system's scores on the training films do not differ.
    """
    known = films.loc[films["split"] == "train", [system, "consensus"]].dropna()
    if known[system].nunique() < 2:
        return pd.Series(np.nan, index=films.index)
    slope, shift = np.polyfit(known[system].to_numpy(float), known["consensus"].to_numpy(float), 1)
    scores = np.clip(slope * films[system].to_numpy(float) + shift, 0, 6)
    return pd.Series(scores, index=films.index)


def _row(system: str, every: pd.DataFrame, sick: pd.DataFrame) -> dict[str, object]:
    found = score_agreement(sick[system], sick["consensus"])
    whole = score_agreement(every[system], every["consensus"])
    errors = (sick[system] - sick["consensus"]).abs().to_numpy(np.float64)
    low, high = interval(lambda drawn: float(errors[drawn].mean()), sick["group"].tolist())
    return {
        "system": system,
        "n all": whole.n,
        "MAE all": whole.mae,
        "n COVID-19": found.n,
        "MAE COVID-19": found.mae,
        "95 % interval": f"{low:.3f} to {high:.3f}",
        **_more(found),
    }


def _covid_only(name: str, pairs: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dict[str, object]:
    if not len(pairs):
        return {"system": name}
    found = score_agreement(pairs[:, 0], pairs[:, 1])
    return {"system": name, "n COVID-19": found.n, "MAE COVID-19": found.mae, **_more(found)}


def _more(found: ScoreAgreement) -> dict[str, float]:
    return {
        "RMSE COVID-19": found.rmse,
        "ρ COVID-19": found.rho,
        "κ quadratic": found.kappa_quadratic,
        "exact": found.exact,
        "within 1": found.within_one,
    }
