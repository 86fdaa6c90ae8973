import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import NetworkSpec, Role
from models.geometry import Box
from models.segmenter import Segmenter
from training.data.dataset import ZONE_COLUMNS, DataError, film_presence, read_manifest, read_pixels
from training.data.manifest import read_rows, write_rows
from training.learning import crops
from training.learning.crops import cut, film_labels
from training.learning.samples import lung_samples

LUNGS = NetworkSpec(Role.LUNGS, "unet", "resnet18", (64, 64), channel_mean=(0.0,), channel_std=(1.0,))
OPACITY = NetworkSpec(Role.OPACITY, "unet", "resnet18", (64, 64), channel_mean=(0.0,), channel_std=(1.0,))


@pytest.fixture(scope="module")
def films(data_folder):
    return read_manifest(data_folder)


def test_labels_of_a_film(films):
    film = films[1]
    assert film.name == "drawn_001"
    assert film.source == "drawn"
    assert film.consensus == 1.5
    assert not film.normal
    assert film.brixia.tolist() == [0, 1, 2, 0, 0, 0]
    assert len(film.brixia_readers) == 2
    assert len(film.lung_masks) == 2


def test_missing_labels_are_none(films):
    film = films[0]
    assert film.normal
    assert (film.opacity_mask, film.brixia, film.teacher, film.consensus) == (None, None, None, None)
    assert film.boxes == ()


def test_teachers_are_averaged_and_turned_the_right_way_up(films):
    # Two of the three files are teachers; their first column is the lowest zone at the image's left.
    np.testing.assert_allclose(films[1].teacher, [0, 0.1, 0.3, 0, 0, 0], atol=1e-6)


def test_boxes_are_read(films):
    assert films[3].boxes == (Box(60, 10, 100, 50), Box(70, 10, 90, 50))


def test_zones_of_a_reader(data_folder, tmp_path):
    rows = read_rows(data_folder / "manifest.csv")[:4]
    for row in rows:
        row.update(dict.fromkeys(ZONE_COLUMNS, ""), finding_group="unlabelled", reader_consensus="")
        row.update(dict.fromkeys(("disease_mask_file", "opacity_boxes"), ""))
        row.update({column: "" for column in row if column.startswith("brixia")})
    rows[1].update(dict.fromkeys(ZONE_COLUMNS, "0"), zone_left_upper="1")
    rows[2].update(zone_right_lower="0")
    rows[3].update(zone_right_lower="1", reader_poor_quality="yes")
    write_rows(rows, tmp_path / "manifest.csv")
    films = read_manifest(tmp_path)
    assert films[0].zones is None
    assert films[1].zones.tolist() == [0, 0, 0, 1, 0, 0]
    assert np.isnan(films[2].zones).tolist() == [True, True, False, True, True, True]
    assert films[3].zones is None
    assert [film_presence(film) for film in films[:2]] == [pytest.approx(math.nan, nan_ok=True), 1.0]
    assert math.isnan(film_presence(films[2]))
    assert film_labels(films)["zones"].isnan().all(1).tolist() == [True, False, False, True]


def test_no_manifest(tmp_path):
    with pytest.raises(DataError, match=r"no manifest\.csv"):
        read_manifest(tmp_path)


def test_manifest_without_a_column(tmp_path):
    (tmp_path / "manifest.csv").write_text("id,file\na,b\n")
    with pytest.raises(DataError, match="lacks the column"):
        read_manifest(tmp_path)


def test_unreadable_image(tmp_path):
    with pytest.raises(DataError, match="cannot read the image"):
        read_pixels(tmp_path / "none.png")


def test_lung_samples_take_the_first_of_two_masks(films):
    samples = lung_samples(films[:4], LUNGS, (40, 48))
    assert samples.views.shape == samples.maps.shape == (4, 1, 40, 48)
    assert set(samples.maps.unique().tolist()) == {0, 1}
    second = [replace(film, lung_masks=film.lung_masks[::-1]) for film in films[:4]]
    two = [len(film.lung_masks) == 2 for film in films[:4]]
    changed = (lung_samples(second, LUNGS, (40, 48)).maps != samples.maps).flatten(1).any(1).tolist()
    assert any(two)
    assert not any(change and not pair for change, pair in zip(changed, two, strict=True))


@pytest.fixture
def stage_one(monkeypatch):
    folder = Path("closed-form")
    dark = Segmenter(LUNGS, lambda batch: ((0.65 - batch[0, 0]) * 40, None))
    monkeypatch.setitem(crops._STAGE_ONE, folder, dark)
    threads = torch.get_num_threads()
    yield folder
    torch.set_num_threads(threads)


def test_cut_is_what_inference_sees(films, stage_one):
    spec = OPACITY
    view, lungs, zones, opacity, boxes, guess = cut(films[1], spec, (64, 64), stage_one)
    assert view.shape == zones.shape == (64, 64)
    assert np.mean(view[lungs == 0] > 0) < 0.15  # black, but for the blended edge
    assert view[:4, :4].max() == 0
    assert set(np.unique(zones)) == set(range(7))
    assert set(np.unique(zones[opacity > 0])) <= {0, 2, 3}  # drawn in the lower half of the right lung
    assert opacity.any()
    assert not boxes.any()
    assert not guess.any()


def test_a_film_without_lungs_is_left_out(films, stage_one, monkeypatch):
    blind = Segmenter(LUNGS, lambda batch: (batch[0, 0] - 100, None))
    monkeypatch.setitem(crops._STAGE_ONE, stage_one, blind)
    assert cut(films[1], OPACITY, (64, 64), stage_one) is None


def test_presence(films):
    assert [film_presence(film) for film in films[:4]] == [0.0, 1.0, 1.0, 1.0]


def test_labels_say_what_is_unknown(films):
    labels = film_labels(films[:4])
    assert labels["has_mask"].tolist() == [0, 1, 1, 0]
    assert labels["has_boxes"].tolist() == [0, 0, 0, 1]
    assert labels["normal"].tolist() == [1, 0, 0, 0]
    assert [math.isnan(value) for value in labels["consensus"].tolist()] == [True, False, False, True]
    assert labels["teacher"].isnan().all(1).tolist() == [True, False, False, True]
    assert labels["brixia"].isnan().all()  # films that have it have something better
