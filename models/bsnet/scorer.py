"""The Brixia score of one radiograph, from pixels to a result (Signoroni et al. 2021).

Six regions get 0 to 3 each, 18 in all. Research use, not for diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.bsnet.checkpoint import SHIPPED_BSNET, load_bsnet
from models.bsnet.decision import confidence, in_zone_order, scores
from models.bsnet.ensemble import BSNetEnsemble, Judgement
from models.bsnet.film_regions import film_regions
from models.bsnet.preprocessing import preprocess
from models.bsnet.presence import with_presence
from models.bsnet.spec import CLASSES, BSNetSpec, Decoder, Preprocessing
from models.checkpoint import weights_folder
from models.device import torch_device
from models.errors import CheckpointError
from models.geometry import Box, CropResize
from models.lungs import BLANK, check_pixels, lungs_in
from models.result import (
    ZONE_ORDER,
    AlgorithmId,
    Explanation,
    NotAssessable,
    Result,
    SeverityResult,
    ZoneInvolvement,
)
from models.segmenter import Segmentation, has_contrast
from models.zones import NoLungs

NAME = "bs-net"
VERSION = "1.1"
"""Raised with every change of this code that can change a result."""

LUNG_THRESHOLD = 0.5
"""A pixel is lung if its probability is above this."""

SCORE_MAX = len(ZONE_ORDER) * (CLASSES - 1)


@dataclass(frozen=True)
class _Seen:
    """A film as the networks saw it, and what they said."""

    view: NDArray[np.float32]
    answer: Judgement
    geometry: CropResize


class BSNetScorer:
    """Scores radiographs; make one with ``load`` and keep it.

    Parameters
    ----------
    networks : BSNetEnsemble
        In evaluation mode, on ``device``.
    device : torch.device
        Where they are.
    explain : bool
        Whether results hold an explanation, which takes seconds.

    Raises
    ------
    CheckpointError
        If the networks find no lungs (the all-in-one baseline): what they say could not be checked.
    """

    def __init__(self, networks: BSNetEnsemble, device: torch.device, explain: bool = False) -> None:
        if networks.spec.decoder is Decoder.NONE:
            raise CheckpointError(
                f"weights of preset {networks.spec.preset} find no lungs, so no film could be refused; "
                "they are for comparison in the evaluation alone: name another folder of weights"
            )
        self.networks = networks
        self.device = device
        self.explain = explain
        self._algorithm = algorithm_id(networks.spec)

    @classmethod
    def load(
        cls,
        weights: Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
        explain: bool = False,
    ) -> Self:
        """Load the networks.

        Parameters
        ----------
        weights : pathlib.Path, optional
            Folder with ``bsnet.json`` and its weights, or the name of one beside the shipped ones; the
            shipped ones if left out.
        device : str
            ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
        threads : int, optional
            Threads that torch may use in this process; its own choice if left out.
        explain : bool
            Whether results hold an explanation.

        Returns
        -------
        BSNetScorer

        Raises
        ------
        CheckpointError
            If weights are missing, altered or do not fit, or CUDA is asked for and absent.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        chosen = torch_device(device)
        folder = SHIPPED_BSNET if weights is None else weights_folder(weights)
        return cls(load_bsnet(folder).to(chosen), chosen, explain)

    @property
    def algorithm(self) -> AlgorithmId:
        """Which algorithm this is: the same for every result, with or without explanations."""
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
        if not has_contrast(pixels, self.networks.spec.window_percentiles):
            return NotAssessable(self._algorithm, BLANK.reason, BLANK.message, np.zeros(pixels.shape, bool))
        seen = self._look(pixels)
        lung_map = seen.answer.lungs[0, 0].float().cpu().numpy()
        found = lungs_in(Segmentation(lung_map, None, seen.geometry), LUNG_THRESHOLD)
        if isinstance(found.lungs, NoLungs):
            return NotAssessable(self._algorithm, found.lungs.reason, found.lungs.message, found.mask)
        regions = film_regions(found.lungs, seen.answer.theta[0].float().cpu().numpy())
        return self._result(seen, regions.zones, found.lungs.warnings + regions.warnings)

    def _look(self, pixels: NDArray[np.float32]) -> _Seen:
        spec = self.networks.spec
        shape = (pixels.shape[0], pixels.shape[1])
        view = preprocess(pixels, spec)
        with torch.inference_mode():
            answer = self.networks(torch.from_numpy(view)[None, None].to(self.device))
        return _Seen(view, answer, CropResize(shape, Box.whole(shape), spec.input_shape))

    def _result(self, seen: _Seen, zones: NDArray[np.uint8], warnings: tuple[str, ...]) -> SeverityResult:
        probabilities = seen.answer.region_probabilities[0].float().cpu().numpy()
        decided = scores(probabilities, self.networks.spec.decision)
        points = in_zone_order(decided)
        sure = in_zone_order(confidence(probabilities, decided))
        areas = np.bincount(zones.ravel(), minlength=len(ZONE_ORDER) + 1)[1:]
        return SeverityResult(
            algorithm=self._algorithm,
            score=int(sum(points)),
            score_max=SCORE_MAX,
            zones=tuple(
                ZoneInvolvement(side, level, int(area), 0, int(score), how_sure)
                for (side, level), area, score, how_sure in zip(ZONE_ORDER, areas, points, sure, strict=True)
            ),
            zone_map=zones,
            opacity_mask=np.zeros(zones.shape, bool),
            warnings=warnings,
            region_probabilities=probabilities,
            explanation=self._explanation(seen, zones > 0) if self.explain else None,
        )

    def _explanation(self, seen: _Seen, lungs: NDArray[np.bool_]) -> Explanation:
        from models.bsnet.explain import explain_with_facts  # noqa: PLC0415 - slow to import, seldom wanted

        def judge(views: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                films = torch.from_numpy(views).to(self.device)
                answer = self.networks.judge(films, seen.answer.lungs, seen.answer.theta, mirror=False)
                if seen.answer.presence is not None:
                    answer = with_presence(answer, seen.answer.presence)
            return answer.float().cpu().numpy()

        in_view = seen.geometry.forward(lungs.astype(np.float32)) > 0.5
        maps, facts = explain_with_facts(judge, seen.view, in_view)
        if self.networks.spec.mirrored:
            facts = {**facts, "mirror_image": "left out"}
        on_film = np.stack([seen.geometry.inverse(np.ascontiguousarray(one)) for one in maps])
        return Explanation(np.clip(on_film, 0, 1) * lungs, facts)


def algorithm_id(spec: BSNetSpec) -> AlgorithmId:
    """Return which algorithm a spec makes.

    Parameters
    ----------
    spec : BSNetSpec
        As loaded, with its weights' SHA-256.

    Returns
    -------
    AlgorithmId
        Its parameters are all that changes a result beside the weights.
    """
    low, high = spec.window_percentiles
    window = "" if spec.preprocessing is Preprocessing.EQUALIZE else f", window {low:g} to {high:g} %"
    order = "reduced first" if spec.reduce_first else "at full size"
    return AlgorithmId(
        name=NAME,
        version=VERSION,
        weights={NAME: spec.weights_sha256},
        parameters={
            "score": "Brixia 0-18, six regions of 0-3",
            "preset": spec.preset,
            "input_shape": " x ".join(str(side) for side in spec.input_shape),
            "preprocessing": f"{spec.preprocessing}{window}, {order}",
            "attentions": " + ".join(spec.attentions),
            "members": str(spec.members),
            "alignment": "affine" if spec.align else "none",
            "lung_probability_threshold": f"{LUNG_THRESHOLD:g}",
            "decision": str(spec.decision),
            "temperature": f"{spec.temperature:g}",
            "class_bias": ", ".join(f"{bias:g}" for bias in spec.class_bias),
            "precision": "float32",
            **({"mirrored": "averaged"} if spec.mirrored else {}),
            **_presence_parameter(spec),
        },
        licence=spec.licence,
    )


def _presence_parameter(spec: BSNetSpec) -> dict[str, str]:
    if spec.presence is None:
        return {}
    shape = " x ".join(str(side) for side in spec.presence.input_shape)
    return {"presence": f"{spec.presence.encoder}, {shape}"}
