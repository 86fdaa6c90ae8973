import csv
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.film_record import PrepareError
from training.data.split import (
    assign_groups,
    cross_validation_folds,
    image_split,
    patient_split,
    subset_counts,
    tuning_images,
    tuning_patients,
)

films = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc")), min_size=1, max_size=60)


@given(films, st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_no_patient_is_in_two_subsets(pairs, seed):
    groups, strata = [group for group, _ in pairs], [stratum for _, stratum in pairs]
    splits = patient_split(groups, strata, seed=seed)
    held = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        held[group].add(split)
    assert all(len(subsets) == 1 for subsets in held.values())
    assert splits == patient_split(groups, strata, seed=seed)


@given(films, st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_single_films_are_divided_to_within_one(pairs, seed):
    # One film a patient and one stratum: only whole films keep the subsets from their exact shares.
    count = len(pairs)
    parts = Counter(assign_groups(list(range(count)), ["x"] * count, (0.5, 0.3, 0.2), seed))
    for part, share in enumerate((0.5, 0.3, 0.2)):
        assert abs(parts[part] - share * count) <= 1


def test_every_stratum_is_in_its_share():
    strata = ["common"] * 300 + ["rare"] * 30
    splits = patient_split(range(330), strata, (0.8, 0.1, 0.1), seed=3)
    assert subset_counts(splits[:300]) == {"train": 240, "val": 30, "test": 30}
    assert subset_counts(splits[300:]) == {"train": 24, "val": 3, "test": 3}


def test_a_subset_without_a_share_stays_empty():
    assert set(patient_split(range(20), "x" * 20, (0.8, 0.2, 0))) == {"train", "val"}


@pytest.mark.parametrize("ratios", [(0.8, 0.2), (0, 0, 0), (1.2, -0.1, -0.1)])
def test_ratios_that_cannot_be_used(ratios):
    with pytest.raises(PrepareError):
        patient_split([1, 2, 3], "xxx", ratios)


def test_seed_changes_the_split():
    assert patient_split(range(100), "x" * 100, seed=1) != patient_split(range(100), "x" * 100, seed=2)


def test_folds_are_even_and_by_patient():
    groups = [number // 3 for number in range(150)]
    folds = cross_validation_folds(groups, [number % 2 for number in range(150)], 5)
    assert set(Counter(folds).values()) == {30}
    assert len(set(zip(groups, folds, strict=True))) == 50
    with pytest.raises(PrepareError, match="folds"):
        cross_validation_folds(groups, groups, 51)


PUBLISHED_COUNTS = {
    "ACCD": (39, 5, 5),
    "CRD": (83, 10, 11),
    "CCXD": (319, 40, 40),
    "FCXD": (22, 3, 3),
    "CXN": (344, 43, 44),
    "RSNA": (282, 35, 36),
    "Darwin": (4884, 611, 611),
    "Montgomery": (110, 14, 14),
    "Shenzhen": (452, 57, 57),
}


@pytest.mark.parametrize("source", PUBLISHED_COUNTS)
def test_published_counts(source):
    """Danilov et al. 2022, Tables 1 and 2."""
    total = sum(PUBLISHED_COUNTS[source])
    splits = image_split([f"{number:05d}.png" for number in range(total)], [source] * total)
    assert tuple(subset_counts(splits).values()) == PUBLISHED_COUNTS[source]


def test_published_split_film_by_film(cxr_dataset):
    with (cxr_dataset / "published" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    splits = image_split([row["filename"] for row in rows], [row["dataset"] for row in rows])
    assert len(rows) == 1364
    assert splits == [row["subset"] for row in rows]


def test_split_by_image_needs_enough_films():
    with pytest.raises(PrepareError, match="cannot be divided"):
        image_split(["a", "b"], ["x", "x"])


def test_published_tuning_sample():
    """Danilov et al. 2022, Table 4: 10 % of 6,810 films, 544 to train and 137 to validate."""
    chosen = tuning_images(6810, 0.1)
    assert len(chosen) == 681
    splits = image_split([f"{number:04d}" for number in chosen], ["all"] * 681, (0.8, 0.2, 0.0))
    assert tuple(subset_counts(splits).values()) == (544, 137, 0)
    assert len(tuning_images(1364, 0.5)) == 682


def test_tuning_sample_takes_whole_patients():
    groups = [number // 2 for number in range(200)]
    chosen = tuning_patients(groups, ["x"] * 200, 0.1)
    assert len(chosen) == 20
    assert {groups[index] for index in chosen}.isdisjoint(
        groups[index] for index in range(200) if index not in chosen
    )
    with pytest.raises(PrepareError):
        tuning_patients(groups, groups, 0)
