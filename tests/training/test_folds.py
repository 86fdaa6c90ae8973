from dataclasses import replace

import pytest

from training.data.dataset import DataError, read_manifest
from training.data.folds import Fold, fold_numbers, with_fold


def test_folds_are_by_patient_and_hold_every_film_once(data_folder):
    films = read_manifest(data_folder)
    seen = [film for film in films if film.split in ("train", "val")]
    held_out = []
    for number in (1, 2, 3):
        divided = with_fold(films, Fold(number, 3))
        assert [film.name for film in divided] == [film.name for film in films]
        groups = {
            split: {film.group for film in divided if film.split == split} for split in ("train", "val")
        }
        assert not groups["train"] & groups["val"]
        held_out += [film.name for film in divided if film.split == "val"]
        tests = [film.name for film in films if film.split == "test"]
        assert [film.name for film in divided if film.split == "test"] == tests
    assert sorted(held_out) == sorted(film.name for film in seen)


def test_every_fold_has_films_with_masks(data_folder):
    films = [film for film in read_manifest(data_folder) if film.split in ("train", "val")]
    numbers = fold_numbers(films, 2)
    masks = [
        sum(
            number == fold and film.opacity_mask is not None
            for film, number in zip(films, numbers, strict=True)
        )
        for fold in (1, 2)
    ]
    assert min(masks) > 0
    assert fold_numbers(films, 2) == numbers


def test_more_folds_than_patients(data_folder):
    films = [replace(film, group="one") for film in read_manifest(data_folder)]
    with pytest.raises(DataError, match="as many patients"):
        fold_numbers(films, 2)


@pytest.mark.parametrize("text", ["2", "0/3", "4/3", "1/1", "a/b"])
def test_a_fold_is_a_part_of_several(text):
    with pytest.raises(ValueError, match=r"fold|literal|unpack"):
        Fold.parse(text)
    assert Fold.parse("2/3") == Fold(2, 3)
