import copy
import dataclasses
import json
import logging
import math
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import training.train as train_module
from models.checkpoint import Role, load_checkpoint
from models.errors import CheckpointError
from models.severity import SeverityScorer
from training.data.dataset import DataError, read_manifest, read_pixels
from training.learning import run_options
from training.learning.batches import FilmBatches, shuffled
from training.learning.config import ConfigError, read_config
from training.learning.early_stopping import EarlyStopping
from training.learning.forward import autocast_type
from training.learning.native_films import LungFilms
from training.learning.optimizers import OPTIMIZERS, build_optimizer
from training.learning.run_films import training_batches
from training.learning.run_options import config_path
from training.learning.run_state import STATE, Learner, Progress, load_state, save_state
from training.learning.settings import Objective, OptimizerSettings, Schedule
from training.learning.validate import validation_figure
from training.train import RunOptions, TrainingError, learning_rate, train


def run(data_folder, out, **changes):
    return RunOptions(data=data_folder, out=out, **changes)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, threads that wait for each other take minutes
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def paper_config(configs):
    """Stage I as the paper trains it, with all that a state must bring back: dropout, EMA, stopping ..."""
    config = read_config(configs / "lungs.toml")
    options = {"encoder_depth": 3, "psp_out_channels": 32}
    return dataclasses.replace(
        config,
        spec=dataclasses.replace(config.spec, architecture="pspnet", options=options),
        objective=Objective(kind="two_task", segmentation="dice", weighting="dynamic"),
        optimizer=OptimizerSettings(name="adamw_amsgrad", learning_rate=2e-3),
        schedule=Schedule(epochs=4, batch_size=4, patience=9, augmentation="paper", ema_decay=0.5),
    )


def test_stage_one_learns(trained):
    _, figures, logs = trained
    assert figures["lungs"] > 0.9
    assert logs["lungs"][-1]["lungs"] < logs["lungs"][0]["lungs"]
    assert [line["epoch"] for line in logs["lungs"]] == list(range(1, 13))
    assert {line["side"] for line in logs["lungs"]} == {48, 64}


def test_stage_two_learns(trained):
    _, _, logs = trained
    first, last = logs["opacity"][0], logs["opacity"][-1]
    assert last["mask"] < first["mask"]
    assert {"mask", "boxes", "normal", "teacher", "score", "brixia", "presence"} < set(first)


def test_checkpoints_load(trained):
    weights, _, _ = trained
    for role in Role:
        _, spec = load_checkpoint(weights, role)
        assert spec.input_shape == (64, 64)
        assert "licences" in spec.training


def test_the_worker_scores_with_what_was_trained(trained, data_folder):
    weights, _, _ = trained
    film = read_manifest(data_folder)[-1]
    result = SeverityScorer.load(weights).score(read_pixels(film.image))
    assert 0 <= result.score <= 6


class Killed(Exception):
    pass


def stop_in(monkeypatch, epoch, step):
    """Kill a run in the middle of an epoch, both counted from 1."""
    original, seen = train_module.one_step, []

    def counted(*arguments):
        seen.append(1)
        if len(seen) == (epoch - 1) * STEPS + step:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(train_module, "one_step", counted)


STEPS = 3


@pytest.mark.parametrize("kind", ["paper", "tensor"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    kind, paper_config, configs, data_folder, tmp_path, monkeypatch, one_thread
):
    config = paper_config
    if kind == "tensor":
        weak = read_config(configs / "lungs.toml")
        config = dataclasses.replace(weak, schedule=dataclasses.replace(weak.schedule, epochs=4))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    best = train(config, run(data_folder, whole, steps=STEPS))
    with monkeypatch.context() as patch:
        stop_in(patch, epoch=3, step=2)
        with pytest.raises(Killed):
            train(config, run(data_folder, stopped, steps=STEPS))
    torch.manual_seed(99)
    assert train(config, run(data_folder, stopped, steps=STEPS)) == best

    first, second = (load_file(folder / STATE) for folder in (whole, stopped))
    assert {name.split(".")[0] for name in first} == {"network", "average", "optimizer", "random"}
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    for name in ("lungs.safetensors", "lungs.json"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    lines = [
        [json.loads(line) | {"elapsed_s": 0} for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (whole, stopped)
    ]
    assert lines[0] == lines[1]


def test_early_stopping_survives_a_stop_and_ends_the_run(
    paper_config, data_folder, tmp_path, monkeypatch, one_thread
):
    schedule = dataclasses.replace(paper_config.schedule, epochs=9, patience=3, min_delta=2.0)
    config = dataclasses.replace(paper_config, schedule=schedule)
    with monkeypatch.context() as patch:
        stop_in(patch, epoch=3, step=1)
        with pytest.raises(Killed):
            train(config, run(data_folder, tmp_path, steps=STEPS))
    train(config, run(data_folder, tmp_path, steps=STEPS))
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4]  # one accepted, then three that are not better by 2


def test_dynamic_weighting_begins_every_epoch_at_one(paper_config, data_folder, tmp_path, one_thread):
    train(paper_config, run(data_folder, tmp_path, steps=1))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["weight_segmentation"] for line in lines] == [1.0] * 4


def test_two_tasks_at_stage_two(trained, configs, data_folder, tmp_path, one_thread):
    weights, _, _ = trained
    config = dataclasses.replace(
        read_config(configs / "opacity.toml"),
        objective=Objective(kind="two_task", classification="smooth_l1", weighting="dynamic"),
        optimizer=OptimizerSettings(name="adam_amsgrad", learning_rate=3e-3),
        schedule=Schedule(epochs=3, batch_size=4, augmentation="paper"),
    )
    films = [
        film
        for film in read_manifest(data_folder)
        if film.name[-3:] in {"000", "001", "002", "003", "004", "017"}
    ]
    train(config, run(data_folder, tmp_path, lungs=weights, init=weights), films)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"segmentation", "classification", "weight_segmentation", "dice", "specificity"} < set(lines[0])
    assert lines[-1]["segmentation"] < lines[0]["segmentation"]
    assert len(training_batches(config, run(data_folder, tmp_path, lungs=weights), films)) == 4  # no boxes


def test_nothing_is_sent_anywhere(paper_config, data_folder, tmp_path, monkeypatch, one_thread):
    def refuse(*arguments, **more):
        raise AssertionError("a run opened a connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    train(paper_config, run(data_folder, tmp_path, steps=1))
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_tensorboard_reads_the_run(paper_config, data_folder, tmp_path, one_thread):
    train(paper_config, run(data_folder, tmp_path, steps=1))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"loss/segmentation", "weight/segmentation", "schedule/rate", "validation/dice"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("validation/dice")] == [1, 2, 3, 4]
    assert events.Tags()["images"]


def test_a_loss_that_is_no_number_ends_the_run(paper_config, data_folder, tmp_path, one_thread):
    settings = dataclasses.replace(paper_config.optimizer, name="sgd", learning_rate=1e30)
    with pytest.raises(TrainingError, match="learning_rate"):
        train(dataclasses.replace(paper_config, optimizer=settings), run(data_folder, tmp_path))


def test_stage_two_needs_stage_one(data_folder, configs, tmp_path):
    with pytest.raises(ConfigError, match="--lungs"):
        train(read_config(configs / "opacity.toml"), run(data_folder, tmp_path))


def test_films_without_masks_are_told(paper_config, data_folder, tmp_path):
    films = [dataclasses.replace(film, lung_masks=()) for film in read_manifest(data_folder)]
    with pytest.raises(DataError, match="a lung mask"):
        train(paper_config, run(data_folder, tmp_path), films)


def test_encoder_weights_come_from_a_file(configs, data_folder, tmp_path, trained, one_thread):
    weights, _, _ = trained
    network, _ = load_checkpoint(weights, Role.LUNGS)
    tensors = network.encoder.state_dict()
    save_file(tensors, tmp_path / "encoder.safetensors")
    config = read_config(configs / "lungs.toml")
    options = run(data_folder, tmp_path, encoder_weights=str(tmp_path / "encoder.safetensors"))
    started = train_module.start_network(config, options)
    assert all(torch.equal(value, tensors[name]) for name, value in started.encoder.state_dict().items())
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder.safetensors.*--encoder-weights none"):
        train(config, options)


def test_a_config_is_a_file_or_a_preset(configs):
    assert config_path(str(configs / "lungs.toml")) == configs / "lungs.toml"
    assert config_path("lungs-fpn").name == "lungs-fpn.toml"
    with pytest.raises(ConfigError, match="lungs-fpn"):
        config_path("lungs-vgg")


def test_the_command_ends_with_one_line_for_a_wrong_configuration(monkeypatch, tmp_path, data_folder):
    arguments = ["train", "--config", "lungs-vgg", "--data", str(data_folder), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    with pytest.raises(SystemExit, match=r"^error: there is neither"):
        train_module.main()


def test_film_batches_do_not_depend_on_the_order_of_threads(paper_config, data_folder, monkeypatch):
    films = LungFilms.of(read_manifest(data_folder)[:6], paper_config.spec)
    batches = FilmBatches(films, paper_config, torch.device("cpu"))
    first = list(batches.epoch(3, 0, 0)[1])
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    again, other = list(batches.epoch(3, 0, 0)[1]), list(batches.epoch(4, 0, 0)[1])
    assert all(torch.equal(a.views, b.views) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a.maps["lungs"], b.maps["lungs"]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].views, other[0].views)
    assert first[0].views.shape == (4, 1, 64, 64)
    for batch in first:  # lungs are dark: view and mask were changed together
        lungs = batch.maps["lungs"] > 0
        assert batch.views[lungs].mean() < batch.views[~lungs].mean() - 0.1


def test_films_with_a_mask_come_round_more_often(configs):
    config = read_config(configs / "opacity.toml")
    labels = {"has_mask": torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])}
    numbers = np.concatenate(shuffled(config, 5, labels, epoch=1, steps=0))
    assert sorted(numbers) == [0, 1, 1, 2, 3, 3, 4]


def test_learning_rates(configs):
    config = read_config(configs / "lungs.toml")
    rates = [learning_rate(config, share) for share in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(3e-3, rel=0.01)
    assert np.argmax(rates) == 3
    assert rates[0] < 3e-4
    assert rates[-1] < 3e-5
    constant = dataclasses.replace(config, optimizer=OptimizerSettings(learning_rate=0.5))
    assert {learning_rate(constant, share) for share in (0.0, 0.4, 1.0)} == {0.5}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("sse avx2", None), ("avx512_bf16 sse", torch.bfloat16), ("amx_bf16", torch.bfloat16)],
)
def test_a_cpu_without_bf16_takes_float32(tmp_path, monkeypatch, flags, expected):
    import training.learning.forward as module

    described = tmp_path / "cpuinfo"
    described.write_text(f"processor : 0\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(module, "CPU_DESCRIPTION", described)
    module._cpu_computes_bf16.cache_clear()
    assert autocast_type("auto", torch.device("cpu")) is expected
    module._cpu_computes_bf16.cache_clear()
    assert autocast_type("float32", torch.device("cpu")) is None


class Fixed(torch.nn.Module):
    """Answers with given maps and presences, whatever it is shown."""

    def __init__(self, logits, presence):
        super().__init__()
        self.answer = logits, presence

    def forward(self, inputs):
        return self.answer


def test_the_figure_is_the_mean_dice_of_refined_maps_by_film(configs):
    from training.learning.samples import Samples

    config = dataclasses.replace(read_config(configs / "opacity.toml"), objective=Objective(kind="two_task"))
    truth = torch.zeros(4, 1, 2, 4, dtype=torch.uint8)
    truth[:3, 0, 0] = 1  # three films with 4 pixels drawn, one normal
    logits = torch.full((4, 1, 2, 4), -5.0)
    logits[0, 0, 0] = 5  # Dice 1
    logits[1, 0, 0, :2] = 5  # Dice 2/3
    logits[2, 0, 0] = 5  # would be 1, but the head says that there is nothing
    logits[3, 0, 1, 0] = 5  # a finding on a normal film, which the head takes back
    presence = torch.tensor([[9.0], [0.0], [-0.01], [-9.0]])
    samples = Samples(truth * 0, truth, ("opacity",), {})
    figure, details = validation_figure(Fixed(logits, presence), samples, config)
    assert figure == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert details == {"dice": round(5 / 9, 4), "specificity": 1.0}
    presence[3] = 0.0
    assert validation_figure(Fixed(logits, presence), samples, config)[1]["specificity"] == 0.0


def test_pictures_show_the_finding_in_red_beside_the_mask(configs):
    from training.learning.samples import Samples
    from training.learning.validate import validation_pictures

    config = dataclasses.replace(read_config(configs / "lungs.toml"), objective=Objective(kind="two_task"))
    truth = torch.zeros(1, 1, 2, 4, dtype=torch.uint8)
    truth[0, 0, 1] = 1
    logits = torch.full((1, 1, 2, 4), -90.0)
    logits[0, 0, 0] = 90
    samples = Samples(truth * 0 + 100, truth, ("lungs",), {})
    picture = validation_pictures(Fixed(logits, None), samples, config)
    assert picture.shape == (1, 3, 2, 8)
    red, grey = [177, 50, 50], [100, 100, 100]
    corners = [picture[0, :, row, column].tolist() for row in (0, 1) for column in (0, 7)]
    assert corners == [red, grey, grey, red]


def test_options_have_defaults(tmp_path):
    assert run_options.RunOptions(tmp_path, tmp_path).minutes == math.inf


def small_learner(name, seed):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 3))
    network = network.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(name, network.parameters(), 1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    return Learner(network, copy.deepcopy(network), optimizer, scaler, EarlyStopping(3))


def learn(learner, steps):
    for number in range(steps):
        torch.manual_seed(number)
        loss = learner.network(torch.randn(2, 3, 8, 8)).square().mean()
        learner.optimizer.zero_grad()
        learner.scaler.scale(loss).backward()
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.stopping.step(-float(loss.detach()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_survives(name, tmp_path):
    whole, again = small_learner(name, 1), small_learner(name, 2)
    learn(whole, 3)
    save_state(tmp_path, whole, Progress(3, 1.5, 0.7))
    assert load_state(tmp_path, again) == Progress(3, 1.5, 0.7)
    assert again.scaler.get_scale() == whole.scaler.get_scale() == 8.0
    assert again.stopping == whole.stopping
    learn(whole, 3)
    learn(again, 3)
    assert again.scaler.get_scale() == whole.scaler.get_scale()
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key])


def test_a_crash_while_the_state_is_written_leaves_the_former_one(tmp_path, monkeypatch):
    learner = small_learner("adam", 1)
    save_state(tmp_path, learner, Progress(1))

    def full(content, path, metadata):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("training.learning.run_state.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_state(tmp_path, learner, Progress(2))
    assert load_state(tmp_path, learner) == Progress(1)
