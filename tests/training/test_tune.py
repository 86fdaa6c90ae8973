import dataclasses
import math
import os
import socket

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

from models.checkpoint import Role
from training import tune
from training.data.dataset import DataError, Film, read_manifest
from training.learning.config import ConfigError, read_config
from training.tuning.report import by_hyperparameter, influence, trial_table
from training.tuning.space import StudySettings, check, read_tuning
from training.tuning.study import (
    FAILURE,
    Search,
    brackets,
    fail_abandoned,
    reason,
    run_trials,
    suggest,
)
from training.tuning.subset import tuning_films

TOY_SPACE = {"x": tuple(range(-10, 11)), "y": ("bad", "good", "worse")}


def toy(trial):
    """Highest, 0, at x = 2 with y = good."""
    chosen = suggest(trial, TOY_SPACE)
    return -((chosen["x"] - 2) ** 2) - (0.0 if chosen["y"] == "good" else 10.0)


def toy_search(folder, sampler="tpe", space=TOY_SPACE):
    return Search(f"sqlite:///{folder / 'toy.db'}", "toy", StudySettings(sampler=sampler), space)


def states(search):
    return [trial.state for trial in search.open().trials]


def test_tpe_finds_the_optimum_of_a_toy_function(tmp_path):
    search = toy_search(tmp_path)
    run_trials(search, toy, trials=25)
    best = search.open().best_trial
    assert best.params["y"] == "good"
    assert abs(best.params["x"] - 2) <= 2


def test_a_search_goes_on_where_it_stopped(tmp_path):
    search, calls = toy_search(tmp_path), []

    def counted(trial):
        calls.append(trial.number)
        return toy(trial)

    run_trials(search, counted, trials=3)
    run_trials(search, counted, trials=5)
    run_trials(search, counted, trials=5)
    assert calls == [0, 1, 2, 3, 4]


def test_a_search_with_another_space_is_another_search(tmp_path):
    run_trials(toy_search(tmp_path), toy, trials=1)
    with pytest.raises(ConfigError, match="another --study"):
        toy_search(tmp_path, space={"x": (1, 2)}).open()


def test_a_grid_visits_every_point_once_and_ends(tmp_path):
    search = toy_search(tmp_path, "grid", {"x": (0, 2), "y": ("good", "bad")})

    def grid(trial):
        return float(suggest(trial, search.space)["x"])

    run_trials(search, grid, trials=99)
    visited = {tuple(trial.params.values()) for trial in search.open().trials}
    assert len(search.open().trials) == len(visited) == 4


SLOW = """
import time

def slow(trial):
    time.sleep(0.3)
    return float(trial.suggest_categorical("x", (1, 2)))
"""


def test_two_workers_share_a_search(tmp_path, monkeypatch):
    (tmp_path / "toy_objective.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    import toy_objective

    search = toy_search(tmp_path, "random", {"x": (1, 2)})
    run_trials(search, toy_objective.slow, trials=5, workers=2)
    trials = search.open().trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5
    processes = {trial.user_attrs["process"] for trial in trials}
    assert f"{socket.gethostname()}:{os.getpid()}" not in processes
    assert 1 <= len(processes) <= 2


def test_failures_have_a_reason_and_the_search_goes_on(tmp_path):
    search = toy_search(tmp_path)
    errors = [
        ValueError("no such encoder\nand more"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        optuna.TrialPruned(),
    ]

    def failing(trial):
        toy(trial)
        if errors:
            raise errors.pop(0)
        return 1.0

    run_trials(search, failing, trials=5)
    trials = search.open().trials
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "FAIL", "PRUNED", "COMPLETE"]
    reasons = [trial.user_attrs[FAILURE] for trial in trials]
    assert reasons[0] == "ValueError: no such encoder"
    assert [text.startswith("out of memory: ") for text in reasons] == [False, True, True, False, False]
    assert reasons[3:] == ["", ""]
    assert reason(MemoryError()).startswith("out of memory")


def test_trials_of_a_killed_process_are_failed(tmp_path):
    search = toy_search(tmp_path)
    study = search.open()
    asking = optuna.load_study(study_name="toy", storage=search.storage)
    alive, dead = asking.ask(), asking.ask()
    alive.set_user_attr("process", f"{socket.gethostname()}:{os.getpid()}")
    dead.set_user_attr("process", f"{socket.gethostname()}:{2**22 + 1}")  # beyond the largest process number
    fail_abandoned(study)
    assert states(search) == [TrialState.RUNNING, TrialState.FAIL]


def test_interrupting_fails_the_trial_and_ends_the_search(tmp_path):
    search = toy_search(tmp_path)

    def interrupted(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(search, interrupted, trials=5)
    assert states(search) == [TrialState.FAIL]


def pruned_at(values, earlier):
    """The epoch at which a trial with these values, one an epoch, is stopped after others; None if never."""
    study = optuna.create_study(direction="maximize", pruner=brackets(StudySettings()))
    for others in (*earlier, values):
        trial, stopped = study.ask(), None
        for epoch, value in enumerate(others, start=1):
            trial.report(value, epoch)
            if epoch < 16 and trial.should_prune():
                stopped = epoch
                break
        study.tell(
            trial, others[-1] if stopped is None else None, state=TrialState.PRUNED if stopped else None
        )
    return stopped


def test_the_brackets_are_4_and_8_of_16_epochs():
    earlier = [
        [0.4 + 0.1 * number] * 16 for number in (0, 1, 2, 3)
    ]  # each better than those before: none stops
    assert pruned_at([0.39] * 16, earlier) == 4
    assert pruned_at([0.9] * 4 + [0.1] * 12, earlier) == 8
    assert pruned_at([0.9] * 8 + [0.1] * 8, earlier) is None
    assert pruned_at([0.0] * 3 + [0.9] * 13, earlier) is None
    assert pruned_at([0.69] * 16, earlier) is None  # second of five
    assert pruned_at([0.59] * 16, earlier) == 4  # third of five


def test_the_shipped_space_is_that_of_table_c1():
    tuning = read_tuning(tune.SHIPPED)
    sizes = {key.rpartition(".")[2]: len(values) for key, values in tuning.space.items()}
    assert sizes == {
        "architecture": 9,
        "encoder": 20,
        "input_shape": 9,
        "segmentation": 6,
        "classification": 3,
        "name": 6,
        "learning_rate": 5,
    }
    assert tuning.space["network.input_shape"] == tuple(range(384, 641, 32))
    assert "objective.classification" not in tuning.for_stage(Role.LUNGS)
    for stage in Role:
        check(tuning, stage)
    chosen = {key: values[-1] for key, values in tuning.space.items()}
    config = tuning.config(Role.OPACITY, chosen)
    assert config.spec.encoder == "dpn98"
    assert config.spec.channel_std == (0.2348, 0.2348, 0.2348)
    assert config.spec.input_shape == (640, 640)
    assert config.spec.classification_head
    assert (config.schedule.epochs, config.schedule.batch_size, config.schedule.patience) == (16, 4, 6)
    assert config.schedule.min_delta == 0.01
    assert not tuning.config(Role.LUNGS, {**chosen, "network.encoder": "resnet50"}).spec.classification_head


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[space]\n'optimizer.name' = ['sgd', 'lion']", "lion"),
        ("[space]\n'optimizer.name' = 'sgd'", "list"),
        ("[spaces]", "unknown key spaces"),
        ("[study]\nsamplers = 'tpe'", "study.samplers"),
        ("[study]\nsampler = 'bayes'\n[space]\nseed = [1]", "tpe, random, grid"),
        ("[study]\nfilm_share = { lungs = 2 }\n[space]\nseed = [1]", "lungs is 2"),
        ("[space]\n'objective.segmentation' = ['dice', 'dicer']", "dicer"),
        ("[space]\n'network.width' = [3]", "width"),
    ],
)
def test_wrong_tuning_files_are_told(tmp_path, text, words):
    path = tmp_path / "x.toml"
    network = "[base.network]\narchitecture = 'unet'\nencoder = 'resnet18'\ninput_shape = 64\n"
    path.write_text(f"{text}\n{network}[base.objective]\nkind = 'two_task'\n")
    with pytest.raises(ConfigError, match=words):
        check(read_tuning(path), Role.LUNGS)


def films(count, split="train", group="{}"):
    empty = dict.fromkeys(item.name for item in dataclasses.fields(Film))
    return [
        Film(
            **empty
            | {"name": f"{split}{i:05d}", "split": split, "group": group.format(i), "lung_masks": ("m",)}
        )
        for i in range(count)
    ]


def test_ten_percent_of_6810_films_are_the_counts_of_table_4():
    chosen = tuning_films([*films(6128), *films(682, "val", "v{}")], Role.LUNGS, 0.1, 0.2, seed=11)
    counts = [sum(film.split == split for film in chosen) for split in ("train", "val")]
    assert (len(chosen), counts) == (681, [544, 137])


def test_the_choice_of_films_keeps_patients_together_and_leaves_test_films_alone():
    many = [*films(60, group="p{}"), *films(60, "val", "p{}"), *films(60, "test", "p{}")]
    chosen = tuning_films(many, Role.LUNGS, 0.5, 0.3, seed=1)
    assert len(chosen) == 60
    assert not [film for film in chosen if film.name.startswith("test")]
    groups = [{film.group for film in chosen if film.split == split} for split in ("train", "val")]
    assert not groups[0] & groups[1]
    assert chosen == tuning_films(many[::-1], Role.LUNGS, 0.5, 0.3, seed=1)
    assert chosen != tuning_films(many, Role.LUNGS, 0.5, 0.3, seed=2)
    with pytest.raises(DataError, match="film_share"):
        tuning_films(many, Role.LUNGS, 0.01, 0.3, seed=1)


def known_table():
    """The figure rises by 0.5 from rate 1 to 2, falls with size, and has nothing to do with the loss."""
    rows = [
        {"rate": rate, "size": size, "loss": loss, "figure": 0.5 * (rate - 1) - 0.001 * size}
        for rate in (1.0, 2.0)
        for size in (100, 110)
        for loss in ("dice", "bce")
    ]
    return pd.DataFrame([*rows, {"rate": 9.0, "size": 9, "loss": "dice", "figure": np.nan}])


def test_importance_and_correlation_of_a_known_table():
    result = influence(known_table(), ["rate", "size", "loss"])
    assert list(zip(result["hyperparameter"], result["value"], strict=True)) == [
        ("rate", ""),
        ("size", ""),
        ("loss", "bce"),
        ("loss", "dice"),
    ]
    assert result["importance"].sum() == pytest.approx(1)
    figures = known_table().dropna()
    expected = [np.corrcoef(figures[name], figures["figure"])[0, 1] for name in ("rate", "size")]
    assert result["correlation"].tolist() == pytest.approx([*expected, 0, 0], abs=1e-12)
    assert expected[0] > 0.99
    assert expected[1] < 0
    summary = by_hyperparameter(result)
    assert summary["hyperparameter"][0] == "rate"
    assert summary["importance"][0] > 0.9
    assert summary["importance"].sum() == pytest.approx(1)


def test_what_never_changes_has_no_correlation():
    table = pd.DataFrame({"rate": [1.0, 1.0], "loss": ["a", "b"], "figure": [0.1, 0.2]})
    result = influence(table, ["rate", "loss"])
    assert math.isnan(result["correlation"][0])
    assert result["correlation"].tolist()[1:] == pytest.approx([-1, 1])
    table["figure"] = 0.5
    assert influence(table, ["rate", "loss"])["importance"].sum() == pytest.approx(1)
    with pytest.raises(ConfigError, match="two are needed"):
        influence(table.head(1), ["rate"])


TINY = """
[study]
sampler = "grid"
film_share = { lungs = 1.0 }
first_bracket = 1
[base.network]
options = { encoder_depth = 3, decoder_channels = [16, 8, 8] }
input_shape = 64
architecture = "unet"
encoder = "resnet18"
[base.objective]
kind = "two_task"
[base.schedule]
epochs = 2
batch_size = 4
[space]
"optimizer.learning_rate" = [1e-3, 3e-3]
"network.encoder" = ["resnet18", "vgg_of_nobody"]
"""


def test_a_small_search_from_the_command_line(tmp_path, data_folder, monkeypatch):
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "out"
    arguments = ["--config", tmp_path / "tiny.toml", "--data", data_folder, "--trials", 4, "--out", out]
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    monkeypatch.setattr("sys.argv", ["x", *map(str, arguments), "--storage", storage, "--study", "tiny"])
    monkeypatch.setattr(tune, "start_logging", lambda: None)
    for name in ("connect", "connect_ex", "sendto"):  # nothing is sent anywhere
        monkeypatch.setattr(socket.socket, name, lambda *_: pytest.fail("the search opened a connection"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tune.main()
    torch.set_num_threads(threads)
    table = pd.read_csv(out / "trials.csv")
    assert len(table) == 4
    judged, failed = table[table["state"] != "FAIL"], table[table["state"] == "FAIL"]
    assert set(judged["network.encoder"]) == {"resnet18"}
    assert failed["failure"].str.contains("vgg_of_nobody").all()
    assert len(failed) == 2
    best = read_config(out / "best.toml")
    assert best.spec.role is Role.LUNGS
    complete = judged[judged["state"] == "COMPLETE"]
    row = complete.loc[complete["figure"].idxmax()]
    assert best.optimizer.learning_rate == row["optimizer.learning_rate"]
    assert pd.read_csv(out / "importance.csv")["importance"].sum() == pytest.approx(1)
    assert (out / "importance.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.rglob("*.safetensors"))
    assert (out / f"trial-{int(row['number']):04d}" / "log.jsonl").is_file()
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert trial_table(study)["number"].tolist() == [0, 1, 2, 3]


def test_the_command_ends_with_one_line_for_a_database_that_cannot_be(tmp_path, data_folder, monkeypatch):
    (tmp_path / "tiny.toml").write_text(TINY)
    arguments = ["--config", tmp_path / "tiny.toml", "--data", data_folder, "--trials", "1", "--study", "x"]
    storage = f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}"
    monkeypatch.setattr("sys.argv", ["x", *map(str, arguments), "--storage", storage])
    monkeypatch.setattr(tune, "start_logging", lambda: None)
    with pytest.raises(SystemExit, match="error: the study x in sqlite"):
        tune.main()


def test_stage_two_needs_stage_one(tmp_path, data_folder, monkeypatch):
    arguments = ["--data", data_folder, "--trials", "1", "--study", "x", "--stage", "opacity"]
    monkeypatch.setattr(
        "sys.argv", ["x", *map(str, arguments), "--storage", f"sqlite:///{tmp_path / 'x.db'}"]
    )
    monkeypatch.setattr(tune, "start_logging", lambda: None)
    with pytest.raises(SystemExit, match="--lungs"):
        tune.main()


def test_the_tuning_films_of_the_drawn_data(data_folder):
    chosen = tuning_films(read_manifest(data_folder), Role.OPACITY, 0.5, 0.25, seed=11)
    assert all(film.opacity_mask or film.normal for film in chosen)
