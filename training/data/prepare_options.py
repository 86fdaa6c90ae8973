"""The command line of ``python -m training.prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from training.data.crop_modes import CROP_MODES
from training.data.data_folder import add_data_argument
from training.data.film_checks import REQUIREMENTS
from training.data.film_record import FINDING_GROUPS, SUBSETS
from training.data.near_duplicates import NEAR_BITS
from training.data.preparation import SPLITS
from training.data.split import PUBLISHED_SEED, RATIOS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Return the parser; the chosen command is in ``command``."""
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_manifest(commands)
    _add_supervisely(commands)
    _add_darwin(commands)
    _add_folders(commands)
    _add_dicom(commands)
    _add_readers_of_a_data_folder(commands)
    return parser


def _add_manifest(commands: Commands) -> None:
    parser = commands.add_parser("manifest", help="copy, join, narrow or divide anew data folders")
    _add_writing(parser, split="keep", sources="+")


def _add_supervisely(commands: Commands) -> None:
    parser = commands.add_parser("supervisely", help="a Supervisely project, the papers' format")
    _add_classes(parser)
    parser.add_argument(
        "--clean-up", action="store_true", help="open every bitmap, as the published code does"
    )
    _add_writing(parser)


def _add_darwin(commands: Commands) -> None:
    parser = commands.add_parser(
        "darwin", help="a V7 Darwin export: PNG masks of 0, 127, 255, Darwin JSON or COCO"
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, help="folder of masks or JSON, or a COCO file"
    )
    parser.add_argument("--images", type=Path, help="folder of the pictures (default: SOURCE)")
    parser.add_argument("--lung-class", default="Lung", help="class of the lungs (default: Lung)")
    parser.add_argument("--ignore-class", default="Ignore", help="class of what hides them (default: Ignore)")
    parser.add_argument("--keep-ignored", action="store_true", help="keep these areas as a mask of their own")
    parser.add_argument("--name", default="darwin", help="name of the data set (default: darwin)")
    _add_writing(parser)


def _add_folders(commands: Commands) -> None:
    parser = commands.add_parser(
        "folders", help="img/ and mask/ folders, with metadata.csv where there is one"
    )
    parser.add_argument(
        "--masks-show",
        choices=("lungs", "opacity"),
        default="lungs",
        help="what mask/ holds (default: lungs)",
    )
    parser.add_argument("--name", default="", help="name of the data set (default: the folder's)")
    _add_writing(parser)


def _add_dicom(commands: Commands) -> None:
    parser = commands.add_parser("dicom", help="DICOM objects; nothing personal reaches the table")
    for what in ("lung", "opacity"):
        parser.add_argument(
            f"--{what}-masks", type=Path, help=f"folder of {what} masks, SOP-INSTANCE-UID.png or FILE.png"
        )
    parser.add_argument(
        "--salt-file",
        type=Path,
        help="secret of the patients' hashes, made where it does not exist: keep it, and keep it private "
        "(default: a new secret each time)",
    )
    parser.add_argument("--name", default="dicom", help="name of the data set (default: dicom)")
    _add_writing(parser)


def _add_readers_of_a_data_folder(commands: Commands) -> None:
    check = commands.add_parser("check", help="look for faults in a data folder; exit 1 if there are any")
    add_data_argument(check)
    _add_checks(check)

    describe = commands.add_parser("describe", help="tables and pictures of what a data folder holds")
    add_data_argument(describe)
    describe.add_argument("--out", type=Path, required=True, help="folder for the files")
    describe.add_argument(
        "--any-licence", action="store_true", help="also draw films that must not be published"
    )

    sample = commands.add_parser(
        "tuning-subset", help="a share of train and val, for a hyperparameter search"
    )
    add_data_argument(sample)
    _add_out(sample)
    sample.add_argument(
        "--fraction", type=float, required=True, help="the paper: 0.1 for stage I, 0.5 for II"
    )
    sample.add_argument("--seed", type=int, default=PUBLISHED_SEED)
    sample.add_argument("--by-image", action="store_true", help="draw films, not patients, as was published")

    layout = commands.add_parser("layout", help="write OUT/SUBSET/DATASET/{img,mask} and metadata.csv")
    add_data_argument(layout)
    _add_out(layout)
    layout.add_argument(
        "--crop", choices=CROP_MODES, default="none", help="what of a film (default: none, all)"
    )
    layout.add_argument(
        "--weights", type=Path, help="folder of stage I, which finds the lungs (default: drawn lung masks)"
    )

    export = commands.add_parser("supervisely-export", help="write a Supervisely project, for annotators")
    add_data_argument(export)
    _add_out(export)
    _add_classes(export)


def _add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lung-class", default="Lungs", help="class of the lungs (default: Lungs)")
    parser.add_argument("--opacity-class", default="COVID-19", help="class of opacity (default: COVID-19)")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not exist yet")


def _add_checks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require", choices=REQUIREMENTS, nargs="+", default=[], help="what every film must have"
    )
    parser.add_argument(
        "--near-bits",
        type=int,
        default=NEAR_BITS,
        help="films whose hashes differ in so many of 255 bits are one radiograph; -1: do not look (default: "
        f"{NEAR_BITS})",
    )


def _add_writing(parser: argparse.ArgumentParser, split: str = "patient", sources: str | None = None) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", nargs=sources, help="what to read")
    _add_out(parser)
    parser.add_argument(
        "--metadata", type=Path, help="table with more about each film: patient, age, scores, …"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out films at fault, listed in left_out.csv"
    )
    dividing = parser.add_argument_group("subsets")
    dividing.add_argument(
        "--split",
        choices=SPLITS,
        default=split,
        help="keep the source's, divide by patient, or by image as was published: one patient may then be in "
        f"several subsets, and test figures are too good (default: {split})",
    )
    dividing.add_argument(
        "--ratio",
        type=float,
        nargs=3,
        default=RATIOS,
        metavar=("TRAIN", "VAL", "TEST"),
        help="default: 0.8 0.1 0.1",
    )
    dividing.add_argument("--seed", type=int, help=f"default: 1, by image {PUBLISHED_SEED}")
    dividing.add_argument("--folds", type=int, default=0, help="number train and val for cross-validation")
    narrowing = parser.add_argument_group("which films")
    narrowing.add_argument("--only-split", nargs="+", choices=SUBSETS)
    narrowing.add_argument("--only-source", nargs="+", metavar="NAME")
    narrowing.add_argument(
        "--only-finding", nargs="+", metavar="GROUP", help=f"e.g. {', '.join(FINDING_GROUPS)}"
    )
    narrowing.add_argument("--only-licence-class", nargs="+", choices=("open", "nc", "nc-nd", "unstated"))
    _add_checks(parser)
    size = parser.add_argument_group("pictures")
    size.add_argument("--longest-side", type=int, default=0, help="reduce larger films to so many pixels")
    size.add_argument("--jpeg", type=int, default=0, metavar="QUALITY", help="write JPEG (default: PNG)")
