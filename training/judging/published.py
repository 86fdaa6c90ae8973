"""The outputs that Danilov et al. (2022) published for 1,364 films, read and checked.

The folder ``published`` of the data folder (repository quantori/prj-covid-scoring, MIT licence) holds
``metadata.csv``, ``model_outputs/``, ``threshold_selection/``, ``bsnet.csv`` and ``covid_net.csv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.data.dataset import TEACHER_COLUMNS, DataError

SUBSETS = ("train", "val", "test")
FILM_KEY = ["dataset", "filename"]
QUALITY = ("label", "Poor quality R", "Poor quality D")
ZONE_COLUMNS = tuple(
    f"share_{side}_{level}" for side in ("right", "left") for level in ("upper", "middle", "lower")
)
"""Opacified share of each zone, patient's side, from the apex down."""


@dataclass(frozen=True)
class PublishedSystem:
    """One of the nine published stage-II networks.

    Parameters
    ----------
    name : str
        As the paper's tables spell it.
    prefix : str
        Start of its files' names.
    threshold : float
        T behind its published scores: Table 9's integer over 255, rounded to two decimals. DeepLabV3 finds
        nothing on any film, so every T gives its scores.
    """

    name: str
    prefix: str
    threshold: float


SYSTEMS = (
    PublishedSystem("U-net", "Unet_", 0.30),
    PublishedSystem("U-net++", "Unet++_", 0.33),
    PublishedSystem("DeepLabV3", "DeepLabV3_", 0.29),
    PublishedSystem("DeepLabV3+", "DeepLabV3+_", 0.30),
    PublishedSystem("FPN", "FPN_", 0.26),
    PublishedSystem("Linknet", "Linknet_", 0.15),
    PublishedSystem("PSPNet", "PSPNet_", 0.38),
    PublishedSystem("PAN", "PAN_", 0.40),
    PublishedSystem("MA-Net", "MAnet_", 0.31),
)
BS_NET = "BS-net"
COVID_NET = "COVID-Net-S"
ALL_SYSTEMS = (*(system.name for system in SYSTEMS), BS_NET, COVID_NET)


def read_metadata(folder: Path) -> pd.DataFrame:
    """Read what is known of the 1,364 published films.

    Parameters
    ----------
    folder : pathlib.Path
        The folder ``published``.

    Returns
    -------
    pandas.DataFrame
        ``dataset``, ``filename``, ``subset``, ``label`` (``COVID-19`` or ``Normal``), ``reader_r`` and
        ``reader_d`` (0 to 6, NaN where one did not read), ``poor_quality`` (bool, either reader),
        ``consensus`` (mean of the readers there are, with half points).

    Raises
    ------
    DataError
        If the file is missing or lacks a column.
    """
    table = read_table(folder / "metadata.csv", (*FILM_KEY, "Score R", "Score D", "subset", *QUALITY))
    readers = table[["Score R", "Score D"]].astype(float)
    return table[[*FILM_KEY, "subset", "label"]].assign(
        reader_r=readers["Score R"],
        reader_d=readers["Score D"],
        poor_quality=(table["Poor quality R"] == "Yes") | (table["Poor quality D"] == "Yes"),
        consensus=readers.mean(axis=1),
    )


def scored_films(metadata: pd.DataFrame) -> pd.DataFrame:
    """Leave out films that a reader called poor: 1,320 of 1,364 stay, as in the paper's tables."""
    return metadata[~metadata["poor_quality"]].reset_index(drop=True)


def read_outputs(folder: Path, system: PublishedSystem) -> pd.DataFrame:
    """Read one network's scores and zone shares on the 1,320 films.

    Parameters
    ----------
    folder : pathlib.Path
        The folder ``published``.
    system : PublishedSystem
        Which network.

    Returns
    -------
    pandas.DataFrame
        ``dataset``, ``filename``, ``subset``, ``label``, ``consensus``, ``score``, ``elapsed_s`` and
        ``ZONE_COLUMNS``.

    Raises
    ------
    DataError
        If the file is missing or lacks a column.
    """
    found = sorted((folder / "model_outputs").glob(f"{system.prefix}*.csv"))
    if not found:
        raise DataError(f"{folder / 'model_outputs'} has no table of {system.name} ({system.prefix}*.csv)")
    table = read_table(found[0], ("Dataset", "Filename", "GT", "Our", *TEACHER_COLUMNS))
    names = {
        "Dataset": "dataset",
        "Filename": "filename",
        "Subset": "subset",
        "Label": "label",
        "GT": "consensus",
        "Our": "score",
        "pred_time": "elapsed_s",
        **dict(zip(TEACHER_COLUMNS, ZONE_COLUMNS, strict=True)),
    }
    return table[list(names)].rename(columns=names)


def read_threshold_curve(folder: Path, system: PublishedSystem, subset: str) -> pd.DataFrame:
    """Read a published threshold curve: ``Threshold``, ``MAE``, ``MSE``, ``RMSE``, ``R2``, 101 rows.

    They stem from an earlier run than the published zone shares, so the two do not give the same curve
    (but for DeepLabV3, which is empty in both).

    Raises
    ------
    DataError
        If there is no such file.
    """
    pattern = f"threshold_selection_{subset}_{system.prefix}*.csv"
    found = sorted((folder / "threshold_selection").glob(pattern))
    if not found:
        raise DataError(f"{folder / 'threshold_selection'} has no {pattern}")
    return read_table(found[0], ("Threshold", "MAE", "RMSE"))


def bs_net_scores(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn BS-Net's class probabilities into a 0-6 score: the regions whose likeliest class is not 0.

    Parameters
    ----------
    probabilities : numpy.ndarray
        float64, (films, 3, 2, 4): rows from the apex down, image-left column first, Brixia classes 0 to 3
        (Danilov et al. 2022; the "T score" of Signoroni et al. 2021).

    Returns
    -------
    numpy.ndarray
        int64, (films,), 0 to 6.
    """
    return np.asarray((probabilities.argmax(axis=3) >= 1).sum(axis=(1, 2)), np.int64)


def covid_net_scores(raw: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn a raw output of COVID-Net-S into a 0-6 score: six times it, rounded half to even.

    Parameters
    ----------
    raw : numpy.ndarray
        float64, (films,), in [1/6, 5/6], which are the first and last of the three values that its soft-max
        weighs: so no score of 0 or 6 can come out.

    Returns
    -------
    numpy.ndarray
        int64, (films,), 1 to 5.
    """
    return np.rint(np.asarray(raw, np.float64) * 6).astype(np.int64)


def read_bs_net(folder: Path) -> pd.DataFrame:
    """Read BS-Net on 1,364 films and score it: film key, ``score``, ``published``."""
    columns = [f"raw_score_{r}{c}{k}" for r in range(3) for c in range(2) for k in range(4)]
    table = read_table(folder / "bsnet.csv", (*FILM_KEY, "predicted_score", *columns))
    scores = bs_net_scores(table[columns].to_numpy(np.float64).reshape(-1, 3, 2, 4))
    return table[FILM_KEY].assign(score=scores, published=table["predicted_score"])


def read_covid_net(folder: Path) -> pd.DataFrame:
    """Read COVID-Net-S (extent) on 1,364 films and score it: film key, ``score``, ``published``."""
    table = read_table(folder / "covid_net.csv", (*FILM_KEY, "raw_geo_score", "rounded_geo_score"))
    scores = covid_net_scores(table["raw_geo_score"].to_numpy(np.float64))
    return table[FILM_KEY].assign(score=scores, published=table["rounded_geo_score"])


def read_all_scores(folder: Path) -> pd.DataFrame:
    """Join the scores of all eleven systems by film.

    Parameters
    ----------
    folder : pathlib.Path
        The folder ``published``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``read_metadata`` and one of scores for each of ``ALL_SYSTEMS``; 1,320 films of good
        quality.

    Raises
    ------
    DataError
        If a file is missing or lacks a column.
    """
    joined = scored_films(read_metadata(folder))
    parts = [(system.name, read_outputs(folder, system)) for system in SYSTEMS]
    parts += [(BS_NET, read_bs_net(folder)), (COVID_NET, read_covid_net(folder))]
    for name, part in parts:
        scores = part[[*FILM_KEY, "score"]].rename(columns={"score": name})
        joined = joined.merge(scores, on=FILM_KEY, how="inner", validate="one_to_one")
    return joined


def read_table(path: Path, needed: tuple[str, ...], text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV file and check that it has the columns that are needed; columns of ``text`` stay text.

    Raises
    ------
    DataError
        If the file is missing, is no CSV or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the folder's name") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV table: {error}") from error
    missing = [column for column in needed if column not in table]
    if missing:
        raise DataError(f"{path} lacks the column {', '.join(missing)}")
    return table
