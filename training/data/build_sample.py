"""Make the shipped sample again from the full data folder.

    python -m training.data.build_sample --data DIR --out training/sample

The sample holds small films under open licences, with the labels whose licences allow it, and no film of the
test set: enough to see both stages train in a minute, too little to learn from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from training.data.data_folder import add_data_argument
from training.data.film_record import FilmRecord, PrepareError, Reading
from training.data.manifest import read_data_folder
from training.data.preparation import Preparation, prepare

LONGEST_SIDE, JPEG_QUALITY = 320, 85

TRAIN = (
    *("kermany_0004", "kermany_0005", "kermany_0010", "kermany_0012", "kermany_0137", "kermany_0143"),
    *("nih_0002", "nih_0004", "nih_0006"),
    *("cohen_0153", "cohen_0307", "cohen_0310", "cohen_0323", "cohen_0325", "cohen_0340", "cohen_0358"),
    *("cohen_0367", "cohen_0370"),
)
VAL = ("kermany_0009", "nih_0003", "cohen_0007", "cohen_0300", "cohen_0315", "cohen_0326")

KEPT_COLUMNS = (
    *("mask_source", "disease_mask_source", "source_repo", "finding_source", "doi_or_url"),
    *("orig_width", "orig_height"),
)

FREE_ANNOTATIONS = ("lung mask CC BY 4.0", "disease mask CC BY 4.0")
"""Annotation licences that the sample may carry on; Brixia and GE/LO scores and RSNA boxes stay behind."""

_COLLECTION = "through the COVID-19 Image Data Collection"
CREDITS = {
    "kermany": "Kermany, Zhang and Goldbaum 2018, *Labeled Optical Coherence Tomography and Chest X-Ray "
    "Images for Classification*, Mendeley Data, [doi:10.17632/rscbjbr9sj.2](https://doi.org/10.17632/rscbjbr9sj.2)",
    "nih": "NIH Clinical Center, ChestX-ray14: Wang et al. 2017, "
    "[doi:10.1109/CVPR.2017.369](https://doi.org/10.1109/CVPR.2017.369)",
    "10.6084/m9.figshare.12275009": "Winther et al. 2020, COVID-19 Image Repository, Hannover Medical "
    "School, [doi:10.6084/m9.figshare.12275009](https://doi.org/10.6084/m9.figshare.12275009), "
    f"{_COLLECTION}",
    "10.4103/1817-1737.69106": "the authors of [doi:10.4103/1817-1737.69106]"
    f"(https://doi.org/10.4103/1817-1737.69106), Annals of Thoracic Medicine, {_COLLECTION}",
    "https://en.wikipedia.org/wiki/File:ARDSSevere.png": "the author of [File:ARDSSevere.png]"
    f"(https://en.wikipedia.org/wiki/File:ARDSSevere.png) at Wikipedia, {_COLLECTION}; **share-alike**",
}
LICENCE_LINKS = {
    "CC BY": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY 3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-SA": "https://creativecommons.org/licenses/by-sa/4.0/",
}


def sample(reading: Reading) -> Reading:
    """Return the sample's films with the labels that it may carry on.

    Raises
    ------
    PrepareError
        If a film is missing, is a test film, or its licence is not open.
    """
    by_name = {record.name: record for record in reading.records}
    missing = [name for name in (*TRAIN, *VAL) if name not in by_name]
    if missing:
        raise PrepareError(f"the data folder lacks {', '.join(missing)}; the sample cannot be made from it")
    chosen = [
        _freed(by_name[name], split) for split, names in (("train", TRAIN), ("val", VAL)) for name in names
    ]
    return Reading(tuple(chosen))


def attribution(records: Sequence[FilmRecord]) -> str:
    """Return the text that says whose films these are, under which licence, and what was changed."""
    rows = [
        f"| `{record.name}` | {CREDITS[_credit(record)]} | {_licence(record.licence)} | {_labels(record)} |"
        for record in records
    ]
    return "\n".join([_HEAD, *rows, _TAIL])


def _freed(record: FilmRecord, split: str) -> FilmRecord:
    if record.split == "test" or record.licence_class != "open":
        raise PrepareError(f"{record.name} is a test film or not under an open licence; choose another")
    annotations = [part for part in FREE_ANNOTATIONS if part in record.annotation_licence]
    drawn = {"mask_source": record.lung_mask, "disease_mask_source": record.opacity_mask}
    if record.readers.consensus is not None:
        annotations.append("reader scores MIT")
    return replace(
        record,
        split=split,
        second_lung_mask=None,
        consolidation_mask=None,
        boxes=(),
        annotation_licence="; ".join(annotations),
        further={
            name: record.further.get(name, "")
            for name in KEPT_COLUMNS
            if name not in drawn or drawn[name] is not None
        },
    )


def _credit(record: FilmRecord) -> str:
    return record.source if record.source in CREDITS else record.further["doi_or_url"]


def _licence(stated: str) -> str:
    return f"[{stated}]({LICENCE_LINKS[stated]})" if stated in LICENCE_LINKS else stated


def _labels(record: FilmRecord) -> str:
    labels = []
    if record.lung_mask:
        drawn_by = "V7 Labs" if record.further["mask_source"].startswith("V7") else "General Blockchain"
        labels.append(f"lung mask ({drawn_by})")
    if record.opacity_mask:
        labels.append("opacity mask (General Blockchain)")
    if record.readers.consensus is not None:
        labels.append(f"readers' score {record.readers.consensus:g}")
    if record.finding_group == "normal":
        labels.append("normal")
    return ", ".join(labels) or record.finding


_HEAD = """# Sample films for training

For trying the training commands, and for their tests; far too few to learn anything from. Research use, not
for diagnosis.

**What was changed.** Films were turned into 8-bit grey, reduced by area averaging to a long side of at most
320 pixels and stored as JPEG of quality 85; masks were reduced with them, cut at one half and stored as PNG.
Nothing was cropped, inverted or windowed.

**Labels.** Lung masks: V7 Labs, *COVID-19 X-ray dataset*, and General Blockchain, *COVID-19 chest X-ray
segmentations dataset*, whose are the opacity masks too; both
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/).
Readers' 0 to 6 scores: Danilov et al. 2022, published with its code under the MIT licence, Copyright (c) 2022
Quantori. COVID-19 Image Data Collection: Cohen et al. 2020, arXiv:2003.11597 and arXiv:2006.11988.

Licences are those that the sources state; one stated without a version links to the newest.

| film | from | licence | labels |
| --- | --- | --- | --- |"""

_TAIL = """
The table `manifest.csv` says the same film by film (`licence`, `annotation_licence`, `doi_or_url`).

To make the folder again from the full data folder:
`python -m training.data.build_sample --data DIR --out NEW`.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the sample."""
    parser = argparse.ArgumentParser(prog="python -m training.data.build_sample", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not exist yet")
    options = parser.parse_args(arguments)
    settings = Preparation(longest_side=LONGEST_SIDE, jpeg_quality=JPEG_QUALITY)
    try:
        prepared = prepare(sample(read_data_folder(options.data)), options.out, settings)
    except PrepareError as error:
        sys.exit(f"error: {error}")
    (options.out / "ATTRIBUTION.md").write_text(attribution(prepared.records), encoding="utf-8")
    Console().print(f"wrote {len(prepared.records)} films to {options.out}")


if __name__ == "__main__":
    main()
