import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.checkpoint import NetworkSpec, Role, build_network, save_checkpoint
from models.errors import CheckpointError
from models.result import NotAssessable, NotAssessableReason, SeverityResult, Side
from models.segmenter import Segmenter
from models.severity import Involvement, SeverityScorer

LUNGS = NetworkSpec(
    Role.LUNGS, "unet", "resnet18", (128, 128), channel_mean=(0.0,), channel_std=(1.0,), weights_sha256="a"
)
OPACITY = NetworkSpec(
    Role.OPACITY,
    "unet",
    "resnet18",
    (128, 128),
    channel_mean=(0.0,),
    channel_std=(1.0,),
    involvement_threshold=0.3,
    weights_sha256="b",
)
TISSUE, LUNG, DISEASE = 0.3, 0.8, 1.0


def bright(above):
    """A network in closed form: what is brighter than a limit."""
    return lambda batch: ((batch[0, 0] - above) * 40, None)


@pytest.fixture
def scorer():
    return SeverityScorer(Segmenter(LUNGS, bright(0.6)), Segmenter(OPACITY, bright(0.9)))


def film(shape=(400, 360), disease=(), lungs=("right", "left")):
    """Two elliptic lungs on tissue; ``disease`` lists (rows, columns) slices within the lungs."""
    rows, columns = shape
    mask = np.zeros(shape, np.uint8)
    for name, centre in (("right", 0.29), ("left", 0.71)):
        if name in lungs:
            axes = (int(0.16 * columns), int(0.36 * rows))
            cv2.ellipse(mask, (int(centre * columns), rows // 2), axes, 0, 0, 360, 1, -1)
    pixels = np.where(mask > 0, LUNG, TISSUE).astype(np.float32)
    for part in disease:
        pixels[part] = np.where(mask[part] > 0, DISEASE, pixels[part])
    pixels[0, :2] = (0.0, 1.0)  # the whole range is there: the window changes nothing
    return pixels


UPPER_RIGHT = (slice(0, 150), slice(0, 180))
LOWER_LEFT = (slice(250, 400), slice(180, 360))


def test_healthy_film_scores_zero(scorer):
    result = scorer.score(film())
    assert isinstance(result, SeverityResult)
    assert result.score == 0
    assert result.score_max == 6
    assert not result.opacity_mask.any()


def test_diseased_zones_are_named_by_the_patients_side(scorer):
    result = scorer.score(film(disease=[UPPER_RIGHT, LOWER_LEFT]))
    assert isinstance(result, SeverityResult)
    assert [zone.name for zone in result.zones if zone.score] == ["right upper", "left lower"]
    assert result.score == 2


def test_everything_is_in_the_films_geometry(scorer):
    pixels = film((700, 500), disease=[(slice(0, 350), slice(0, 250))])
    result = scorer.score(pixels)
    assert isinstance(result, SeverityResult)
    assert result.zone_map.shape == result.opacity_mask.shape == (700, 500)
    truth = pixels > 0.6
    overlap = 2 * (truth & result.lung_mask).sum() / (truth.sum() + result.lung_mask.sum())
    assert overlap > 0.98
    assert not (result.opacity_mask & ~result.lung_mask).any()
    measured = sum(zone.opacity_area_px for zone in result.zones)
    assert measured == pytest.approx((pixels == DISEASE).sum(), rel=0.05)
    assert {zone.side for zone in result.zones if zone.opacity_area_px} == {Side.RIGHT}


def test_size_of_the_film_does_not_change_the_score(scorer):
    small = film(disease=[UPPER_RIGHT])
    large = np.kron(small, np.ones((5, 5), np.float32))
    shares = [[zone.involved_fraction for zone in scorer.score(pixels).zones] for pixels in (small, large)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.03)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (film(lungs=()), NotAssessableReason.NO_LUNGS),
        (film(lungs=("right",)), NotAssessableReason.ONE_LUNG),
        (film(lungs=("left",)), NotAssessableReason.ONE_LUNG),
        (np.ascontiguousarray(film().T), NotAssessableReason.IMPLAUSIBLE_LUNGS),
        (np.zeros((64, 64), np.float32), NotAssessableReason.NO_LUNGS),
        (np.ones((64, 64), np.float32), None),
    ],
)
def test_without_two_lungs_there_is_no_score(scorer, pixels, reason):
    result = scorer.score(pixels)
    assert isinstance(result, NotAssessable)
    assert reason is None or result.reason is reason
    assert result.lung_mask.shape == pixels.shape
    assert result.message.endswith(".")


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_blank_film_has_no_lungs_whatever_the_network_says(level):
    everywhere = Segmenter(LUNGS, bright(-1.0))
    noise = np.random.default_rng(1).normal(0, 0.002, (300, 300))
    blank = np.clip(level + noise, 0, 1).astype(np.float32)
    result = SeverityScorer(everywhere, Segmenter(OPACITY, bright(0.9))).score(blank)
    assert isinstance(result, NotAssessable)
    assert result.reason is NotAssessableReason.NO_LUNGS
    assert "one grey value" in result.message


def test_classification_head_can_say_nothing_is_there():
    quiet = Segmenter(OPACITY, lambda batch: (bright(0.9)(batch)[0], -0.1))
    result = SeverityScorer(Segmenter(LUNGS, bright(0.6)), quiet).score(film(disease=[UPPER_RIGHT]))
    assert isinstance(result, SeverityResult)
    assert result.score == 0


def test_stage_two_sees_black_outside_the_lungs(scorer):
    seen = []

    def watching(batch):
        seen.append(batch.copy())
        return bright(0.9)(batch)

    SeverityScorer(Segmenter(LUNGS, bright(0.6)), Segmenter(OPACITY, watching)).score(film())
    view = seen[0][0, 0]
    assert view[0, 0] == 0  # a corner of the lungs' box
    assert ((view > 0.05) & (view < 0.7)).mean() < 0.05  # tissue is gone, but for the blended edge


def test_merged_lungs_are_separated_with_a_warning(scorer):
    pixels = film()
    pixels[195:205, 100:260] = LUNG
    pixels[190:210, 150:210] = LUNG
    result = scorer.score(pixels)
    assert isinstance(result, SeverityResult)
    assert any("separated by force" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((10, 10)),
        np.zeros((10, 10, 3), np.float32),
        np.full((10, 10), 1.5, np.float32),
        np.full((10, 10), np.nan, np.float32),
        np.zeros((0, 4), np.float32),
    ],
)
def test_wrong_pixels_are_refused(scorer, pixels):
    with pytest.raises(ValueError, match="pixels"):
        scorer.score(pixels)


def test_identity_changes_with_what_changes_a_result(scorer):
    other = SeverityScorer(
        Segmenter(LUNGS, bright(0.6)),
        Segmenter(NetworkSpec(**{**vars(OPACITY), "involvement_threshold": 0.31}), bright(0.9)),
    )
    assert scorer.algorithm.digest != other.algorithm.digest
    assert scorer.algorithm.weights == {"lungs": "a", "opacity": "b"}
    assert scorer.score(film()).algorithm == scorer.algorithm


def test_a_threshold_is_needed():
    spec = NetworkSpec(**{**vars(OPACITY), "involvement_threshold": None})
    with pytest.raises(CheckpointError, match="involvement_threshold"):
        SeverityScorer(Segmenter(LUNGS, bright(0.6)), Segmenter(spec, bright(0.9)))


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    torch.manual_seed(11)
    folder = tmp_path_factory.mktemp("weights")
    tiny = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
    for plain in (LUNGS, OPACITY):
        head = plain.role is Role.OPACITY
        spec = NetworkSpec(**{**vars(plain), "options": tiny, "classification_head": head})
        save_checkpoint(build_network(spec), spec, folder)
    return folder


def test_loaded_scorer_is_deterministic(random_weights):
    pixels = film(disease=[UPPER_RIGHT])
    results = [SeverityScorer.load(random_weights, threads=1).score(pixels) for _ in range(2)]
    assert type(results[0]) is type(results[1])
    np.testing.assert_array_equal(results[0].lung_mask, results[1].lung_mask)
    assert results[0].algorithm == results[1].algorithm


def test_another_engine_can_take_over(random_weights):
    built = []

    def backend(network, spec):
        built.append(spec.role)
        return bright(0.6 if spec.role is Role.LUNGS else 0.9)

    scorer = SeverityScorer.load(random_weights, backend=backend)
    assert built == [Role.LUNGS, Role.OPACITY]
    assert scorer.score(film(disease=[UPPER_RIGHT])).score == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_cuda_without_a_gpu_is_told(random_weights):
    with pytest.raises(CheckpointError, match="finds no GPU"):
        SeverityScorer.load(random_weights, device="cuda")
    SeverityScorer.load(random_weights, device="auto")


def test_missing_weights_are_told(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        SeverityScorer.load(tmp_path)


def test_results_need_no_torch():
    code = "import sys, models, models.result, models.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_mirrored_network_is_another_algorithm(scorer):
    mirrored = Segmenter(replace(OPACITY, mirrored=True), bright(0.9))
    algorithm = SeverityScorer(Segmenter(LUNGS, bright(0.6)), mirrored).algorithm
    assert algorithm.parameters["opacity_mirrored"] == "averaged"
    assert "opacity_mirrored" not in scorer.algorithm.parameters
    assert algorithm.digest != scorer.algorithm.digest


def test_sharp_rule_is_the_papers():
    shares = np.array([[0.09, 0.64, 0.57, 0.01, 0.54, 0.33]])  # Danilov et al. 2022, Fig. 6
    assert Involvement(0.5).involved(shares).sum() == 3
    assert Involvement(0.31).involved(shares).sum() == 4
    assert not Involvement(0.33).involved(shares)[0, 5]  # "more than"


def test_a_width_rounds_the_expected_number_of_zones():
    rule = Involvement(0.25, 0.1)
    little_below, little_above = np.full(6, 0.24), np.full(6, 0.26)
    assert rule.involved(little_below).sum() == rule.involved(little_above).sum() == 3
    assert rule.involved(np.zeros(6)).sum() == 0  # no opacity, no zone, whatever the chances add up to
    assert rule.involved(np.array([0.3, 0, 0, 0, 0, 0])).tolist() == [True] + [False] * 5
    assert rule.involved(np.full(6, 0.9)).all()


@given(
    shares=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    threshold=st.floats(0.05, 0.6),
    width=st.floats(0.001, 0.3),
)
def test_involved_zones_are_those_with_the_largest_shares(shares, threshold, width):
    shares = np.array(shares)
    involved = Involvement(threshold, width).involved(shares)
    assert not involved[shares == 0].any()
    if involved.any() and not involved.all():
        assert shares[involved].min() >= shares[~involved].max()
    more = Involvement(threshold, width).involved(np.minimum(shares + 0.05, 1.0))
    assert more.sum() >= involved.sum()


def test_a_vanishing_width_is_the_sharp_rule():
    shares = np.random.default_rng(1).random((50, 6))
    sharp, narrow = Involvement(0.3).involved(shares), Involvement(0.3, 1e-6).involved(shares)
    np.testing.assert_array_equal(sharp, narrow)
