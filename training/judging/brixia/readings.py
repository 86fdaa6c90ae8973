"""Brixia readings of any of the three published forms, as one table, one row a film.

Forms: ``manifest.csv`` of a data folder (``brixia_S_A`` ...); the public subset's CSV (``filename, S-A`` ...
``J-Global``, UTF-8 with a byte-order mark); the full set's metadata (``BrixiaScore`` as six digits of text)
with its consensus table (``ModeA`` ...). Sources: Signoroni et al. 2021, section 4, and the project's pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.data.dataset import DataError
from training.judging.brixia.score import GLOBAL_MAX, REGIONS, parse_regions

FILM_TEXT = ("id", "patient_group", "split", "sex", "finding")
FILES = ("file", "lung_mask")
FILM_NUMBERS = ("GE", "LO", "readers_0_6")
CONSENSUS = "consensus"
"""Reader's name of a consensus that comes with the data."""
FIRST_READER = "R0"
"""Reader's name of the full set's one clinical reading."""
SEED, TEST_SHARE = 23, 0.25
"""Of the public subset's split, where the data name none (Signoroni et al. 2021, section 4.4)."""


def read_readings(path: Path) -> pd.DataFrame:
    """Read Brixia readings.

    Parameters
    ----------
    path : pathlib.Path
        A folder with ``manifest.csv``, or with one CSV file of the public subset or of the full set (and its
        consensus table beside it); or such a file.

    Returns
    -------
    pandas.DataFrame
        ``FILM_TEXT`` (empty where unknown; without patients each film is a group of its own), ``FILES``
        (paths of the image and of a drawn lung mask, empty where there is none), ``FILM_NUMBERS`` (NaN where
        unknown), and ``S-A`` to ``S-F`` for every reader S, the most senior first. Films that nobody read
        are left out.

    Raises
    ------
    DataError
        If there is no such table, or a score in it is impossible.
    """
    for file in _candidates(path):
        table = _read_text(file)
        if "brixia_S_A" in table:
            return _checked(_manifest(table, file.parent), file)
        if "S-A" in table:
            return _checked(_public(table, file.parent), file)
        if "BrixiaScore" in table:
            return _checked(_full(table, file), file)
    raise DataError(
        f"no Brixia readings in {path}; it needs a manifest.csv with brixia_S_A ..., a CSV with S-A ... S-F, "
        "or the full set's table with BrixiaScore"
    )


def reader_columns(reader: str) -> list[str]:
    """Return the six columns of a reader, ``S-A`` to ``S-F``."""
    return [f"{reader}-{region}" for region in REGIONS]


def readers(table: pd.DataFrame) -> list[str]:
    """Return the readers of a table in its order, the most senior first; a consensus that came along last."""
    names = [str(name)[:-2] for name in table.columns if re.fullmatch(r"\w+-A", str(name))]
    return sorted(names, key=lambda name: name == CONSENSUS)


def scores_of(table: pd.DataFrame, reader: str) -> NDArray[np.float64]:
    """Return a reader's scores, float64 (films, 6), NaN where there is none.

    Raises
    ------
    DataError
        If the table has no such reader.
    """
    missing = [name for name in reader_columns(reader) if name not in table]
    if missing:
        known = ", ".join(readers(table)) or "none"
        raise DataError(f"there is no reader {reader} in the table; its readers are: {known}")
    return table[reader_columns(reader)].to_numpy(np.float64)


def public_split(names: Sequence[str], seed: int = SEED, test_share: float = TEST_SHARE) -> list[str]:
    """Divide films without patients into train and test, 75 to 25, the same for the same names.

    The paper's own draw is not published; this one depends on the sorted names and the seed alone.
    """
    order = np.random.default_rng(seed).permutation(sorted(names))
    test = set(order[: round(test_share * len(names))].tolist())
    return ["test" if name in test else "train" for name in names]


def _candidates(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"there is no folder or file {path}; name the data with --data or CXR_DATASET")
    manifest = path / "manifest.csv"
    return [manifest] if manifest.is_file() else sorted(path.glob("*.csv"))


def _read_text(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is no CSV table: {error}") from error


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return pd.Series(table.get(name, ""), index=table.index)


def _number(table: pd.DataFrame, name: str) -> pd.Series:
    return pd.to_numeric(_column(table, name), errors="coerce")


def _manifest(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    good = _column(table, "reader_poor_quality") != "yes"
    films = pd.DataFrame(
        {
            "id": table["id"],
            "patient_group": _column(table, "patient_group"),
            "split": _column(table, "split"),
            "sex": _column(table, "sex"),
            "finding": _column(table, "finding_group"),
            "file": [str(folder / name) for name in _column(table, "file")],
            "lung_mask": [str(folder / name) if name else "" for name in _column(table, "mask_file")],
            "GE": _number(table, "GE"),
            "LO": _number(table, "LO"),
            "readers_0_6": _number(table, "reader_consensus").where(good),
        }
    )
    found = (re.fullmatch(r"brixia_(\w+)_A", str(name)) for name in table.columns)
    names = [match[1] for match in found if match]
    scores = {
        f"{name}-{region}": _number(table, f"brixia_{name}_{region}") for name in names for region in REGIONS
    }
    return films.assign(**scores)


def _public(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    names = table["filename"]
    split = _column(table, "split")
    films = _films(names, folder).assign(split=split if split.any() else public_split(names.tolist()))
    for reader in readers(table):
        scores = pd.DataFrame({name: _number(table, name) for name in reader_columns(reader)})
        stated = _number(table, f"{reader}-Global")
        wrong = names[stated.notna() & (scores.sum(axis=1) != stated)]
        if len(wrong):
            raise DataError(
                f"{reader}-Global of {wrong.iloc[0]} is not the sum of its regions; correct the table"
            )
        films = films.join(scores)
    return films


def _full(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    consensus = _consensus(path)
    tested = _column(table, "ConsensusTestset").isin(("1", "1.0", "True"))
    split = _column(table, "split")
    films = _films(table["filename"], path.parent).assign(
        patient_group=_column(table, "Subject"),
        sex=_column(table, "Sex"),
        split=split.where((split != "") | ~tested, "test"),
    )
    try:
        scores = np.array([parse_regions(text) for text in table["BrixiaScore"]], np.float64)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    films = films.assign(**dict(zip(reader_columns(FIRST_READER), scores.T, strict=True)))
    if consensus is None:
        return films
    columns = {name: films["id"].map(consensus[name]) for name in reader_columns(CONSENSUS)}
    return films.assign(**columns)


def _consensus(path: Path) -> pd.DataFrame | None:
    for file in sorted(path.parent.glob("*.csv")):
        table = _read_text(file) if file != path else pd.DataFrame()
        if "ModeA" in table:
            modes = {f"{CONSENSUS}-{region}": _number(table, f"Mode{region}") for region in REGIONS}
            return pd.DataFrame(modes).set_index(pd.Index(table["filename"]))
    return None


def _films(names: pd.Series, folder: Path) -> pd.DataFrame:
    empty = pd.Series("", index=names.index)
    return pd.DataFrame(
        {
            "id": names,
            "patient_group": names,
            "split": empty,
            "sex": empty,
            "finding": empty,
            "file": [_image(folder, name) for name in names],
            "lung_mask": empty,
            **{name: pd.Series(np.nan, index=names.index) for name in FILM_NUMBERS},
        }
    )


def _image(folder: Path, name: str) -> str:
    found = (path for path in (folder / name, *folder.glob(f"*/{name}")) if path.is_file())
    return str(next(found, folder / name))


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    columns = [name for reader in readers(table) for name in reader_columns(reader)]
    scores = table[columns].to_numpy(np.float64)
    whole = np.isnan(scores) | (np.isin(scores, range(4)))
    if not whole.all():
        row = int(np.argmin(whole.all(axis=1)))
        raise DataError(f"{path}: a region of {table['id'].iloc[row]} is scored other than 0, 1, 2 or 3")
    kept: pd.DataFrame = table.loc[~np.isnan(scores).all(axis=1)].reset_index(drop=True)
    if kept.empty:
        raise DataError(f"{path} has no film with a Brixia score (0 to {GLOBAL_MAX})")
    patient = kept["patient_group"]
    return kept.assign(patient_group=patient.where(patient != "", kept["id"]))
