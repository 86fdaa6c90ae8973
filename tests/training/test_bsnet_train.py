"""The whole training of a tiny BS-Net on drawn films."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.bsnet.checkpoint import load_bsnet
from models.errors import CheckpointError
from training.bsnet.settings import BSNetTraining, PresenceFit, training_from
from training.data.dataset import DataError, read_manifest
from training.data.folds import Fold
from training.learning.config import ConfigError
from training.train_bsnet import Options, join, main, train_bsnet

NETWORK = {
    "preset": "compact",
    "encoder": "resnet18",
    "input_shape": [64, 64],
    "decoder": "unet",
    "decoder_channels": [16, 8, 8, 8, 8],
    "pyramid_channels": [8, 8, 8, 8, 8],
    "roi_sizes": [8, 4, 2, 2],
    "preprocessing": "percentiles",
}
PHASE = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3}


def tiny(**network: object) -> BSNetTraining:
    content = {
        "network": NETWORK | network,
        "films": {"normals": 2, "label_repeats": 2, "lungs_every": 2},
        "phases": dict.fromkeys(("lungs", "alignment", "heads", "everything"), PHASE),
        "head_fit": {"penalties": [0.01, 0.1], "views": 1},
    }
    return training_from(content, "tiny")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("bsnet")
    train_bsnet(tiny(), Options(data_folder, out))
    return out


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_four_phases_leave_logs_and_a_checkpoint_that_answers(finished: Path) -> None:
    ensemble = load_bsnet(finished)
    answer = ensemble(torch.rand(2, 1, 64, 64))

    assert answer.region_probabilities.shape == (2, 3, 2, 4)
    assert "CC BY-NC-SA" in ensemble.spec.licence
    told = [set(lines(finished / name)[-1]) for name in ("1-lungs", "2-alignment", "3-heads", "4-everything")]
    assert {"epoch", "lungs", "lungs_dice"} <= told[0]
    assert {"alignment", "alignment_dice", "alignment_iou"} <= told[1]
    assert {"score", "region_mae", "global_mae"} <= told[2]
    assert {"score", "lungs", "lungs_dice", "region_mae"} <= told[3]


def test_a_stopped_run_goes_on_to_the_same_bits(data_folder, finished: Path, tmp_path: Path) -> None:
    _interrupted(data_folder, tmp_path / "again")
    train_bsnet(tiny(), Options(data_folder, tmp_path / "again"))

    wanted, found = (load_file(folder / "bsnet.safetensors") for folder in (finished, tmp_path / "again"))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_phases_can_be_run_one_by_one_but_not_out_of_order(data_folder, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="phase lungs is not done"):
        train_bsnet(tiny(), Options(data_folder, tmp_path, phase="heads"))

    train_bsnet(tiny(), Options(data_folder, tmp_path, phase="lungs"))

    assert (tmp_path / "1-lungs" / "weights.safetensors").is_file()
    assert not (tmp_path / "2-alignment").exists()
    assert not (tmp_path / "bsnet.json").exists()


def test_pooled_heads_are_fitted_with_a_penalty_that_is_logged(
    data_folder, finished: Path, tmp_path: Path
) -> None:
    training = tiny(pyramid="pooled", attentions=["hard", "soft"])
    training = replace(training, phases={"heads": training.phases["heads"]})

    train_bsnet(training, Options(data_folder, tmp_path, fold=Fold(1, 2)))

    line = lines(tmp_path / "3-heads")[0]
    assert line["penalty"] in (0.01, 0.1)
    assert {"penalty_0.01", "penalty_0.1"} <= set(line)
    dense = load_bsnet(tmp_path).members[0].heads["hard"].dense.weight
    steps = (dense[1:] - dense[:-1]).float()  # the grades share one direction
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-2)


def test_presence_is_fitted_last_and_a_film_without_it_gets_0(data_folder, tmp_path: Path) -> None:
    training = tiny(
        pyramid="pooled", attentions=["hard"], presence={"encoder": "resnet18", "input_shape": [64, 64]}
    )
    phases = {name: training.phases["heads"] for name in ("heads", "presence")}
    training = replace(training, phases=phases, presence_fit=PresenceFit(margin=-50.0))

    train_bsnet(training, Options(data_folder, tmp_path))

    line = lines(tmp_path / "5-presence")[0]
    assert min(line["healthy"], line["diseased"]) > 0
    networks = load_bsnet(tmp_path)
    assert networks.spec.presence == training.spec.presence
    answer = networks(torch.rand(2, 1, 64, 64))
    assert answer.presence.max() < 1e-6
    assert answer.region_probabilities[..., 0].min() > 0.999


def test_presence_wants_healthy_films_too(data_folder, tmp_path: Path) -> None:
    training = tiny(pyramid="pooled", presence={"encoder": "resnet18", "input_shape": [64, 64]})
    training = replace(training, phases={"presence": training.phases["heads"]})
    ill = [film for film in read_manifest(data_folder) if not film.normal]

    with pytest.raises(DataError, match="films called normal; add films"):
        train_bsnet(training, Options(data_folder, tmp_path), ill)


def test_the_all_in_one_baseline_has_neither_lungs_nor_alignment(data_folder, tmp_path: Path) -> None:
    network = {"preset": "all-in-one", "input_shape": [64, 64]}
    training = replace(tiny(), spec=training_from({"network": network}, "x").spec)

    train_bsnet(training, Options(data_folder, tmp_path))

    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["3-heads", "4-everything"]


def test_fine_tuning_starts_from_given_weights_and_full_takes_them_as_they_are(
    data_folder, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--init"):
        train_bsnet(replace(tiny(), protocol="full"), Options(data_folder, tmp_path))

    train_bsnet(replace(tiny(), protocol="full"), Options(data_folder, tmp_path, init=finished))

    wanted, found = (load_file(folder / "bsnet.safetensors") for folder in (finished, tmp_path))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_runs_of_one_network_can_be_joined_and_others_not(finished: Path, tmp_path: Path) -> None:
    join([finished, finished], tmp_path / "both")

    assert load_bsnet(tmp_path / "both").spec.members == 2
    with pytest.raises(CheckpointError):
        join([finished, tmp_path / "nothing"], tmp_path / "none")


def test_what_is_wrong_is_said_without_a_traceback(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", "nothing.toml", "--data", str(tmp_path), "--out", str(tmp_path / "out")])

    assert "cannot read the configuration" in str(ended.value.code)


def _interrupted(data_folder: Path, out: Path) -> None:
    """Stop a run after the first epoch of phase 1 by letting the log fail."""
    from training.learning import run_log

    original, seen = run_log.RunLog.epoch, []

    def stop(self, line, groups):  # type: ignore[no-untyped-def]
        if seen:
            raise KeyboardInterrupt
        seen.append(line)
        original(self, line, groups)

    run_log.RunLog.epoch = stop  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            train_bsnet(tiny(), Options(data_folder, out))
    finally:
        run_log.RunLog.epoch = original  # type: ignore[method-assign]
    assert (out / "1-lungs" / "state.safetensors").is_file()
    assert not (out / "1-lungs" / "weights.safetensors").exists()
