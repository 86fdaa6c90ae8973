import numpy as np
import pytest
import torch

from training.learning.augment import Augmenter
from training.learning.config import ConfigError, read_config
from training.learning.losses import brixia_shares, mask_loss, opacity_losses, zone_shares
from training.learning.settings import Augmentation, OpacityLoss


def quadrants():
    zones = torch.zeros(1, 1, 4, 6, dtype=torch.uint8)
    for zone in range(6):
        zones[0, 0, :, zone] = zone + 1
    return zones


def test_mask_loss_is_small_for_the_truth_and_large_for_its_opposite():
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, :4] = 1
    right = mask_loss((target - 0.5) * 40, target)
    wrong = mask_loss((0.5 - target) * 40, target)
    assert right.shape == (2,)
    assert right.max() < 0.01
    assert wrong.min() > 10


def test_mask_loss_ignores_what_is_outside():
    target, where = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    where[..., :2] = 1
    logits = torch.full((1, 1, 4, 4), -20.0)
    logits[..., 2:] = 20
    assert mask_loss(logits, target, where) < 0.01


def test_zone_shares_are_means_by_zone():
    probability = torch.arange(6.0).div(5).expand(1, 1, 4, 6)
    torch.testing.assert_close(zone_shares(probability, quadrants())[0], torch.arange(6.0) / 5)


def test_zones_travel_with_a_flip():
    probability = torch.arange(6.0).div(5).expand(1, 1, 4, 6)
    flipped = zone_shares(probability.flip(-1), quadrants().flip(-1))
    torch.testing.assert_close(flipped, zone_shares(probability, quadrants()))


def test_brixia_shares():
    shares = brixia_shares(torch.tensor([0.0, 0.5, 3.0, float("nan")]))
    assert shares[:3].tolist() == pytest.approx([0.02, 0.135, 0.75])
    assert shares[3].isnan()


NAN = float("nan")


def opacity_parts(logits, **labels):
    maps = {"zones": quadrants(), "lungs": torch.ones(1, 1, 4, 6, dtype=torch.uint8)}
    for name in ("opacity", "boxes", "guess"):
        maps[name] = labels.pop(name, torch.zeros(1, 1, 4, 6, dtype=torch.uint8))
    known = {name: torch.zeros(1) for name in ("has_mask", "has_boxes", "normal", "guess_weight")}
    known |= {name: torch.full((1, 6), NAN) for name in ("teacher", "brixia", "zones")}
    known |= {name: torch.full((1,), NAN) for name in ("consensus", "presence")}
    known |= {name: torch.tensor(value) for name, value in labels.items()}
    return opacity_losses((logits, torch.zeros(1, 1)), maps, known, OpacityLoss())


def test_a_film_without_labels_teaches_nothing():
    parts = opacity_parts(torch.randn(1, 1, 4, 6))
    assert all(float(value) == 0 for value in parts.values())


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("mask", {"has_mask": [1.0]}),
        ("guess", {"guess_weight": [0.5]}),
        ("normal", {"normal": [1.0]}),
        ("boxes", {"has_boxes": [1.0]}),
        ("teacher", {"teacher": [[0.0] * 6]}),
        ("brixia", {"brixia": [[0.0] * 6]}),
        ("score", {"consensus": [0.0]}),
        ("zones", {"zones": [[0.0] * 6]}),
        ("zones", {"zones": [[NAN, 0.0, NAN, NAN, NAN, NAN]]}),
    ],
)
def test_each_label_teaches_its_part_and_in_the_right_direction(name, labels):
    full, empty = (opacity_parts(torch.full((1, 1, 4, 6), value), **labels) for value in (9.0, -9.0))
    assert [part for part, value in full.items() if float(value) > 0] == [name]
    if name != "boxes":  # an empty map has nothing in the boxes, of which there are none here
        assert float(empty[name]) < 0.1 * float(full[name])


def test_boxes_want_something_inside_and_nothing_outside():
    boxes = torch.zeros(1, 1, 4, 6, dtype=torch.uint8)
    boxes[..., :3] = 1
    inside = torch.full((1, 1, 4, 6), -9.0)
    inside[..., :3] = 9
    losses = [
        float(opacity_parts(logits, has_boxes=[1.0], boxes=boxes)["boxes"])
        for logits in (inside, -inside, torch.full_like(inside, -9.0))
    ]
    assert losses[0] < 0.01
    assert losses[1] > losses[2] > 0.1


def test_score_is_the_count_of_involved_zones():
    logits = torch.full((1, 1, 4, 6), -9.0)
    logits[..., :2] = 9
    assert float(opacity_parts(logits, consensus=[2.0])["score"]) < 0.01
    assert float(opacity_parts(logits, consensus=[4.0])["score"]) > 0.3


def test_zones_are_judged_one_by_one():
    logits = torch.full((1, 1, 4, 6), -9.0)
    logits[..., :2] = 9
    right = opacity_parts(logits, zones=[[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])["zones"]
    same_count = opacity_parts(logits, zones=[[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])["zones"]
    unsaid = opacity_parts(logits, zones=[[NAN, 1.0, NAN, NAN, NAN, 0.0]])["zones"]
    assert float(right) < 0.02
    assert float(unsaid) < 0.02
    assert float(same_count) > 1


def test_augmentation_moves_views_and_maps_together():
    generator = torch.Generator().manual_seed(4)
    views = (torch.rand(6, 1, 8, 8, generator=generator) > 0.5).to(torch.uint8)
    views = views.repeat_interleave(8, 2).repeat_interleave(8, 3) * 255
    still = Augmentation(gamma=0, contrast=0, brightness=0, bias=0, noise=0, blur=0, erase=0)
    warped, maps = Augmenter(still, 1)(views, views // 255, 64)
    assert warped.shape == (6, 1, 64, 64)
    assert ((warped > 0.5) == (maps > 0)).float().mean() > 0.97
    assert (warped - views.float() / 255).abs().mean() > 0.05


def test_augmentation_is_reproducible_and_bounded():
    views = torch.randint(0, 255, (4, 1, 40, 40), dtype=torch.uint8)
    first, second, other = (Augmenter(Augmentation(), seed)(views, views > 9, 32)[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_no_augmentation_changes_nothing():
    none = Augmentation(**dict.fromkeys(Augmentation.__dataclass_fields__, 0.0))
    views = torch.randint(0, 255, (4, 1, 32, 32), dtype=torch.uint8)
    result, _ = Augmenter(none, 1)(views, views, 32)
    np.testing.assert_allclose(result, views.float() / 255, atol=2e-4)


@pytest.mark.parametrize("name", ["lungs", "opacity"])
def test_shipped_configurations_are_read(name):
    from importlib.resources import files

    config = read_config(files("training") / "configs" / f"{name}.toml")
    assert config.spec.role == name
    assert config.schedule.resolutions[-1] == (config.spec.input_shape[0], 1.0)


SMALL = "[network]\nrole='lungs'\narchitecture='a'\nencoder='b'\ninput_shape=[1,1]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = 2", "unknown key seeds"),
        ("[network]\nrole = 'heart'", "heart"),
        ("[network]\nrole = 'lungs'", "missing"),
        (f"[schedule]\nepoch = 3\n{SMALL}", "epoch"),
        ("=", "cannot read"),
    ],
)
def test_wrong_configurations_are_told(tmp_path, text, words):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(path)


def test_negatives_are_no_films_and_have_no_labels():
    rows = torch.linspace(0, 255, 48).to(torch.uint8)[:, None].expand(48, 48)
    views = rows.expand(200, 1, 48, 48).contiguous()
    still = dict.fromkeys(Augmentation.__dataclass_fields__, 0.0)
    changed, maps = Augmenter(Augmentation(**(still | {"negatives": 0.25})), 3)(views, views // 255 + 1, 48)
    plain, _ = Augmenter(Augmentation(**still), 3)(views, views, 48)
    negative = (maps == 0).flatten(1).all(1)
    assert 0.15 < negative.float().mean() < 0.35
    assert (maps[~negative] > 0).all()
    torch.testing.assert_close(changed[~negative], plain[~negative])
    assert ((changed[negative] - plain[negative]).abs().mean((1, 2, 3)) > 0.05).all()
    assert changed.min() >= 0
    assert changed.max() <= 1
