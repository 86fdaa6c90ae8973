"""BS-Net as the worker runs it, watched: what each attention says alone, and films as they come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dicom_node.errors import DicomNodeError
from dicom_node.pixels import read_dataset, read_radiograph
from models.bsnet.checkpoint import SHIPPED_BSNET, load_bsnet
from models.bsnet.decision import scores
from models.bsnet.ensemble import BSNetEnsemble, Judgement
from models.bsnet.network import BSNet
from models.bsnet.preprocessing import preprocess
from models.bsnet.scorer import NAME, BSNetScorer
from models.bsnet.spec import Decoder
from models.checkpoint import weights_folder
from models.result import NotAssessable, Result
from training.data.dataset import DataError, read_pixels
from training.judging.brixia.rotation import Predict
from training.judging.brixia.score import from_grid, region_probabilities
from training.judging.overlap import Overlap

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FilmScores:
    """What BS-Net said of one film.

    Parameters
    ----------
    probabilities : dict of str to numpy.ndarray
        float64, (6, 4), regions A to F, by system: the whole (``bs-net``) and, if there are several, each
        attention alone (``bs-net hard``); empty if the film cannot be assessed.
    regions : dict of str to numpy.ndarray
        float64, (6,), 0 to 3, likewise.
    reason : str
        Why there is no score; empty if there is one.
    elapsed_s : float
        Time the scorer took.
    lungs : Overlap or None
        Pixels of the lungs found against drawn ones.
    """

    probabilities: dict[str, Floats]
    regions: dict[str, Floats]
    reason: str
    elapsed_s: float
    lungs: Overlap | None


class ObservedBSNet:
    """BS-Net as the worker runs it, which also tells what each attention says.

    The all-in-one baseline, which the worker refuses because it finds no lungs, is asked directly.

    Parameters
    ----------
    folder : pathlib.Path
        Of the weights.

    Raises
    ------
    models.errors.CheckpointError
        If they cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.networks = load_bsnet(folder)
        self.spec = self.networks.spec
        self._last: list[Judgement] = []
        self.networks.register_forward_hook(self._keep)
        refusing = self.spec.decoder is not Decoder.NONE
        self.scorer = BSNetScorer(self.networks, torch.device("cpu")) if refusing else None

    def score(self, pixels: NDArray[np.float32], drawn: NDArray[np.bool_] | None = None) -> FilmScores:
        """Score a film, float32 (rows, columns) in [0, 1]; ``drawn`` is its lung mask, if there is one."""
        started, reason, lungs = time.perf_counter(), "", None
        if self.scorer is None:
            judge(self.networks, pixels)
        else:
            result = self.scorer.score(pixels)
            reason = str(result.reason) if isinstance(result, NotAssessable) else ""
            lungs = None if drawn is None else Overlap.of(result.lung_mask, drawn)
        elapsed = time.perf_counter() - started
        found = {} if reason else self._probabilities()
        decided = {name: self._decide(layout) for name, layout in found.items()}
        by_region = {name: region_probabilities(layout) for name, layout in found.items()}
        return FilmScores(by_region, decided, reason, elapsed, lungs)

    def _probabilities(self) -> dict[str, NDArray[np.float32]]:
        answer = self._last[-1]
        name = system_name(self.spec.decoder)
        found = {name: answer.region_probabilities}
        if len(answer.by_attention) > 1:
            found |= {f"{name} {attention}": values for attention, values in answer.by_attention.items()}
        return {system: values[0].float().numpy() for system, values in found.items()}

    def _decide(self, layout: NDArray[np.float32]) -> Floats:
        return from_grid(scores(layout, self.spec.decision))

    def _keep(self, _module: object, _films: object, answer: Judgement) -> None:
        self._last[:] = [answer]


def system_name(decoder: Decoder) -> str:
    """Return the system's name in tables: ``bs-net``, or ``all-in-one`` for the baseline without lungs."""
    return "all-in-one" if decoder is Decoder.NONE else NAME


def bsnet_folder(weights: Path | str | None) -> Path:
    """Return the folder of weights: the one named, one beside the shipped ones, or BS-Net's shipped one."""
    return SHIPPED_BSNET if weights is None else weights_folder(weights)


def judge(networks: BSNetEnsemble, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the class probabilities of a film, float32 (3, 2, 4), whatever its lungs look like."""
    view = preprocess(pixels, networks.spec)
    with torch.inference_mode():
        answer = networks(torch.from_numpy(view)[None, None])
    return np.asarray(answer.region_probabilities[0].float().numpy(), np.float32)


def predictor(folder: Path, align: bool = True) -> Predict:
    """Return BS-Net as a function of a film alone.

    Parameters
    ----------
    folder : pathlib.Path
        Of the weights.
    align : bool
        False: the identity instead of the transform it would estimate.
    """
    networks = load_bsnet(folder)
    if not align:
        for member in networks.members:
            if isinstance(member, BSNet):
                member.aligner = None

    def predict(pixels: NDArray[np.float32]) -> Floats:
        return from_grid(scores(judge(networks, pixels), networks.spec.decision))

    return predict


def explained(film: NDArray[np.float32], weights: Path | str | None) -> Result:
    """Score a film, float32 (rows, columns) in [0, 1], with an explanation; takes seconds.

    Raises
    ------
    models.errors.CheckpointError
        If the weights cannot be used, or find no lungs (the all-in-one baseline).
    """
    return BSNetScorer.load(bsnet_folder(weights), explain=True).score(film)


def read_film(path: Path) -> NDArray[np.float32]:
    """Read a film, DICOM or picture, as float32 (rows, columns) in [0, 1].

    Raises
    ------
    training.data.dataset.DataError
        If it cannot be read.
    """
    if path.suffix.lower() not in (".dcm", ".dicom"):
        return read_pixels(path)
    try:
        return read_radiograph(read_dataset(path.read_bytes())).pixels
    except (OSError, DicomNodeError) as error:
        raise DataError(f"cannot read the film {path}: {error}; check that the data are complete") from error
