"""What learns in each phase, the settings, the labels, and the fit of pooled heads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bsnet.network import BSNet, build_bsnet
from models.bsnet.regions import PooledHead
from models.bsnet.spec import PARITY
from tests.training.tiny_bsnet import TINY, film
from training.bsnet.batches import Batch
from training.bsnet.films import as_grid, reader_label, with_paper_split
from training.bsnet.objectives import everything_losses, heads_losses
from training.bsnet.phases import TRAINED, freeze, parameter_groups
from training.bsnet.pseudo_labels import Teacher, ZoneFacts, normal_distribution, score_distribution
from training.bsnet.settings import PHASES, Loss, read_training, training_from
from training.learning.config import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs" / "bsnet").glob("*.toml"))


@pytest.fixture(scope="module")
def network() -> BSNet:
    torch.manual_seed(1)
    return build_bsnet(TINY)


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_trains_its_parts_and_no_others(network: BSNet, phase: str) -> None:
    freeze(network, phase)

    for name in ("encoder", "decoder", "aligner", "heads"):
        part = getattr(network, name)
        learns = name in TRAINED[phase]
        assert all(parameter.requires_grad == learns for parameter in part.parameters()), name
        assert part.training == learns


def test_the_phases_are_the_papers_and_then_ours() -> None:
    assert [set(TRAINED[phase]) for phase in PHASES] == [
        {"encoder", "decoder"},
        {"aligner"},
        {"heads"},
        {"encoder", "decoder", "aligner", "heads"},
        {"presence"},
    ]


def test_frozen_parts_do_not_move_when_the_heads_learn(network: BSNet) -> None:
    freeze(network, "heads")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = Batch(
        torch.rand(4, 1, 64, 64),
        torch.ones(4, 1, 64, 64),
        torch.tensor([True] * 4),
        torch.full((4, 3, 2, 4), 0.25),
    )
    optimizer = torch.optim.AdamW(parameter_groups(network, "heads", 1.0), lr=0.1)

    heads_losses(network, batch, Loss())["score"].backward()
    optimizer.step()

    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("heads.") for name in moved)


def test_in_the_last_phase_the_regions_loss_reaches_every_part(network: BSNet) -> None:
    freeze(network, "everything")
    batch = Batch(
        torch.rand(2, 1, 64, 64),
        torch.zeros(2, 1, 64, 64),
        torch.tensor([False, False]),
        torch.full((2, 3, 2, 4), 0.25),
    )
    torch.nn.init.normal_(network.heads["hard"].dense.weight)  # type: ignore[union-attr, arg-type]

    losses = everything_losses(network, batch, Loss(), with_lungs=True)
    losses["score"].backward()

    assert set(losses) == {"score"}  # no film has lungs to learn from
    for name in ("encoder", "decoder", "aligner", "heads"):
        gradients = [one.grad for one in getattr(network, name).parameters() if one.grad is not None]
        assert any(float(gradient.abs().sum()) > 0 for gradient in gradients), name


def test_the_last_phase_learns_slowly_where_it_should_and_an_encoder_may_stay_frozen(network: BSNet) -> None:
    shares = [group["part"] for group in parameter_groups(network, "everything", 0.1)]

    assert shares == [0.1, 0.1, 0.1, 1.0]
    freeze(network, "lungs", frozen=["encoder"])
    assert not any(one.requires_grad for one in network.encoder.parameters())
    assert not network.encoder.training
    assert all(one.requires_grad for one in network.decoder.parameters())  # type: ignore[union-attr]


def test_kept_statistics_leave_batch_norm_alone_but_let_it_learn(network: BSNet) -> None:
    freeze(network, "everything", keep_statistics=True)

    assert not network.encoder.training
    assert all(one.requires_grad for one in network.encoder.parameters())
    assert network.heads.training


def test_the_parity_encoder_keeps_its_film_norm_without_scale() -> None:
    parity = build_bsnet(replace(PARITY, input_shape=(64, 64)))

    freeze(parity, "everything")

    assert not parity.encoder.film_norm.weight.requires_grad  # type: ignore[union-attr]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_read(path: Path) -> None:
    training = read_training(path)

    assert set(training.phases) <= set(PHASES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"network": {"preset": "small"}}, "write one of paper, parity, compact"),
        ({"phase": 1}, "unknown key phase"),
        ({"protocol": "magic"}, "write one of scratch, fine-tune, full"),
        ({"augmentation": "some"}, "write one of none, brightness-contrast, geometric, all, code"),
        ({"films": {"split": "x"}}, "write one of manifest, paper"),
        ({"phases": {"dessert": {"epochs": 1}}}, "unknown phase dessert"),
        ({"phases": {"heads": {"epochs": 1, "batch_size": 1}}}, "batch_size from 2"),
        ({"films": {"colour": 1}}, "unknown key colour"),
        ({"loss": {"alpha": 1.5}}, "alpha lie in 0 to 1"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said(content: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training_from(content, "a.toml")


def test_a_label_is_the_senior_readers_score_or_a_mixture() -> None:
    one = film(readers=([0, 1, 2, 3, 0, 1], [1, 1, 2, 3, 0, 1]))

    assert reader_label(one, 1.0)[0, 0].tolist() == [1, 0, 0, 0]  # zone A
    assert reader_label(one, 0.75)[0, 0].tolist() == [0.75, 0.25, 0, 0]
    assert reader_label(one, 1.0)[2, 0].argmax() == 2  # zone C
    assert reader_label(one, 1.0)[0, 1].argmax() == 3  # zone D
    assert as_grid(np.arange(6)).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_papers_split_takes_films_with_a_score_alone_three_to_one() -> None:
    films = [film(f"a_{number}", ([0] * 6,)) for number in range(40)] + [film("b_1")]

    split = with_paper_split(films)

    assert len(split) == 40
    assert sum(one.split == "test" for one in split) == 10
    assert sum(one.split == "val" for one in split) == 3
    assert [one.split for one in split] == [one.split for one in with_paper_split(films)]


def test_a_distribution_sums_to_one_and_lies_around_the_score() -> None:
    distribution = score_distribution(np.array([0.0, 1.0, 2.5, 3.4]), 0.5)

    assert np.allclose(distribution.sum(axis=-1), 1)
    assert distribution.argmax(axis=-1)[[0, 1, 3]].tolist() == [0, 1, 3]
    assert distribution[2, 2] == pytest.approx(distribution[2, 3], abs=0.05)
    assert (normal_distribution().argmax(axis=-1) == 0).all()


def test_the_teacher_learns_scores_from_shares_and_uses_published_outputs_where_there_are_any() -> None:
    generator = np.random.default_rng(1)
    scores = generator.integers(0, 4, (40, 6)).astype(np.float64)
    films = [film(f"a_{number}", (scores[number].tolist(),)) for number in range(40)]
    own = {
        one.name: row[:, None] + generator.normal(0, 1.0, (6, 1))
        for one, row in zip(films, scores, strict=True)
    }
    published = {one.name: row[:, None] * 2.0 for one, row in zip(films, scores, strict=True)}

    alone = Teacher.fit(films[:30], scores[:30], ZoneFacts(own, {}))
    both = Teacher.fit(films[:30], scores[:30], ZoneFacts(own, published))

    def error(teacher: Teacher) -> float:
        guesses = np.array([teacher.scores(one) for one in films[30:]])
        return float(np.abs(guesses - scores[30:]).mean())

    chance = float(np.abs(scores[30:] - scores[:30].mean()).mean())
    assert alone.joint is None
    assert error(both) < error(alone) < chance


def test_pooled_regions_change_with_their_own_region_alone() -> None:
    torch.manual_seed(2)
    head = PooledHead(TINY, (2, 2, 2, 2)).eval()
    levels = [torch.rand(1, 2, side, side) for side in (32, 16, 8, 4)]
    changed = [level.clone() for level in levels]
    for level in changed:
        level[..., : level.shape[2] // 4, level.shape[3] // 2 :] += 1.0  # the image's right, high up

    moved = (head(changed) - head(levels)).abs().sum(-1)[0] > 1e-6

    assert moved.tolist() == [[False, True], [False, False], [False, False]]
