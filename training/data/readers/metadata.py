"""What a table beside the pictures says of them: patients, views, ages, scores, licences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.data.film_record import FilmRecord, PrepareError, Problem, ReaderScores, Reading
from training.data.manifest import COLUMNS, read_age, read_number, read_rows

NAMES = ("filename", "file", "original_filename", "sop_instance_uid", "id")
"""Columns that may name the film; the first that the table has is taken."""

ALIASES = {
    "score_r": "reader_r",
    "score_d": "reader_d",
    "subset": "split",
    "label": "finding",
    "patient": "patient_group",
    "patient_id": "patient_group",
    "tags": "quality_flags",
}
"""Other spellings, the published metadata's among them (Danilov et al. 2022)."""

YES, NO = frozenset({"yes", "true", "1", "y"}), frozenset({"no", "false", "0", "n", ""})
BAD_ANNOTATION = "annotation that cannot be understood"
NO_PATIENTS = "patients are not named: each film counts as a patient of its own (see --metadata)"
"""A fault and a note that readers of several kinds of source have."""

INACCURATE = "inaccurate_labelling"
"""Tag and flag for an outline that its reader called inexact; kept, and no reason to leave a film out."""

_TEXTS = {
    "view": "view",
    "finding": "finding",
    "split": "split",
    "licence": "licence",
    "licence_class": "licence_class",
    "annotation_licence": "annotation_licence",
    "source_dataset": "source_dataset",
}
_USED = {
    *_TEXTS,
    *NAMES,
    *(
        "dataset",
        "patient_group",
        "sex",
        "age",
        "finding_group",
        "quality_flags",
        "reader_r",
        "reader_d",
        "reader_consensus",
    ),
    *("poor_quality_r", "poor_quality_d", "reader_poor_quality", INACCURATE, "normal", "ann_found"),
}
_CARRIED = {column.lower(): column for column in (*COLUMNS, "country")}


@dataclass(frozen=True)
class MetadataTable:
    """Rows by file name, and by data set and file name.

    Parameters
    ----------
    path : pathlib.Path
        The table.
    rows : Mapping
        Row by (data set, name); the data set is ``""`` where the table has no such column. Column names are
        in lower case with ``_``.
    unused : tuple of str
        Columns that mean nothing here.
    """

    path: Path
    rows: Mapping[tuple[str, str], dict[str, str]]
    unused: tuple[str, ...]

    def row(self, dataset: str, *names: str) -> dict[str, str] | None:
        """Return a film's row by any of its names, its data set's own row first; None if there is none."""
        for folder in (dataset, ""):
            for name in names:
                if (folder, name) in self.rows:
                    return self.rows[folder, name]
        return None


def read_metadata(path: Path) -> MetadataTable:
    """Read a table with one row a film.

    Parameters
    ----------
    path : pathlib.Path
        Comma-separated values with a header; case and blanks in column names do not matter.

    Returns
    -------
    MetadataTable

    Raises
    ------
    PrepareError
        If it cannot be read, names no films, or names one twice.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    column = ""
    for raw in read_rows(path):
        row = {_plain(name): value for name, value in raw.items()}
        column = column or next((name for name in NAMES if name in row), "")
        if not column:
            raise PrepareError(f"{path} has no column that names the films; add one called filename")
        key = (row.get("dataset", ""), row[column])
        if key in rows:
            raise PrepareError(f"{path} has two rows for {' '.join(key).strip()}; remove one")
        rows[key] = row
    unused = [name for name in next(iter(rows.values())) if name not in _USED and name not in _CARRIED]
    return MetadataTable(path, rows, tuple(unused))


def with_metadata(
    reading: Reading, table: MetadataTable | None, names: Callable[[FilmRecord], tuple[str, ...]]
) -> Reading:
    """Fill film records from a table; what the table says wins over what the source says.

    Parameters
    ----------
    reading : Reading
        The films.
    table : MetadataTable or None
        The table; None changes nothing.
    names : callable
        The names under which a film may stand in the table.

    Returns
    -------
    Reading
        A film without a row, and a row with values that cannot be understood, are among the problems.
    """
    if table is None:
        return reading
    records, problems = [], list(reading.problems)
    for record in reading.records:
        row = table.row(record.source_dataset, *names(record))
        if row is None:
            message = f"{record.original_filename or record.name} has no row in {table.path}; add one"
            problems.append(Problem(record.name, "no row in the metadata", message))
            records.append(record)
            continue
        try:
            records.append(described(record, row))
        except ValueError as error:
            problems.append(
                Problem(record.name, "value that cannot be understood", f"{record.name}: {error}")
            )
    notes = reading.notes
    if table.unused:
        notes += (f"columns of {table.path.name} that mean nothing here: {', '.join(table.unused)}",)
    return replace(reading, records=tuple(records), problems=tuple(problems), notes=notes)


def described(record: FilmRecord, row: Mapping[str, str]) -> FilmRecord:
    """Return a record filled from a row whose column names are plain.

    A patient's number is the data set's own: it comes after the source's name in the group, so that patient 7
    of one data set and patient 7 of another stay two.

    Raises
    ------
    ValueError
        If a value cannot be understood.
    """
    changes: dict[str, Any] = {field: row[column] for column, field in _TEXTS.items() if row.get(column)}
    if row.get("patient_group"):
        changes["patient_group"] = f"{record.source}-{row['patient_group']}"
    if row.get("sex"):
        changes["sex"] = row["sex"][:1].upper()
    if row.get("age"):
        changes["age"] = read_age(row["age"])
    group = finding_group(row)
    if group:
        changes["finding_group"] = group
    tags = [*record.tags, *filter(None, row.get("quality_flags", "").split(";"))]
    if truth(row.get(INACCURATE, ""), INACCURATE):
        tags.append(INACCURATE)
    further = {_CARRIED[name]: text for name, text in row.items() if _is_carried(name) and text}
    return replace(
        record,
        **changes,
        tags=tuple(dict.fromkeys(tags)),
        readers=_readers(record.readers, row),
        further={**record.further, **further},
    )


def finding_group(row: Mapping[str, str]) -> str:
    """Return the finding group that a row states, ``""`` if none."""
    if row.get("finding_group"):
        return row["finding_group"]
    if truth(row.get("normal", ""), "normal"):
        return "normal"
    return group_of_finding(row.get("finding", ""))


def group_of_finding(finding: str) -> str:
    """Return the finding group of a finding in words, ``""`` where it is not plain.

    >>> group_of_finding("COVID-19"), group_of_finding("No Finding"), group_of_finding("Bacterial Pneumonia")
    ('covid', 'normal', 'pneumonia')
    """
    words = finding.casefold()
    if "covid" in words or "sars-cov" in words:
        return "covid"
    if words.startswith(("normal", "no finding", "no pneumonia", "healthy")):
        return "normal"
    return "pneumonia" if "pneumonia" in words else ""


def truth(text: str, name: str) -> bool:
    """Return what yes, no, true, false, 1, 0 or nothing means.

    Raises
    ------
    ValueError
        If the text is something else.
    """
    if text.casefold() in YES:
        return True
    if text.casefold() in NO:
        return False
    raise ValueError(f"{name} is {text!r}; write yes or no")


def _readers(known: ReaderScores, row: Mapping[str, str]) -> ReaderScores:
    flags = [
        column for column in ("poor_quality_r", "poor_quality_d", "reader_poor_quality") if row.get(column)
    ]
    poor = any(truth(row[column], column) for column in flags) if flags else known.poor_quality
    r, d = read_number(row.get("reader_r", ""), "score R"), read_number(row.get("reader_d", ""), "score D")
    stated = read_number(row.get("reader_consensus", ""), "consensus")
    return ReaderScores(
        known.r if r is None else r,
        known.d if d is None else d,
        poor,
        known.stated if stated is None else stated,
    )


def _is_carried(name: str) -> bool:
    return name in _CARRIED and name not in _USED


def _plain(name: str) -> str:
    plain = "_".join(name.strip().lower().replace("-", " ").split())
    return ALIASES.get(plain, plain)
