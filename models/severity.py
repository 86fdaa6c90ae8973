"""The two-stage severity score, from pixels to a result (Danilov et al. 2022).

Stage I finds the lungs; everything else is blackened and the lungs are cut out; stage II finds opacity;
each lung is parted into three zones of equal area; a zone counts if its opacified share exceeds a
threshold; the score is the number of such zones, 0 to 6. Research use, not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.checkpoint import NetworkSpec, Role, load_checkpoint, weights_folder
from models.device import torch_device
from models.errors import CheckpointError
from models.geometry import Box
from models.lungs import check_pixels, find_lungs
from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    NotAssessable,
    Result,
    SeverityResult,
    ZoneInvolvement,
)
from models.segmenter import Forward, Segmentation, Segmenter, TorchForward
from models.zones import Lungs, NoLungs, zone_map

NAME = "two-stage"
VERSION = "1.1"
"""Raised with every change of this code that can change a result."""

Backend = Callable[[nn.Module, NetworkSpec], Forward]
"""Turns a loaded network into a function of arrays; the place for another inference engine."""


@dataclass(frozen=True)
class Involvement:
    """When the zones of a film count as involved.

    A zone's share is measured with an error. The sharp rule (Danilov et al. 2022, Algorithm B3) ignores it:
    four zones a little below T make 0, a little above T make 4. With a width the film's score is the expected
    number of zones above T, rounded, each zone's chance being the logistic function of its distance from T in
    widths; the zones with the largest shares are the involved ones.

    Parameters
    ----------
    threshold : float
        T, a share of the zone's area in [0, 1].
    width : float
        In shares; 0 for the sharp rule.
    """

    threshold: float
    width: float = 0.0

    def involved(self, shares: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Judge films.

        Parameters
        ----------
        shares : numpy.ndarray
            float64, (..., zones), in [0, 1]: the opacified share of each zone.

        Returns
        -------
        numpy.ndarray
            bool, same shape. A zone without any opacity is never involved.
        """
        if self.width == 0:
            return shares > self.threshold
        chances = 1.0 / (1.0 + np.exp(-np.clip((shares - self.threshold) / self.width, -60, 60)))
        count = np.floor((chances * (shares > 0)).sum(axis=-1, keepdims=True) + 0.5)
        rank = np.argsort(np.argsort(-shares, axis=-1, kind="stable"), axis=-1, kind="stable")
        return np.asarray((rank < count) & (shares > 0))


class SeverityScorer:
    """Scores radiographs; make one with ``load`` and keep it.

    Parameters
    ----------
    lungs, opacity : Segmenter
        Stage I and II.
    parameters : Mapping[str, str], optional
        Further settings that change a result, for the algorithm's identity (the inference engine, say).
    """

    def __init__(
        self, lungs: Segmenter, opacity: Segmenter, parameters: Mapping[str, str] | None = None
    ) -> None:
        threshold = opacity.spec.involvement_threshold
        if threshold is None:
            raise CheckpointError(
                "the opacity network's description has no involvement_threshold; "
                "choose one with `python -m training.operating_point`"
            )
        self.lungs = lungs
        self.opacity = opacity
        self._involvement_threshold = threshold
        self._algorithm = AlgorithmId(
            name=NAME,
            version=VERSION,
            weights={str(part.spec.role): part.spec.weights_sha256 for part in (lungs, opacity)},
            parameters={
                "score": "0-6, zones of equal area",
                "lung_probability_threshold": f"{lungs.spec.probability_threshold:g}",
                "opacity_probability_threshold": f"{opacity.spec.probability_threshold:g}",
                "presence_threshold": f"{opacity.spec.presence_threshold:g}",
                "involvement_threshold": f"{threshold:g}",
                "involvement_width": f"{opacity.spec.involvement_width:g}",
                **{
                    f"{part.spec.role}_mirrored": "averaged"
                    for part in (lungs, opacity)
                    if part.spec.mirrored
                },
                **(parameters or {}),
            },
        )

    @classmethod
    def load(
        cls,
        weights: Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> Self:
        """Load both networks.

        Parameters
        ----------
        weights : pathlib.Path, optional
            Folder with ``lungs.json``, ``opacity.json`` and their weights, or the name of one beside the
            shipped ones (``light``); the shipped ones if left out.
        device : str
            ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
        threads : int, optional
            Threads that torch may use in this process; its own choice if left out.
        backend : Backend, optional
            Another inference engine; torch in float32 if left out.

        Returns
        -------
        SeverityScorer

        Raises
        ------
        CheckpointError
            If weights are missing, altered or do not fit, or CUDA is asked for and absent.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        chosen = torch_device(device)
        folder = weights_folder(weights)
        make = backend or (lambda network, _: TorchForward(network.to(chosen), chosen))
        parts = []
        for role in (Role.LUNGS, Role.OPACITY):
            network, spec = load_checkpoint(folder, role)
            parts.append(Segmenter(spec, make(network, spec)))
        engine = {} if backend else {"precision": "float32"}
        return cls(parts[0], parts[1], engine)

    @property
    def algorithm(self) -> AlgorithmId:
        """Which algorithm this is: the same for every result of this scorer."""
        return self._algorithm

    def score(self, pixels: NDArray[np.float32]) -> Result:
        """Score one frontal chest radiograph.

        Parameters
        ----------
        pixels : numpy.ndarray
            float32, shape (rows, columns), in [0, 1], 0 = black, MONOCHROME2 sense, the patient's right at
            the image's left.

        Returns
        -------
        SeverityResult or NotAssessable
            In the geometry of ``pixels``. Without two plausible lungs there is no score, never a 0.

        Raises
        ------
        ValueError
            If ``pixels`` is not a non-empty float32 image of finite values in [0, 1].
        """
        check_pixels(pixels)
        found = find_lungs(self.lungs, pixels)
        if isinstance(found.lungs, NoLungs):
            return NotAssessable(self._algorithm, found.lungs.reason, found.lungs.message, found.mask)
        zones = zone_map(found.lungs)
        probability = self.find_opacity(pixels, found.lungs).at_source()
        # Stage II never saw what lies outside the lungs, so what it says there means nothing.
        opacity = (probability > self.opacity.spec.probability_threshold) & (zones > 0)
        involvement = measure(
            zones, opacity, self._involvement_threshold, self.opacity.spec.involvement_width
        )
        return SeverityResult(
            algorithm=self._algorithm,
            score=sum(zone.score for zone in involvement),
            score_max=len(ZONE_ORDER),
            zones=involvement,
            zone_map=zones,
            opacity_mask=opacity,
            warnings=found.lungs.warnings,
        )

    def find_opacity(self, pixels: NDArray[np.float32], lungs: Lungs) -> Segmentation:
        """Run stage II on the lungs alone: the rest is blackened, their box is cut out.

        Parameters
        ----------
        pixels : numpy.ndarray
            As for ``score``.
        lungs : Lungs
            From ``find_lungs``.

        Returns
        -------
        Segmentation
            Its ``refined`` map is 0 where the classification head says there is nothing.
        """
        both = lungs.right | lungs.left
        return self.opacity.segment(pixels, Box.around(both), both)


def measure(
    zones: NDArray[np.uint8], opacity: NDArray[np.bool_], threshold: float, width: float = 0.0
) -> tuple[ZoneInvolvement, ...]:
    """Measure opacity in each zone and say which zones are involved.

    Parameters
    ----------
    zones : numpy.ndarray
        uint8, (rows, columns): 0 outside, k + 1 inside ``ZONE_ORDER[k]``.
    opacity : numpy.ndarray
        bool, same shape.
    threshold, width : float
        When a zone is involved; see ``Involvement``.

    Returns
    -------
    tuple of ZoneInvolvement
        In ``ZONE_ORDER``.
    """
    areas = np.bincount(zones.ravel(), minlength=len(ZONE_ORDER) + 1)[1:]
    opacified = np.bincount(zones[opacity], minlength=len(ZONE_ORDER) + 1)[1:]
    involved = Involvement(threshold, width).involved(opacified / np.maximum(areas, 1))
    return tuple(
        ZoneInvolvement(side, level, int(area), int(part), int(flag))
        for (side, level), area, part, flag in zip(ZONE_ORDER, areas, opacified, involved, strict=True)
    )
