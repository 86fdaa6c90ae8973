import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from models.checkpoint import SHIPPED_WEIGHTS, Role, load_checkpoint
from training.data import build_sample
from training.data.dataset import read_manifest, read_mask, read_pixels
from training.data.film_record import PrepareError, Reading
from training.data.manifest import read_data_folder
from training.data.preparation import Preparation, arrange
from training.learning.config import read_config
from training.learning.run_options import RunOptions
from training.train import train

SAMPLE = Path(training.__file__).parent / "sample"


@pytest.fixture(scope="module")
def rows():
    with (SAMPLE / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_sound_and_small():
    found = arrange(read_data_folder(SAMPLE), Preparation())
    assert not found.problems
    assert len(found.records) == 24
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 900_000


def test_licences_are_open_and_named(rows):
    attribution = (SAMPLE / "ATTRIBUTION.md").read_text()
    assert {row["licence_class"] for row in rows} == {"open"}
    assert {row["licence"] for row in rows} <= {
        *("CC BY", "CC BY 3.0", "CC BY 4.0", "CC BY-SA", "NIH: no restriction, attribution")
    }
    for row in rows:
        assert f"`{row['id']}`" in attribution
        assert "NC" not in row["annotation_licence"]
        assert "RSNA" not in row["annotation_licence"]
        assert not row["opacity_boxes"]
        assert not any(row[name] for name in row if name.startswith("brixia") or name in ("GE", "LO"))


def test_patients_are_in_one_subset_and_none_is_a_test_film(rows):
    subsets = defaultdict(set)
    for row in rows:
        subsets[row["patient_group"]].add(row["split"])
    assert all(len(held) == 1 for held in subsets.values())
    assert {row["split"] for row in rows} == {"train", "val"}


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_stages_find_something_to_learn(split):
    films = [film for film in read_manifest(SAMPLE) if film.split == split]
    assert sum(bool(film.lung_masks) for film in films) >= 5
    assert sum(film.normal for film in films) >= 2
    assert sum(film.consensus is not None for film in films) >= 3
    drawn = [film for film in films if film.opacity_mask and read_mask(film.opacity_mask).any()]
    assert drawn
    for film in films:
        pixels = read_pixels(film.image)
        assert max(pixels.shape) <= 320
        assert np.ptp(pixels) > 0.5


def test_both_stages_train_on_it(configs, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for role in ("lungs", "opacity"):
            config = read_config(configs / f"{role}.toml")
            config = replace(config, schedule=replace(config.schedule, epochs=1))
            lungs = SHIPPED_WEIGHTS if role == "opacity" else None
            figure = train(config, RunOptions(data=SAMPLE, out=tmp_path / role, lungs=lungs))
            assert np.isfinite(figure)
            load_checkpoint(tmp_path / role, Role(role))
    finally:
        torch.set_num_threads(threads)


def test_a_test_film_is_refused(cxr_dataset, monkeypatch):
    reading = read_data_folder(cxr_dataset)
    monkeypatch.setattr(build_sample, "VAL", (next(r.name for r in reading.records if r.split == "test"),))
    with pytest.raises(PrepareError, match="test film"):
        build_sample.sample(reading)
    with pytest.raises(PrepareError, match="lacks"):
        build_sample.sample(Reading(()))


def test_it_is_made_again_as_it_is(cxr_dataset, tmp_path, rows):
    build_sample.main(["--data", str(cxr_dataset), "--out", str(tmp_path / "sample")])
    with (tmp_path / "sample" / "manifest.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    # Another version of the JPEG library may write other bytes.
    ours, theirs = ([{**row, "sha256": ""} for row in table] for table in (rows, again))
    assert ours == theirs
    assert (tmp_path / "sample" / "ATTRIBUTION.md").read_text() == (SAMPLE / "ATTRIBUTION.md").read_text()
