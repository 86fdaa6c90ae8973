"""The one table between sources and training: ``manifest.csv``, written and read back as film records."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from training.data.film_record import FilmRecord, PrepareError, Problem, ReaderScores, Reading
from training.data.pictures import GreyFile, MaskFile, Picture

BRIXIA_COLUMNS = tuple(f"brixia_{reader}_{zone}" for reader in "SJ" for zone in (*"ABCDEF", "global"))
COLUMNS = (
    *("id", "file", "mask_file", "mask_source", "mask_alt_file", "mask_alt_source", "disease_mask_file"),
    *("consolidation_mask_file", "disease_mask_source", "opacity_boxes", "source_dataset", "source_repo"),
    *("original_filename", "patient_id", "patient_group", "view", "sex", "age", "finding", "finding_group"),
    *("finding_source", *BRIXIA_COLUMNS, "GE", "LO", "split", "licence", "licence_class"),
    *("annotation_licence", "doi_or_url", "quality_flags", "width", "height", "orig_width", "orig_height"),
    *("sha256", "reader_R", "reader_D", "reader_consensus", "reader_poor_quality"),
    *("reader_published_subset", "reader_published_filename"),
)
"""In this order; ``ignore_mask_file``, ``fold`` and a source's own columns follow where films have them."""

REQUIRED = ("id", "file", "patient_group", "finding_group", "split")
YES, NO = "yes", "no"

_OF_THE_RECORD = {
    *("id", "file", "mask_file", "mask_alt_file", "disease_mask_file", "consolidation_mask_file"),
    *(
        "ignore_mask_file",
        "opacity_boxes",
        "source_dataset",
        "original_filename",
        "patient_group",
        "view",
        "sex",
    ),
    *("age", "finding", "finding_group", "split", "licence", "licence_class", "annotation_licence"),
    *("quality_flags", "reader_R", "reader_D", "reader_consensus", "reader_poor_quality"),
}


def manifest_row(record: FilmRecord, files: Mapping[str, str]) -> dict[str, str]:
    """Return a film's row.

    Parameters
    ----------
    record : FilmRecord
        The film.
    files : Mapping of str to str
        Value of every column that is known only once the pictures are written: ``file``, the masks' columns,
        sizes, ``sha256``.

    Returns
    -------
    dict of str to str
        With every column of ``COLUMNS``; ``""`` where nothing is known.
    """
    scores = record.readers
    flagged = "" if scores.poor_quality is None else (YES if scores.poor_quality else NO)
    return {
        **dict.fromkeys(COLUMNS, ""),
        **record.further,
        "id": record.name,
        "opacity_boxes": ";".join(",".join(f"{edge:g}" for edge in box) for box in record.boxes),
        "source_dataset": record.source_dataset,
        "original_filename": record.original_filename,
        "patient_group": record.patient_group,
        "view": record.view,
        "sex": record.sex,
        "age": _number(record.age),
        "finding": record.finding,
        "finding_group": record.finding_group,
        "split": record.split,
        "licence": record.licence,
        "licence_class": record.licence_class,
        "annotation_licence": record.annotation_licence,
        "quality_flags": ";".join(record.tags),
        "reader_R": _number(scores.r),
        "reader_D": _number(scores.d),
        "reader_consensus": _number(scores.consensus),
        "reader_poor_quality": flagged,
        **files,
    }


def write_rows(rows: Iterable[Mapping[str, str]], path: Path) -> None:
    """Write the table; columns beyond ``COLUMNS`` come last, in the order in which they first occur."""
    rows = list(rows)
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table of comma-separated values with a header.

    Raises
    ------
    PrepareError
        If it is missing, is no UTF-8 text, has no header, or a row has more fields than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PrepareError(f"cannot read the table {path}: {error}") from error
    if not rows:
        raise PrepareError(f"{path} holds no row; it needs a header and one row a film")
    for number, row in enumerate(rows, 2):
        if None in row:
            raise PrepareError(f"{path}, line {number}: more fields than the header has; quote commas")
    return [{name: (value or "").strip() for name, value in row.items()} for row in rows]


def read_data_folder(folder: Path) -> Reading:
    """Read an existing data folder as film records; nothing is decoded yet.

    Parameters
    ----------
    folder : pathlib.Path
        It holds ``manifest.csv``.

    Returns
    -------
    Reading
        Rows with values that cannot be understood are among the problems and not among the records.

    Raises
    ------
    PrepareError
        If there is no table, or it lacks a column of ``REQUIRED``.
    """
    path = folder / "manifest.csv"
    if not path.is_file():
        raise PrepareError(f"no manifest.csv in {folder}; name the data folder with --data or CXR_DATASET")
    rows = read_rows(path)
    missing = [column for column in REQUIRED if column not in rows[0]]
    if missing:
        raise PrepareError(
            f"{path} lacks the column {', '.join(missing)}; see training/README.md for its form"
        )
    records, problems = [], []
    for row in rows:
        try:
            records.append(_record(row, folder))
        except ValueError as error:
            problems.append(Problem(row["id"], "value that cannot be understood", f"{row['id']}: {error}"))
    return Reading(tuple(records), tuple(problems))


def _record(row: dict[str, str], folder: Path) -> FilmRecord:
    def mask(column: str) -> Picture | None:
        return MaskFile(folder / row[column]) if row.get(column) else None

    return FilmRecord(
        name=row["id"],
        source_dataset=row.get("source_dataset", ""),
        patient_group=row["patient_group"],
        image=GreyFile(folder / row["file"]),
        lung_mask=mask("mask_file"),
        second_lung_mask=mask("mask_alt_file"),
        opacity_mask=mask("disease_mask_file"),
        consolidation_mask=mask("consolidation_mask_file"),
        ignore_mask=mask("ignore_mask_file"),
        split=row["split"],
        view=row.get("view", ""),
        sex=row.get("sex", ""),
        age=read_age(row.get("age", "")),
        finding=row.get("finding", ""),
        finding_group=row["finding_group"],
        readers=reader_scores(row),
        boxes=_boxes(row.get("opacity_boxes", "")),
        tags=tuple(filter(None, row.get("quality_flags", "").split(";"))),
        licence=row.get("licence", ""),
        licence_class=row.get("licence_class", "") or "unstated",
        annotation_licence=row.get("annotation_licence", ""),
        original_filename=row.get("original_filename", ""),
        further={name: value for name, value in row.items() if name not in _OF_THE_RECORD},
    )


def reader_scores(row: Mapping[str, str]) -> ReaderScores:
    """Return the readers' scores of a row of the manifest.

    Raises
    ------
    ValueError
        If a score is no number, or the quality is neither yes, no nor empty.
    """
    flagged = row.get("reader_poor_quality", "").casefold()
    if flagged not in ("", YES, NO):
        raise ValueError(f"reader_poor_quality is {flagged!r}; write yes, no or nothing")
    return ReaderScores(
        read_number(row.get("reader_R", ""), "reader_R"),
        read_number(row.get("reader_D", ""), "reader_D"),
        None if not flagged else flagged == YES,
        read_number(row.get("reader_consensus", ""), "reader_consensus"),
    )


def read_number(text: str, name: str) -> float | None:
    """Return a number; None for empty text.

    Raises
    ------
    ValueError
        If the text is something else; the message holds ``name``.
    """
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is no number") from None


def read_age(text: str) -> float | None:
    """Return an age in years; None for empty text.

    A bound such as ``67+`` counts as the number, a decade such as ``mid 50s`` as its middle.

    Raises
    ------
    ValueError
        If the text is no age.
    """
    vague = re.fullmatch(r"(?:(?:early|mid|late) )?(\d+)(\+|s)", text)
    if vague:
        return float(vague[1]) + (5 if vague[2] == "s" else 0)
    return read_number(text, "age")


def _boxes(text: str) -> tuple[tuple[float, float, float, float], ...]:
    boxes = []
    for part in filter(None, text.split(";")):
        edges = part.split(",")
        if len(edges) != 4:
            raise ValueError(f"opacity_boxes holds {part!r}; a box is left,top,right,bottom")
        left, top, right, bottom = (float(edge) for edge in edges)
        boxes.append((left, top, right, bottom))
    return tuple(boxes)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
