"""Turn annotated films of any source into a data folder, check it, describe it.

    python -m training.prepare folders SOURCE --out data/mine --split patient
    python -m training.prepare check --data data/mine
    python -m training.prepare describe --data data/mine --out reports/mine

Sources: ``manifest`` (another data folder), ``supervisely``, ``darwin``, ``folders``, ``dicom``. What is
wrong with a source is shown all at once, and nothing is written; ``--skip-bad`` leaves the films at fault out
and lists them in left_out.csv.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from training.data.film_checks import summary
from training.data.film_record import SUBSETS, FilmRecord, PrepareError, Reading
from training.data.manifest import read_data_folder
from training.data.preparation import LEFT_OUT, Preparation, Prepared, arrange, prepare, strata
from training.data.prepare_options import command_line
from training.data.readers.darwin import DarwinOptions, read_darwin
from training.data.readers.folders import FolderOptions, read_folders
from training.data.readers.metadata import read_metadata, with_metadata
from training.data.readers.supervisely import SuperviselyOptions, read_supervisely
from training.data.split import PUBLISHED_SEED, tuning_images, tuning_patients

console = Console()


def read_source(options: argparse.Namespace) -> Reading:
    """Read the source that the command line names, filled from ``--metadata`` and narrowed by ``--only-…``.

    Raises
    ------
    PrepareError
        If it cannot be read.
    """
    reading = SOURCES[options.command](options)
    table = read_metadata(options.metadata) if options.metadata else None
    reading = with_metadata(reading, table, _names_in_tables)
    chosen = {
        "split": options.only_split,
        "source": options.only_source,
        "licence_class": options.only_licence_class,
        "finding_group": options.only_finding,
    }
    return narrowed(reading, {name: values for name, values in chosen.items() if values})


def narrowed(reading: Reading, chosen: dict[str, Sequence[str]]) -> Reading:
    """Return the films whose attributes have one of the values asked for, and count the others."""
    records = reading.records
    left_out = dict(reading.left_out)
    for name, values in chosen.items():
        kept = tuple(record for record in records if getattr(record, name) in values)
        if len(kept) < len(records):
            left_out[f"{name} is not {' or '.join(values)}"] = len(records) - len(kept)
        records = kept
    return replace(reading, records=records, left_out=left_out)


def joined(readings: Sequence[Reading]) -> Reading:
    """Return several sources as one; patient groups of the same name are one patient."""
    return Reading(
        tuple(record for reading in readings for record in reading.records),
        tuple(problem for reading in readings for problem in reading.problems),
        sum((Counter(reading.left_out) for reading in readings), Counter()),
        tuple(dict.fromkeys(note for reading in readings for note in reading.notes)),
    )


def tuning_sample(reading: Reading, fraction: float, seed: int, by_image: bool) -> Reading:
    """Return a share of the films outside the test set, for a search over hyperparameters."""
    records = [record for record in reading.records if record.split != "test"]
    if by_image:
        chosen = tuning_images(len(records), fraction, seed)
    else:
        groups = [record.patient_group for record in records]
        chosen = tuning_patients(groups, strata(records), fraction, seed)
    left_out = Counter(
        {"test film": len(reading.records) - len(records), "not drawn": len(records) - len(chosen)}
    )
    return replace(reading, records=tuple(records[index] for index in chosen), left_out=+left_out)


def _names_in_tables(record: FilmRecord) -> tuple[str, ...]:
    stem = Path(record.original_filename).stem
    where = Path(record.image.where)
    return tuple(filter(None, (record.original_filename, stem, record.name, where.name, where.stem)))


def _manifest(options: argparse.Namespace) -> Reading:
    return joined([read_data_folder(folder) for folder in options.source])


def _supervisely(options: argparse.Namespace) -> Reading:
    classes = SuperviselyOptions(options.lung_class, options.opacity_class, options.clean_up)
    return read_supervisely(options.source, classes)


def _darwin(options: argparse.Namespace) -> Reading:
    return read_darwin(
        DarwinOptions(
            options.images or options.source,
            options.annotations,
            options.name,
            options.lung_class,
            options.ignore_class,
            options.keep_ignored,
        )
    )


def _folders(options: argparse.Namespace) -> Reading:
    return read_folders(options.source, FolderOptions(options.masks_show, options.name))


def _dicom(options: argparse.Namespace) -> Reading:
    from training.data.readers.dicom_folder import DicomOptions, read_dicom_folder  # noqa: PLC0415

    salt = _salt(options.salt_file) if options.salt_file else secrets.token_hex(32)
    masks = (options.lung_masks, options.opacity_masks)
    return read_dicom_folder(options.source, DicomOptions(salt, options.name, *masks))


SOURCES: dict[str, Callable[[argparse.Namespace], Reading]] = {
    "manifest": _manifest,
    "supervisely": _supervisely,
    "darwin": _darwin,
    "folders": _folders,
    "dicom": _dicom,
}


def _salt(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _settings(options: argparse.Namespace) -> Preparation:
    return Preparation(
        split=options.split,
        ratios=tuple(options.ratio),
        seed=PUBLISHED_SEED if options.seed is None and options.split == "image" else options.seed or 1,
        folds=options.folds,
        near_bits=options.near_bits,
        require=tuple(options.require),
        longest_side=options.longest_side,
        jpeg_quality=options.jpeg,
        skip_bad=options.skip_bad,
    )


def _convert(options: argparse.Namespace) -> None:
    reading = read_source(options)
    if options.split == "image":
        _say(
            "split by image, as was published: one patient may be in several subsets, so figures on the test "
            "films will be too good"
        )
    folders = options.source if options.command == "manifest" else []
    _write(reading, options.out, _settings(options), folders)


def _write(reading: Reading, out: Path, settings: Preparation, folders: Sequence[Path]) -> None:
    _report(reading, prepare(reading, out, settings, console.is_terminal), out)
    for folder in folders:
        if (folder / "published").is_dir():
            # The table's column reader_published_filename is the key into these.
            shutil.copytree(folder / "published", out / "published", dirs_exist_ok=True)
            _say(f"{folder / 'published'} was copied too: outputs of other systems on these films")


def _check(options: argparse.Namespace) -> None:
    reading = read_data_folder(options.data)
    settings = Preparation(near_bits=options.near_bits, require=tuple(options.require))
    found = arrange(reading, settings, console.is_terminal)
    if found.problems:
        lines = [f"{len(found.problems)} problem(s) in {options.data}", *summary(found.problems)]
        raise PrepareError(
            "\n".join([*lines, "correct them, or copy the folder without these films: manifest"])
        )
    _say(f"{len(found.records)} films, nothing wrong; {found.joined} pair(s) of copies")


def _describe(options: argparse.Namespace) -> None:
    from training.judging.describe import describe  # noqa: PLC0415

    paths = describe(read_data_folder(options.data), options.out, options.any_licence)
    for path in paths:
        _say(f"wrote {path}")
    if not options.any_licence:
        _say("pictures show films under an open licence only; --any-licence shows all")


def _tune(options: argparse.Namespace) -> None:
    reading = tuning_sample(
        read_data_folder(options.data), options.fraction, options.seed, by_image=options.by_image
    )
    settings = Preparation(split="patient", ratios=(0.8, 0.2, 0.0), seed=options.seed)
    _write(reading, options.out, settings, [options.data])


def _layout(options: argparse.Namespace) -> None:
    from training.data.legacy_layout import write_layout  # noqa: PLC0415

    reading = read_data_folder(options.data)
    counts = write_layout(reading.records, options.out, options.crop, options.weights)
    for reason, count in counts.items():
        _say(f"{count} {reason}")


def _export(options: argparse.Namespace) -> None:
    from training.data.supervisely_export import write_supervisely  # noqa: PLC0415

    classes = SuperviselyOptions(options.lung_class, options.opacity_class)
    write_supervisely(read_data_folder(options.data).records, options.out, classes)
    _say(f"wrote {options.out}")


def _report(reading: Reading, prepared: Prepared, out: Path) -> None:
    table = Table("source", *SUBSETS, "all", title=f"{len(prepared.records)} films in {out}")
    for source in sorted({record.source for record in prepared.records}):
        counts = [
            sum(record.source == source and record.split == subset for record in prepared.records)
            for subset in SUBSETS
        ]
        table.add_row(source, *map(str, counts), str(sum(counts)))
    console.print(table)
    groups = len({record.patient_group for record in prepared.records})
    _say(f"{groups} patient groups; {prepared.joined} pair(s) of films joined as copies")
    for reason, count in reading.left_out.items():
        _say(f"left out on purpose: {count} ({reason})")
    for note in reading.notes:
        _say(f"note: {note}")
    if prepared.problems:
        _say(f"left out as faulty, see {out / LEFT_OUT}:")
        for line in summary(prepared.problems):
            _say(line)


def _say(line: str) -> None:
    # File names may hold square brackets, which rich would take for markup.
    console.print(line, markup=False, highlight=False, soft_wrap=True)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    **dict.fromkeys(SOURCES, _convert),
    "check": _check,
    "describe": _describe,
    "tuning-subset": _tune,
    "layout": _layout,
    "supervisely-export": _export,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it asks."""
    options = command_line(__doc__).parse_args(arguments)
    try:
        COMMANDS[options.command](options)
    except PrepareError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
