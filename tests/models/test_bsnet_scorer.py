"""From pixels to a Brixia score, with networks in closed form and with untrained ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bsnet.checkpoint import save_bsnet
from models.bsnet.ensemble import BSNetEnsemble, Judgement
from models.bsnet.network import build_bsnet
from models.bsnet.presence import with_presence
from models.bsnet.regions import region_crops
from models.bsnet.scorer import BSNetScorer
from models.bsnet.spec import COMPACT, PRESETS, BSNetSpec, Decision, Preprocessing
from models.errors import CheckpointError
from models.result import ZONE_ORDER, NotAssessable, NotAssessableReason, SeverityResult

SPEC = replace(
    COMPACT,
    input_shape=(128, 128),
    decoder_channels=(16, 8, 8, 8, 4),
    pyramid_channels=(8, 8, 8, 8, 16),
    roi_sizes=(8, 4, 4, 4),
    preprocessing=Preprocessing.PERCENTILES,
    window_percentiles=(0.0, 100.0),
    decision=Decision.ARGMAX,
    weights_sha256="a",
    licence="for tests",
)
TISSUE, LUNG, DISEASE = 0.3, 0.7, 0.9


class ClosedForm(BSNetEnsemble):
    """Bright is lung, very bright is disease; the class of a region follows the share of disease in it."""

    def __init__(self, spec: BSNetSpec = SPEC, degrees: float = 0.0) -> None:
        torch.nn.Module.__init__(self)
        self.spec = spec
        angle = np.radians(degrees)
        turn = 0.8 * np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
        self.theta = torch.tensor(turn, dtype=torch.float32)[None]

    def forward(self, films: torch.Tensor) -> Judgement:
        lungs = ((films - 0.5) * 40).sigmoid()
        return Judgement(lungs, self.theta, self.judge(films, lungs, self.theta), {})

    def judge(
        self,
        films: torch.Tensor,
        lung_probability: torch.Tensor | None,
        theta: torch.Tensor,
        mirror: bool = True,
    ) -> torch.Tensor:
        disease = (films > 0.8).float()
        share = region_crops(disease, (40, 40)).mean(dim=(2, 3, 4)).view(-1, 3, 2, 1)
        distance = (share - torch.tensor([0.0, 0.07, 0.14, 0.21])).abs()
        return (-40 * distance).softmax(-1)


def film(
    shape: tuple[int, int] = (400, 360), disease: tuple[tuple[slice, slice], ...] = ()
) -> NDArray[np.float32]:
    rows, columns = shape
    mask = np.zeros(shape, np.uint8)
    for centre in (0.29, 0.71):
        axes = (int(0.16 * columns), int(0.36 * rows))
        cv2.ellipse(mask, (int(centre * columns), rows // 2), axes, 0, 0, 360, 1, -1)
    pixels = np.where(mask > 0, LUNG, TISSUE).astype(np.float32)
    for part in disease:
        pixels[part] = np.where(mask[part] > 0, DISEASE, pixels[part])
    pixels[:8, :8], pixels[:8, -8:] = 0.0, 1.0  # the whole range is there: the window changes nothing
    return pixels


def scorer(explain: bool = False, degrees: float = 0.0) -> BSNetScorer:
    return BSNetScorer(ClosedForm(degrees=degrees), torch.device("cpu"), explain)


UPPER_RIGHT = (slice(0, 130), slice(0, 180))
LOWER_LEFT = (slice(300, 400), slice(180, 360))


def test_a_healthy_film_scores_zero_of_18_and_every_region_has_an_area() -> None:
    result = scorer().score(film())
    assert isinstance(result, SeverityResult)
    assert (result.score, result.score_max) == (0, 18)
    assert not result.measures_opacity
    assert [(zone.side, zone.level) for zone in result.zones] == list(ZONE_ORDER)
    assert min(zone.area_px for zone in result.zones) > 1000
    assert result.explanation is None
    assert result.algorithm.licence == "for tests"
    truth = film() > 0.5
    assert 2 * (truth & result.lung_mask).sum() / (truth.sum() + result.lung_mask.sum()) > 0.97


def test_the_regions_are_named_by_the_patient_s_side() -> None:
    result = scorer().score(film(disease=(UPPER_RIGHT, LOWER_LEFT)))
    assert isinstance(result, SeverityResult)
    points = {zone.name: zone.score for zone in result.zones}
    assert points["right upper"] == 3
    assert points["left lower"] >= 1
    assert points["left upper"] == points["right lower"] == 0
    assert result.score == sum(points.values())
    probabilities = result.region_probabilities
    assert probabilities is not None
    assert probabilities.shape == (3, 2, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    # A is row 0, column 0; F is row 2, column 1.
    assert probabilities[0, 0].argmax() == points["right upper"]
    assert probabilities[2, 1].argmax() == points["left lower"]
    assert result.zones[0].confidence == pytest.approx(float(probabilities[0, 0, result.zones[0].score]))
    assert result.zones[5].confidence == pytest.approx(float(probabilities[2, 1, result.zones[5].score]))


def test_a_turned_chest_is_told() -> None:
    result = scorer(degrees=25).score(film((400, 400)))
    assert isinstance(result, SeverityResult)
    assert any("turned by 25°" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((300, 300), 0.5, np.float32), NotAssessableReason.NO_LUNGS),
        (np.linspace(0, 0.4, 90000, dtype=np.float32).reshape(300, 300), NotAssessableReason.ONE_LUNG),
        (np.where(np.arange(360) < 180, film(), TISSUE).astype(np.float32), NotAssessableReason.ONE_LUNG),
    ],
)
def test_without_two_plausible_lungs_there_is_no_score(
    pixels: NDArray[np.float32], reason: NotAssessableReason
) -> None:
    result = scorer().score(pixels)
    assert isinstance(result, NotAssessable)
    assert result.reason in {reason, NotAssessableReason.IMPLAUSIBLE_LUNGS}
    assert result.lung_mask.shape == pixels.shape


def test_pixels_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        scorer().score(np.zeros((10, 10)))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        scorer().score(np.full((10, 10), 7, np.float32))


def test_an_explanation_lies_on_the_disease_and_leaves_the_algorithm_as_it_is() -> None:
    explaining = scorer(explain=True)
    result = explaining.score(film(disease=(UPPER_RIGHT,)))
    assert isinstance(result, SeverityResult)
    assert result.explanation is not None
    assert result.explanation.parameters["occlusions"]
    maps = result.explanation.maps
    assert maps.shape == (3, 400, 360)
    assert maps.dtype == np.float32
    assert not maps[:, ~result.lung_mask].any()
    strong = maps[2] > 0.5
    assert strong.any()
    assert strong[UPPER_RIGHT].sum() > 0.9 * strong.sum()
    assert explaining.algorithm == scorer().algorithm


def test_an_explanation_knows_how_probable_disease_is_at_all() -> None:
    class Unsure(ClosedForm):
        def forward(self, films: torch.Tensor) -> Judgement:
            presence = torch.tensor([0.25])
            answer = super().forward(films)
            mixed = with_presence(answer.region_probabilities, presence)
            return answer._replace(region_probabilities=mixed, presence=presence)

    ill = film(disease=(UPPER_RIGHT,))
    sure = scorer(explain=True).score(ill)
    unsure = BSNetScorer(Unsure(), torch.device("cpu"), explain=True).score(ill)
    assert isinstance(sure, SeverityResult)
    assert isinstance(unsure, SeverityResult)
    assert (sure.score, unsure.score) == (4, 0)
    whole, quarter = (
        float(result.explanation.parameters["largest_drop"])
        for result in (sure, unsure)
        if result.explanation
    )
    assert quarter == pytest.approx(whole / 4, rel=0.01)


def test_every_setting_that_changes_a_result_is_part_of_the_algorithm() -> None:
    changes: list[dict[str, object]] = [
        {"decision": Decision.MEDIAN},
        {"temperature": 2.0},
        {"class_bias": (0.1, 0.0, 0.0, 0.0)},
        {"mirrored": True},
        {"preprocessing": Preprocessing.CLAHE},
        {"window_percentiles": (1.0, 99.0)},
        {"reduce_first": False},
        {"members": 2},
        {"align": False},
        {"input_shape": (64, 64)},
        {"weights_sha256": "b"},
    ]
    digests = {BSNetScorer(ClosedForm(), torch.device("cpu")).algorithm.digest}
    for change in changes:
        spec = replace(SPEC, **change)
        digests.add(BSNetScorer(ClosedForm(spec), torch.device("cpu")).algorithm.digest)
    assert len(digests) == len(changes) + 1
    licensed = BSNetScorer(ClosedForm(replace(SPEC, licence="other")), torch.device("cpu"))
    assert licensed.algorithm.digest in digests


def test_saved_networks_score_from_their_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = [build_bsnet(SPEC), build_bsnet(SPEC)]
    written = save_bsnet(networks, SPEC, tmp_path)
    loaded = BSNetScorer.load(tmp_path, threads=1)
    assert loaded.algorithm.name == "bs-net"
    assert loaded.algorithm.weights == {"bs-net": written.weights_sha256}
    first, second = loaded.score(film()), loaded.score(film())
    assert isinstance(first, NotAssessable | SeverityResult)
    assert type(first) is type(second)
    assert first.algorithm == second.algorithm


def test_missing_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*bsnet\.json"):
        BSNetScorer.load(tmp_path)


def test_the_baseline_scores_no_film() -> None:
    with pytest.raises(CheckpointError, match="find no lungs"):
        BSNetScorer(ClosedForm(PRESETS["all-in-one"]), torch.device("cpu"))
