import numpy as np
import pytest

from training.learning.config import ConfigError
from training.learning.paper_augment import Changes, PaperAugmentation, PaperAugmentationSettings, apply

STEPS = {"clip_limit": 0.2, "crop": 0.2, "degrees": 0.5, "flip": 0.5, "brightness_contrast": 0.2}


@pytest.fixture(scope="module")
def drawn():
    generator = np.random.default_rng(7)
    augment = PaperAugmentation()
    return [augment.draw(generator) for _ in range(10_000)]


@pytest.fixture
def film():
    generator = np.random.default_rng(1)
    film = generator.integers(0, 256, (90, 120), np.uint8)
    return np.asarray(film // 2 + np.linspace(0, 100, 120), np.uint8)


@pytest.fixture
def masks(film):
    lungs = np.zeros_like(film)
    lungs[20:70, 15:50] = 1
    zones = lungs * 4
    return np.stack([lungs, zones])


@pytest.mark.parametrize(("step", "probability"), STEPS.items())
def test_probabilities(drawn, step, probability):
    count = sum(getattr(changes, step) not in (None, False) for changes in drawn)
    deviation = np.sqrt(10_000 * probability * (1 - probability))
    assert abs(count - 10_000 * probability) < 4 * deviation


def test_steps_are_independent(drawn):
    both = sum(changes.flip and changes.degrees is not None for changes in drawn)
    assert abs(both - 2500) < 4 * np.sqrt(10_000 * 0.25 * 0.75)


def test_ranges(drawn):
    degrees = [changes.degrees for changes in drawn if changes.degrees is not None]
    assert -15 <= min(degrees) < -14.9
    assert 14.9 < max(degrees) <= 15
    heights = [changes.crop[0] for changes in drawn if changes.crop]
    assert 0.7 <= min(heights) < 0.705
    assert 0.895 < max(heights) <= 0.9
    clips = [changes.clip_limit for changes in drawn if changes.clip_limit is not None]
    assert 1 <= min(clips) < 1.05
    assert 3.95 < max(clips) <= 4
    for part in range(2):
        values = [changes.brightness_contrast[part] for changes in drawn if changes.brightness_contrast]
        assert -0.2 <= min(values) < -0.195
        assert 0.195 < max(values) <= 0.2


def test_same_generator_same_film(film, masks):
    augment = PaperAugmentation()
    results = [augment(film, masks, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert all(np.array_equal(*pair) for pair in zip(results[0], results[1], strict=True))
    differs = [
        not np.array_equal(augment(film, masks, np.random.default_rng(seed))[0], film) for seed in range(40)
    ]
    assert 0.6 < np.mean(differs) < 1


def test_a_step_that_is_switched_off_leaves_the_others_as_they_were():
    whole = PaperAugmentation().draw(np.random.default_rng(5))
    for seed in range(50):
        whole = PaperAugmentation().draw(np.random.default_rng(seed))
        without = PaperAugmentation(PaperAugmentationSettings(rotate=0.0)).draw(np.random.default_rng(seed))
        assert without.degrees is None
        assert (without.crop, without.flip, without.clip_limit) == (whole.crop, whole.flip, whole.clip_limit)


def test_nothing_drawn_changes_nothing(film, masks):
    same, same_masks = apply(Changes(), film, masks)
    assert np.array_equal(same, film)
    assert np.array_equal(same_masks, masks)


def test_flip(film, masks):
    flipped, flipped_masks = apply(Changes(flip=True), film, masks)
    assert np.array_equal(flipped, film[:, ::-1])
    assert np.array_equal(flipped_masks, masks[:, :, ::-1])
    assert flipped.flags.c_contiguous
    assert flipped_masks.flags.c_contiguous


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [
        ((0.7, 0.0, 0.0), slice(0, 63), slice(0, 63)),
        ((0.9, 0.999999, 0.999999), slice(9, 90), slice(39, 120)),
        ((0.8, 0.5, 0.25), slice(9, 81), slice(12, 84)),
    ],
)
def test_crops_are_square_shares_of_the_shorter_side(film, masks, crop, rows, columns):
    cropped, cropped_masks = apply(Changes(crop=crop), film, masks)
    assert np.array_equal(cropped, film[rows, columns])
    assert np.array_equal(cropped_masks, masks[:, rows, columns])


def test_crops_of_tall_and_tiny_films():
    tall = np.arange(40, dtype=np.uint8)[:, None].repeat(10, 1)
    assert apply(Changes(crop=(0.9, 0.99, 0.99)), tall, tall[None])[0].shape == (9, 9)
    assert apply(Changes(crop=(0.7, 0.5, 0.5)), tall[:1, :1], tall[None, :1, :1])[0].shape == (1, 1)


def test_rotation_turns_film_and_masks_alike(film):
    square = np.zeros((101, 101), np.uint8)
    square[30:70, 40:60] = 255
    turned, turned_masks = apply(Changes(degrees=15.0), square, (square // 255)[None])
    assert (
        np.array_equal(turned > 127, turned_masks[0] == 1)
        or np.mean((turned > 127) != turned_masks[0]) < 0.01
    )
    back, back_masks = apply(Changes(degrees=-15.0), turned, turned_masks)
    assert np.mean((back > 127) != (square > 127)) < 0.01
    assert set(np.unique(back_masks)) == {0, 1}
    # Counter-clockwise: the top of the block moves left.
    assert np.nonzero(turned[35])[0].mean() < 49
    assert np.nonzero(turned[65])[0].mean() > 50


def test_rotation_mirrors_the_film_at_its_border():
    turned, _ = apply(
        Changes(degrees=15.0), np.full((60, 80), 200, np.uint8), np.zeros((0, 60, 80), np.uint8)
    )
    assert (turned == 200).all()


def test_labels_stay_labels(film):
    labels = np.zeros_like(film)
    labels[:45] = 1
    labels[45:] = 6
    for seed in range(30):
        _, changed = PaperAugmentation()(film, labels[None], np.random.default_rng(seed))
        assert set(np.unique(changed)) <= {1, 6}


def test_brightness_and_contrast():
    film = np.array([[0, 50, 100, 250]], np.uint8)
    mask = np.ones((1, 1, 4), np.uint8)
    brighter, same = apply(Changes(brightness_contrast=(0.1, 0.2)), film, mask)
    assert brighter.tolist() == [[26, 86, 146, 255]]  # 1.2 v + 25.5, clipped
    assert np.array_equal(same, mask)
    darker, _ = apply(Changes(brightness_contrast=(-0.2, -0.2)), film, mask)
    assert darker.tolist() == [[0, 0, 29, 149]]


def test_clahe_spreads_grey_values_and_leaves_masks(film, masks):
    dull = np.asarray(100 + film // 16, np.uint8)
    clear, same = apply(Changes(clip_limit=4.0), dull, masks)
    assert clear.std() > 1.5 * dull.std()
    assert np.array_equal(same, masks)
    clearer, _ = apply(Changes(clip_limit=2.0), dull, masks)
    assert clearer.std() < clear.std()


def test_films_without_masks(film):
    none = np.zeros((0, *film.shape), np.uint8)
    for seed in range(20):
        changed, empty = PaperAugmentation()(film, none, np.random.default_rng(seed))
        assert empty.shape[0] == 0
        assert changed.dtype == np.uint8


def test_the_film_given_is_not_changed(film, masks):
    before = film.copy(), masks.copy()
    for seed in range(20):
        PaperAugmentation()(film, masks, np.random.default_rng(seed))
    assert np.array_equal(film, before[0])
    assert np.array_equal(masks, before[1])


def test_masks_of_another_shape(film):
    with pytest.raises(ValueError, match="do not lie on a film"):
        apply(Changes(), film, np.zeros((1, 5, 5), np.uint8))


@pytest.mark.parametrize("settings", [{"flip": 1.5}, {"clahe": -0.1}, {"crop_height": (0.9, 0.7)}])
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match="must lie in 0 to 1"):
        PaperAugmentationSettings(**settings)
