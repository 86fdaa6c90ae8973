"""Describe a data folder: tables as CSV and Markdown, pictures as PNG."""

from __future__ import annotations

from pathlib import Path

from training.data.film_record import PrepareError, Reading
from training.data.pictures import PictureError
from training.judging.data_pictures import example_pictures, plot_pictures, plot_scores, reader_pictures
from training.judging.data_tables import data_tables, scored_films
from training.judging.figures.saving import save


def describe(reading: Reading, out: Path, any_licence: bool = False) -> list[Path]:
    """Write what a data folder holds.

    Parameters
    ----------
    reading : Reading
        From ``training.data.manifest.read_data_folder``.
    out : pathlib.Path
        Folder for the files, made where it does not exist.
    any_licence : bool
        Also show films whose licence is not open; such pictures must not be published.

    Returns
    -------
    list of pathlib.Path
        What was written: ``data.md`` with all tables, each table as CSV and Markdown, and, where films have
        them and may be shown, ``examples.png``, ``readers.png`` and ``scores.png``.

    Raises
    ------
    PrepareError
        If the folder holds no films, rows that cannot be understood, or pictures that cannot be read.
    """
    if reading.problems:
        raise PrepareError(f"{reading.problems[0].message}; run `python -m training.prepare check` first")
    records = reading.records
    if not records:
        raise PrepareError("there are no films to describe")
    out.mkdir(parents=True, exist_ok=True)
    tables = data_tables(records)
    paths = [path for table in tables for path in table.write(out)]
    try:
        pictures = {
            "examples": example_pictures(records, any_licence),
            "readers": reader_pictures(records, any_licence),
        }
    except PictureError as error:
        raise PrepareError(error.message) from error
    for name, drawn in pictures.items():
        if drawn:
            paths.append(save(plot_pictures(drawn), out / f"{name}.png"))
    if scored_films(records):
        paths.append(save(plot_scores(records), out / "scores.png"))
    whole = out / "data.md"
    shown = [f"![{path.stem}]({path.name})\n" for path in paths if path.suffix == ".png"]
    whole.write_text("\n".join(["# Data", *(table.markdown() for table in tables), *shown]), encoding="utf-8")
    return [whole, *paths]
