import numpy as np
import pandas as pd
import pytest

from models.result import ZONE_ORDER
from training.data.dataset import DataError
from training.judging.brixia.readings import public_split, read_readings, readers, scores_of
from training.judging.brixia.score import (
    from_grid,
    geographic_extent,
    grid,
    lung_opacity,
    parse_regions,
    region_probabilities,
    t_scores,
)

# Readings in the public files' form; the scores are made up.
PUBLIC = (
    "filename,S-A,S-B,S-C,S-D,S-E,S-F,S-Global,J-A,J-B,J-C,J-D,J-E,J-F,J-Global\n"
    "one.jpg,0,1,2,3,0,1,7,0,0,0,0,0,0,0\n"
    "two.jpg,0,0,0,0,0,0,0,1,1,1,1,1,1,6\n"
)


def test_regions_lie_in_the_network_as_the_zones_are_ordered():
    layout = grid(parse_regions("012312"))
    assert layout.tolist() == [[0, 3], [1, 1], [2, 2]]
    assert from_grid(layout).tolist() == [0, 1, 2, 3, 1, 2]
    names = np.array([f"{side} {level}" for side, level in ZONE_ORDER])
    assert names[[0, 3]].tolist() == ["right upper", "left upper"]
    probabilities = np.zeros((3, 2, 4))
    probabilities[1, 0, 2] = 1  # middle row, image left: region B
    assert np.argwhere(region_probabilities(probabilities)).tolist() == [[1, 2]]


def test_a_flip_swaps_the_lungs():
    assert from_grid(grid([0, 1, 2, 3, 1, 2])[:, ::-1]).tolist() == [3, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("text", ["12312", "01231", "", "0123x1", "012341"])
def test_a_score_without_its_leading_zero_is_refused(text):
    with pytest.raises(ValueError, match="six digits"):
        parse_regions(text)


def test_t_score():
    assert t_scores([0, 1, 2, 3, np.nan, 0])[:4].tolist() == [0, 1, 1, 1]
    assert np.isnan(t_scores([np.nan]))[0]


@pytest.mark.parametrize(
    ("share", "grade"), [(0, 0), (0.01, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.51, 3), (0.75, 4), (1, 4)]
)
def test_geographic_extent(share, grade):
    assert geographic_extent([share, 0.0]) == grade
    assert geographic_extent([share, share]) == 2 * grade


def test_lung_opacity():
    assert lung_opacity(["ground glass", "white-out"]) == 4
    with pytest.raises(ValueError, match="share of a lung"):
        geographic_extent([1.2])


def test_the_public_form_with_a_byte_order_mark(tmp_path):
    (tmp_path / "public-annotations.csv").write_text(PUBLIC, encoding="utf-8-sig")
    table = read_readings(tmp_path)
    assert readers(table) == ["S", "J"]
    assert scores_of(table, "S").tolist() == [[0, 1, 2, 3, 0, 1], [0] * 6]
    assert table["patient_group"].tolist() == ["one.jpg", "two.jpg"]
    assert set(table["split"]) <= {"train", "test"}


def test_the_public_split_is_75_to_25_and_depends_on_names_alone():
    names = [f"{number}.jpg" for number in range(192)]
    split = public_split(names)
    assert split.count("test") == 48
    turned = dict(zip(names[::-1], public_split(names[::-1]), strict=True))
    assert [turned[name] for name in names] == split


def test_a_wrong_sum_is_told(tmp_path):
    (tmp_path / "public.csv").write_text(PUBLIC.replace("1,7,", "1,8,"))
    with pytest.raises(DataError, match=r"S-Global of one\.jpg is not the sum"):
        read_readings(tmp_path)


def test_the_full_set_keeps_leading_zeros_and_takes_its_consensus(tmp_path):
    (tmp_path / "metadata_global_v2.csv").write_text(
        "filename,BrixiaScore,BrixiaScoreGlobal,ConsensusTestset,Subject,Sex\n"
        "1.dcm,001230,6,1,10,M\n2.dcm,000001,1,0,11,F\n"
    )
    modes = ",".join(f"Mode{region}" for region in "ABCDEF")
    (tmp_path / "metadata_consensus_v1.csv").write_text(f"filename,{modes}\n1.dcm,0,0,1,2,2,1\n")
    table = read_readings(tmp_path / "metadata_global_v2.csv")
    assert readers(table) == ["R0", "consensus"]
    assert scores_of(table, "R0").tolist() == [[0, 0, 1, 2, 3, 0], [0, 0, 0, 0, 0, 1]]
    assert scores_of(table, "consensus")[0].tolist() == [0, 0, 1, 2, 2, 1]
    assert np.isnan(scores_of(table, "consensus")[1]).all()
    assert table["split"].tolist() == ["test", ""]
    assert table["patient_group"].tolist() == ["10", "11"]
    assert read_readings(tmp_path)["id"].tolist() == ["1.dcm", "2.dcm"]  # the folder, too


def test_an_impossible_score_is_told(tmp_path):
    (tmp_path / "public.csv").write_text(PUBLIC.replace("one.jpg,0,1,2,3,0,1,7", "one.jpg,0,1,2,4,0,0,7"))
    with pytest.raises(DataError, match=r"one\.jpg is scored other than"):
        read_readings(tmp_path)


def test_a_folder_without_readings_is_told(tmp_path):
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "other.csv")
    with pytest.raises(DataError, match="no Brixia readings"):
        read_readings(tmp_path)


def test_the_manifest_of_the_data_folder(cxr_dataset):
    table = read_readings(cxr_dataset)
    # 166 of the 192 films; their own histogram, no bar of which is higher than that of all 192.
    assert len(table) == 166
    assert table["split"].value_counts().to_dict() == {"train": 90, "test": 56, "val": 20}
    counts = np.bincount(scores_of(table, "S").sum(axis=1).astype(int), minlength=19)
    everyone = [20, 7, 8, 14, 13, 7, 14, 18, 20, 11, 8, 15, 10, 9, 5, 1, 6, 3, 3]
    assert counts.sum() == 166
    assert (counts <= everyone).all()
