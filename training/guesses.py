"""Guess opacity masks for films that have none, from networks that never saw them and from weaker labels.

    python -m training.guesses --data DIR --lungs runs/lungs --runs runs/fold1 runs/fold2 runs/fold3 \
        --out runs/guesses

Each run held out one fold of the training and validation films (``training.train --fold``); it says where
opacity is on that fold. What is known of a film says how much there is: in each zone of a film with
published shares (moved to agree with the readers' score) or Brixia scores, the pixels with the highest
probability are taken until the zone's share is reached; in the boxes of a film, ``BOX_SHARE`` of them. Of
other diseased films the probability itself is kept. The result is one grey PNG a film, 255 = certainly
opacity, and ``guesses.csv`` with the weight that each film's guess has in training.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from models.checkpoint import Role, load_checkpoint
from models.errors import CheckpointError
from models.geometry import Box
from models.lungs import find_lungs
from models.segmenter import Segmenter, TorchForward
from models.zones import NoLungs, zone_map
from training.data.data_folder import add_data_argument
from training.data.dataset import DataError, Film, film_presence, read_manifest, read_pixels
from training.data.folds import fold_numbers
from training.learning.crops import teacher_shares
from training.learning.losses import brixia_shares
from training.learning.run_options import CONSOLE

SOURCE_WEIGHTS = {"published shares": 1.0, "Brixia": 0.8, "boxes": 0.4, "probability": 0.3}
"""Weight of a guess in training, by what it is made of: the surer the amount, the more."""

LEAST_SHARE = 0.04
"""Smaller shares of a zone are taken for none."""

BOX_SHARE = 0.65
"""Opacified part of the lung inside a box around an opacity."""

SURE = 0.85
"""Weight of the marked pixels in a guess; the rest is the network's own probability."""


@dataclass(frozen=True)
class Guess:
    """A guessed mask.

    Parameters
    ----------
    map : numpy.ndarray
        float32, (rows, columns) of the film, in [0, 1].
    source : str
        A key of ``SOURCE_WEIGHTS``.
    """

    map: NDArray[np.float32]
    source: str


def guess(film: Film, probability: NDArray[np.float32], zones: NDArray[np.uint8]) -> Guess | None:
    """Guess where a film's opacity is.

    Parameters
    ----------
    film : Film
        What is known of it.
    probability : numpy.ndarray
        float32, (rows, columns), in [0, 1]: of opacity, from a network that did not learn from this film.
    zones : numpy.ndarray
        uint8, same shape: 0 outside the lungs, 1 to 6 inside a zone.

    Returns
    -------
    Guess or None
        None for films that have a drawn mask or are known to be free of opacity, and those of which nothing
        is known.
    """
    if film.opacity_mask or film.normal or not film_presence(film) > 0:
        return None
    inside = np.where(zones > 0, probability, np.float32(0))
    shares = _known_shares(film)
    if shares is not None:
        marked = np.zeros(zones.shape, bool)
        for number, share in enumerate(shares, 1):
            marked |= _highest(inside, zones == number, share if share >= LEAST_SHARE else 0.0)
        source = "published shares" if film.teacher is not None else "Brixia"
        return Guess(np.asarray(SURE * marked + (1 - SURE) * inside, np.float32), source)
    if film.boxes:
        boxed = np.zeros(zones.shape, bool)
        for box in film.boxes:
            boxed[box.slices] = True
        return Guess(_highest(inside, boxed & (zones > 0), BOX_SHARE).astype(np.float32), "boxes")
    return Guess(inside, "probability")


def _known_shares(film: Film) -> NDArray[np.float32] | None:
    if film.teacher is not None:
        return teacher_shares(film)
    return None if film.brixia is None else brixia_shares(torch.from_numpy(film.brixia)).numpy()


def _highest(values: NDArray[np.float32], where: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    count = round(float(share) * int(where.sum()))
    if count == 0:
        return np.zeros(where.shape, bool)
    # A little blur first: single bright pixels are noise, not opacity.
    smooth = (values + cv2.GaussianBlur(values, (0, 0), max(values.shape) / 120)) / 2
    least = np.partition(smooth[where], -count)[-count]
    return np.asarray(where & (smooth >= least))


def with_guesses(films: Sequence[Film], folder: Path) -> list[Film]:
    """Give films the guesses that this command wrote.

    Parameters
    ----------
    films : sequence of Film
        Any films.
    folder : pathlib.Path
        ``--out`` of this command.

    Returns
    -------
    list of Film
        In the same order; those without a guess as they are.

    Raises
    ------
    training.data.dataset.DataError
        If the folder holds no guesses.
    """
    table = folder / "guesses.csv"
    if not table.is_file():
        raise DataError(f"no guesses.csv in {folder}; make it with `python -m training.guesses`")
    with table.open(encoding="utf-8", newline="") as file:
        weights = {row["name"]: float(row["weight"]) for row in csv.DictReader(file)}
    return [
        replace(film, guess=folder / f"{film.name}.png", guess_weight=weights[film.name])
        if film.name in weights
        else film
        for film in films
    ]


_networks: list[Segmenter] = []


def _start(lungs: Path, run: Path) -> None:
    torch.set_num_threads(1)
    for folder, role in ((lungs, Role.LUNGS), (run, Role.OPACITY)):
        network, spec = load_checkpoint(folder, role)
        _networks.append(Segmenter(spec, TorchForward(network, torch.device("cpu"))))


def _write(film: Film, out: Path) -> str | None:
    pixels = read_pixels(film.image)
    lungs = find_lungs(_networks[0], pixels).lungs
    if isinstance(lungs, NoLungs):
        return None
    both = lungs.right | lungs.left
    answer = _networks[1].segment(pixels, Box.around(both), both)
    made = guess(film, answer.geometry.inverse(answer.probability), zone_map(lungs))
    if made is None:
        return None
    cv2.imwrite(str(out / f"{film.name}.png"), np.rint(made.map * 255).astype(np.uint8))
    return made.source


def write_guesses(films: Sequence[Film], lungs: Path, runs: Sequence[Path], out: Path) -> dict[str, int]:
    """Guess masks for all films that need one; see the module.

    Parameters
    ----------
    films : sequence of Film
        Training and validation films, in the manifest's order.
    lungs : pathlib.Path
        Checkpoint folder of stage I.
    runs : sequence of pathlib.Path
        Run folders of stage II: that of fold 1 first.
    out : pathlib.Path
        Made if missing.

    Returns
    -------
    dict of str to int
        How many guesses were made of what.
    """
    out.mkdir(parents=True, exist_ok=True)
    numbers = fold_numbers(films, len(runs))
    rows: list[tuple[str, str]] = []
    for number, run in enumerate(runs, 1):
        held_out = [film for film, fold in zip(films, numbers, strict=True) if fold == number]
        with ProcessPoolExecutor(None, get_context("spawn"), _start, (lungs, run)) as pool:
            sources = pool.map(partial(_write, out=out), held_out, chunksize=4)
            shown = track(sources, f"Fold {number}", total=len(held_out), console=CONSOLE)
            rows += [
                (film.name, source)
                for film, source in zip(held_out, shown, strict=True)
                if source is not None
            ]
    with (out / "guesses.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "source", "weight"])
        table.writerows((name, source, SOURCE_WEIGHTS[source]) for name, source in rows)
    return {source: sum(made == source for _, made in rows) for source in SOURCE_WEIGHTS}


def main() -> None:
    """Read the command line and guess."""
    parser = argparse.ArgumentParser(prog="python -m training.guesses", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data_argument(parser)
    parser.add_argument("--lungs", type=Path, required=True, help="checkpoint folder of stage I")
    parser.add_argument(
        "--runs", type=Path, nargs="+", required=True, help="run folders, that of fold 1 first"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the guesses")
    options = parser.parse_args()
    try:
        films = [film for film in read_manifest(options.data) if film.split in ("train", "val")]
        counts = write_guesses(films, options.lungs, options.runs, options.out)
    except (DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    for source, count in counts.items():
        CONSOLE.print(f"{count} guesses from {source}")


if __name__ == "__main__":
    main()
