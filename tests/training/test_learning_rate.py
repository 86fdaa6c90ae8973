import csv
import dataclasses
import math

import numpy as np
import pytest
import torch

from training import find_learning_rate
from training.data.dataset import read_manifest
from training.learning.config import read_config
from training.learning.learning_rate import Curve, NoDescent, rising_rates, sweep, write_curve
from training.learning.run_films import training_batches
from training.learning.run_options import RunOptions
from training.learning.settings import Objective, Schedule
from training.train import new_learner


def test_rates_rise_from_1e_5_to_1_in_100_steps():
    rates = rising_rates()
    assert len(rates) == 100
    assert rates[0] == pytest.approx(1e-5)
    assert rates[-1] == pytest.approx(1.0)
    assert np.ptp(np.diff(np.log(rates))) < 1e-9


def test_the_suggestion_is_where_a_sigmoid_falls_steepest():
    rates = rising_rates()
    losses = tuple(1 / (1 + math.exp(8 * (math.log10(rate) + 3))) for rate in rates)
    suggestion = Curve(rates, losses).suggestion
    assert 1e-3 <= suggestion < 1e-2  # smoothing comes late, never early


def test_smoothing_has_no_bias_at_its_start():
    np.testing.assert_allclose(Curve(rising_rates(), (0.7,) * 100).smoothed, 0.7)


def test_a_loss_that_never_falls_suggests_nothing():
    with pytest.raises(NoDescent, match="lower rates"):
        _ = Curve(rising_rates(count=5), (1.0, 2.0, 3.0, 4.0, 5.0)).suggestion


def quadratic(curvature=1.0):
    """Gradient descent on curvature/2 w²: every rate above 2/curvature diverges."""
    weight = [1.0]

    def step(rate):
        loss = curvature / 2 * weight[0] ** 2
        weight[0] -= rate * curvature * weight[0]
        return loss

    return step


def test_a_quadratic_falls_and_then_diverges():
    curve = sweep(quadratic(curvature=400.0), rising_rates())
    assert len(curve.rates) < 100  # 2/400 = 5e-3 is the last stable rate; the sweep ends some steps beyond
    assert curve.rates[-1] > 5e-3
    assert 1e-4 < curve.suggestion < 5e-3


def test_the_sweep_ends_where_the_loss_is_no_number():
    losses = iter([1.0, 0.9, float("nan"), 0.1])
    assert sweep(lambda _: next(losses), rising_rates(count=4)).losses == (1.0, 0.9)


def test_curve_files(tmp_path):
    curve = sweep(quadratic(curvature=400.0), rising_rates())
    table, picture = write_curve(curve, tmp_path / "new")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["rate"]) for row in rows] == list(curve.rates)
    assert [float(row["smoothed"]) for row in rows] == curve.smoothed.tolist()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_network_is_left_as_it_was(configs, data_folder, tmp_path):
    config = dataclasses.replace(
        read_config(configs / "lungs.toml"),
        objective=Objective(kind="two_task"),
        schedule=Schedule(batch_size=4, augmentation="paper"),
    )
    options = RunOptions(data=data_folder, out=tmp_path)
    learner = new_learner(config, options)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    random = torch.get_rng_state()
    batches = training_batches(config, options, read_manifest(data_folder)[:6])
    rates = rising_rates(first=1e-3, last=1e-2, count=4)
    curve = find_learning_rate.learning_rate_curve(config, learner, batches, rates)
    assert curve.rates == rates
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    assert not learner.optimizer.state_dict()["state"]
    assert learner.optimizer.param_groups[0]["lr"] == 3e-3
    assert torch.equal(torch.get_rng_state(), random)


def test_the_command_refuses_a_senseless_sweep(configs, data_folder, tmp_path, monkeypatch):
    arguments = [
        "x",
        "--config",
        str(configs / "lungs.toml"),
        "--data",
        str(data_folder),
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", [*arguments, "--first", "1", "--last", "0.1"])
    with pytest.raises(SystemExit, match="error: the sweep needs"):
        find_learning_rate.main()
