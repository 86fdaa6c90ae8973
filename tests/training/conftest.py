"""A data folder of drawn films in the form of the real one, and networks trained on it for a few seconds."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.learning.config import read_config
from training.train import RunOptions, train

COLUMNS = (
    ["id", "file", "mask_file", "mask_alt_file", "disease_mask_file", "opacity_boxes", "patient_group"]
    + ["finding_group", "split", "quality_flags"]
    + [f"brixia_{reader}_{zone}" for reader in "SJ" for zone in "ABCDEF"]
    + ["reader_consensus", "reader_poor_quality", "reader_published_filename"]
)

NETWORK = """
architecture = "unet"
encoder = "resnet18"
options = { encoder_depth = 3, decoder_channels = [16, 8, 8] }
input_shape = [64, 64]
"""
SCHEDULE = """
seed = 1
[optimizer]
learning_rate = 3e-3
weight_decay = 0.01
schedule = "cosine"
clip_norm = 5.0
[schedule]
epochs = 12
batch_size = 4
ema_decay = 0.8
validate_every = 2
resolutions = [[48, 0.3], [64, 1.0]]
"""


def draw(folder: Path, number: int, split: str) -> dict[str, str]:
    generator = np.random.default_rng(number)
    rows, columns = 120, 110
    lungs = np.zeros((rows, columns), np.uint8)
    for share in (0.29, 0.71):
        centre = (int(share * columns), rows // 2 + int(generator.integers(-4, 4)))
        cv2.ellipse(lungs, centre, (int(0.17 * columns), int(0.36 * rows)), 0, 0, 360, 255, -1)
    kind = ("normal", "covid", "covid", "pneumonia")[number % 4]
    disease = np.zeros_like(lungs)
    if kind != "normal":
        disease[rows // 2 :, : columns // 2] = lungs[rows // 2 :, : columns // 2]
    image = np.where(lungs > 0, 70, 180) + (disease > 0) * 60 + generator.normal(0, 5, lungs.shape)
    name = f"drawn_{number:03d}"
    files = {"images": np.clip(image, 0, 255).astype(np.uint8), "masks": lungs, "disease": disease}
    for part, array in files.items():
        cv2.imwrite(str(folder / part / f"{name}.png"), array)
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "id": name,
        "file": f"images/{name}.png",
        "mask_file": f"masks/{name}.png",
        "patient_group": f"drawn-{number // 2}",
        "finding_group": kind,
        "split": split,
    }
    if kind == "covid":
        row |= {
            "mask_alt_file": row["mask_file"],
            "disease_mask_file": f"disease/{name}.png",
            "reader_consensus": "1.5",
            "reader_poor_quality": "no",
            "reader_published_filename": f"{name}.png",
        }
        scores = dict(zip("ABCDEF", "012000", strict=True))
        row |= {f"brixia_{reader}_{zone}": score for reader in "SJ" for zone, score in scores.items()}
    elif kind == "pneumonia":
        row["opacity_boxes"] = "10.0,60.0,50.0,100.0;10.0,70.0,50.0,90.0"
    return row


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for part in ("images", "masks", "disease"):
        (folder / part).mkdir()
    splits = ["train"] * 16 + ["val"] * 4 + ["test"] * 4
    rows = [draw(folder, number, split) for number, split in enumerate(splits)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    outputs = folder / "published" / "model_outputs"
    outputs.mkdir(parents=True)
    for network in ("Unet_dpn98", "FPN_b0", "Unet++_x"):
        share = {"Unet_dpn98": 0.2, "FPN_b0": 0.4, "Unet++_x": 0.9}[network]
        with (outputs / f"{network}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Filename", *(f"lung_segment_{number}" for number in range(1, 7))])
            writer.writerows([row["id"] + ".png", share, 0.1, 0, 0, 0, 0] for row in rows)
    return folder


def options(data_folder: Path, out: Path, **changes) -> RunOptions:
    return RunOptions(data=data_folder, out=out, **({"device": "cpu", "minutes": 5.0} | changes))


@pytest.fixture(scope="session")
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    (folder / "lungs.toml").write_text(f'{SCHEDULE}[network]\nrole = "lungs"\n{NETWORK}')
    head = 'role = "opacity"\nclassification_head = true\ninvolvement_threshold = 0.25\n'
    (folder / "opacity.toml").write_text(f"{SCHEDULE}mask_repeats = 2\n[network]\n{head}{NETWORK}")
    return folder


@pytest.fixture(scope="session")
def trained(data_folder, configs, tmp_path_factory):
    """A folder with both networks, and what their logs say."""
    folder = tmp_path_factory.mktemp("runs")
    figures = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, threads that wait for each other take minutes
    for role, more in (("lungs", {}), ("opacity", {"lungs": folder / "lungs", "init": folder / "lungs"})):
        figures[role] = train(
            read_config(configs / f"{role}.toml"), options(data_folder, folder / role, **more)
        )
    torch.set_num_threads(threads)
    weights = folder / "weights"
    weights.mkdir()
    for role in figures:
        for path in (folder / role).glob(f"{role}.*"):
            (weights / path.name).write_bytes(path.read_bytes())
    logs = {
        role: [json.loads(line) for line in (folder / role / "log.jsonl").read_text().splitlines()]
        for role in figures
    }
    return weights, figures, logs
