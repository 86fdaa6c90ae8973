import csv
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from models.zones import Lungs
from training.data.crop_modes import crops
from training.data.dataset import read_manifest, read_mask, read_pixels
from training.data.film_checks import check_films, check_table
from training.data.film_record import PrepareError, ReaderScores, Reading
from training.data.legacy_layout import write_layout
from training.data.manifest import COLUMNS, manifest_row, read_data_folder, read_rows
from training.data.near_duplicates import NEAR_BITS, join_groups, near_pairs, perceptual_hash
from training.data.pictures import GreyFile, MaskFile
from training.data.preparation import Preparation, arrange, prepare
from training.data.readers.folders import FolderOptions, read_folders
from training.prepare import main

AS_IT_IS = Preparation(near_bits=-1)
"""Drawn films resemble each other more than real ones do."""


@pytest.fixture
def films(data_folder):
    return read_data_folder(data_folder).records


def run(*arguments):
    main([str(argument) for argument in arguments])


def manifest(folder):
    return {row["id"]: row for row in read_rows(folder / "manifest.csv")}


def test_a_copy_reads_like_the_original(data_folder, tmp_path):
    run("manifest", data_folder, "--out", tmp_path / "copy", "--near-bits", -1)
    for ours, original in zip(read_manifest(tmp_path / "copy"), read_manifest(data_folder), strict=True):
        assert (ours.name, ours.group, ours.split) == (original.name, original.group, original.split)
        assert (ours.finding, ours.boxes, ours.consensus) == (
            original.finding,
            original.boxes,
            original.consensus,
        )
        np.testing.assert_array_equal(ours.brixia, original.brixia)
        np.testing.assert_array_equal(ours.teacher, original.teacher)
        np.testing.assert_array_equal(read_pixels(ours.image), read_pixels(original.image))
        assert len(ours.lung_masks) == len(original.lung_masks)
        for one, other in zip(
            (*ours.lung_masks, ours.opacity_mask), (*original.lung_masks, original.opacity_mask), strict=True
        ):
            assert (one is None) == (other is None)
            if one and other:
                np.testing.assert_array_equal(read_mask(one), read_mask(other))
    rows = manifest(tmp_path / "copy")
    assert tuple(next(iter(rows.values())))[: len(COLUMNS)] == COLUMNS
    with Image.open(tmp_path / "copy" / rows["drawn_000"]["mask_file"]) as mask:
        assert mask.mode == "L"
        assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_reducing_takes_masks_and_boxes_along(films, tmp_path):
    boxed = next(film for film in films if film.boxes)
    settings = replace(AS_IT_IS, longest_side=60, jpeg_quality=90)
    prepare(Reading((boxed,)), tmp_path / "small", settings)
    (film,) = read_manifest(tmp_path / "small")
    assert film.image.suffix == ".jpg"
    assert read_pixels(film.image).shape == read_mask(film.lung_masks[0]).shape == (60, 55)
    assert read_mask(film.lung_masks[0]).mean() == pytest.approx(
        (boxed.lung_mask.load() > 0).mean(), abs=0.02
    )
    assert film.boxes[0] == type(film.boxes[0])(30, 5, 50, 25)
    row = manifest(tmp_path / "small")[boxed.name]
    assert (row["width"], row["height"], row["orig_width"], row["orig_height"]) == ("55", "60", "110", "120")


def picture(path, array):
    Image.fromarray(array).save(path)
    return MaskFile(path)


def broken(record, tmp_path):
    """One film at fault for each kind of fault."""
    shape = record.image.load().shape
    empty, half = np.zeros(shape, np.uint8), np.zeros((shape[0] // 2, shape[1]), np.uint8)
    grey = np.full(shape, 90, np.uint8)
    full = picture(tmp_path / "full.png", empty + 255)
    faults = {
        "image is missing": {"image": GreyFile(tmp_path / "none.png")},
        "image cannot be read": {"image": GreyFile(_text(tmp_path / "text.png"))},
        "image without content": {"image": GreyFile(picture(tmp_path / "flat.png", grey).path)},
        "mask is missing": {"lung_mask": MaskFile(tmp_path / "none.png")},
        "mask of another size": {"opacity_mask": picture(tmp_path / "half.png", half)},
        "mask with other values": {"lung_mask": picture(tmp_path / "grey.png", grey)},
        "empty lung mask": {"lung_mask": picture(tmp_path / "empty.png", empty)},
        "opacity on a normal film": {"opacity_mask": full, "finding_group": "normal"},
        "box outside the image": {"boxes": ((0.0, 0.0, 500.0, 9.0),)},
        "unknown subset": {"split": "training"},
        "unknown sex": {"sex": "female"},
        "implausible age": {"age": 190.0},
        "score out of range": {"readers": ReaderScores(7.0)},
        "consensus contradicts readers": {"readers": ReaderScores(2.0, 3.0, False, 3.0)},
        "no patient group": {"patient_group": ""},
        "name that cannot be used": {"name": "../up"},
    }
    sound = replace(record, readers=ReaderScores(), further={}, boxes=(), opacity_mask=None)
    return {
        kind: replace(sound, **({"name": f"x_{number}"} | changes))
        for number, (kind, changes) in enumerate(faults.items())
    }


def _text(path):
    path.write_text("no picture")
    return path


def test_each_fault_has_its_name(films, tmp_path):
    faulty = broken(films[1], tmp_path)
    for kind, record in faulty.items():
        assert [problem.kind for problem in check_films([record]).problems] == [kind]


def test_all_faults_are_told_at_once_and_nothing_is_written(films, tmp_path):
    faulty = broken(films[1], tmp_path)
    reading = Reading((*films[:4], *faulty.values(), films[0]))
    with pytest.raises(PrepareError) as caught:
        prepare(reading, tmp_path / "out", AS_IT_IS)
    message = str(caught.value)
    assert all(kind in message for kind in (*faulty, "name more than once"))
    assert f"{len(faulty) + 1} problem(s)" in message
    assert "--skip-bad" in message
    assert list(tmp_path.glob("out*")) == []

    prepared = prepare(reading, tmp_path / "out", replace(AS_IT_IS, skip_bad=True))
    assert {record.name for record in prepared.records} == {film.name for film in films[:4]}
    listed = read_rows(tmp_path / "out" / "left_out.csv")
    assert Counter(row["kind"] for row in listed) == Counter([*faulty, "name more than once"])
    assert set(manifest(tmp_path / "out")) == {film.name for film in films[:4]}


def test_many_faults_of_a_kind_are_counted_not_listed(films, tmp_path):
    faulty = [
        replace(film, name=f"x_{n}", image=GreyFile(tmp_path / f"{n}.png")) for n, film in enumerate(films)
    ]
    with pytest.raises(PrepareError) as caught:
        prepare(Reading(tuple(faulty)), tmp_path / "out", AS_IT_IS)
    assert f"{len(faulty)} x image is missing" in str(caught.value)
    assert f"… and {len(faulty) - 3} more" in str(caught.value)
    with pytest.raises(PrepareError, match="no film is left"):
        prepare(Reading(tuple(faulty)), tmp_path / "out", replace(AS_IT_IS, skip_bad=True))


def test_what_is_required(films):
    without = replace(films[0], lung_mask=None, patient_group=films[0].name)
    kinds = [
        problem.kind for problem in check_films([without], ("lung-mask", "opacity-mask", "patient")).problems
    ]
    assert kinds == ["lung mask is missing", "opacity mask is missing", "patient is not known"]
    assert not check_films([without]).problems


def test_one_patient_in_two_subsets(films, tmp_path):
    crossing = [replace(film, patient_group="p") for film in films if film.split in ("train", "test")][-6:]
    crossing[0] = replace(crossing[0], split="train")
    assert {problem.name for problem in check_table(crossing)} == {
        film.name for film in crossing if film.split == "train"
    }
    with pytest.raises(PrepareError, match="same patient in two subsets"):
        prepare(Reading(tuple(crossing)), tmp_path / "out", AS_IT_IS)
    prepared = prepare(Reading(tuple(crossing)), tmp_path / "out", replace(AS_IT_IS, skip_bad=True))
    assert {record.split for record in prepared.records} == {"test"}  # the test set loses nothing
    apart = arrange(Reading(tuple(crossing)), replace(AS_IT_IS, split="patient"))
    assert len({record.split for record in apart.records}) == 1


def test_films_without_a_subset_need_a_split(films, tmp_path):
    with pytest.raises(PrepareError, match="--split patient"):
        arrange(Reading((replace(films[0], split=""),)), AS_IT_IS)
    (tmp_path / "out").mkdir()
    with pytest.raises(PrepareError, match="exists"):
        prepare(Reading(films), tmp_path / "out", AS_IT_IS)


def test_split_by_image_says_what_it_is(data_folder, tmp_path, capsys):
    out = tmp_path / "out"
    run("manifest", data_folder, "--out", out, "--near-bits", -1, "--split", "image")
    assert "too good" in capsys.readouterr().out
    rows = manifest(out).values()
    assert Counter(row["split"] for row in rows) == {"train": 19, "val": 2, "test": 3}
    crossing = {row["patient_group"] for row in rows if row["split"] != "train"}
    assert crossing & {row["patient_group"] for row in rows if row["split"] == "train"}


def test_copies_are_joined_and_different_films_are_not():
    generator = np.random.default_rng(5)
    coarse = generator.random((2, 12, 12)) * 255
    first, second = (
        np.asarray(Image.fromarray(one.astype(np.uint8)).resize((300, 280), Image.Resampling.BICUBIC))
        for one in coarse
    )
    smaller = np.asarray(Image.fromarray(first).resize((150, 140), Image.Resampling.BOX))
    darker = (first * 0.7).astype(np.uint8)
    marked = first.copy()
    marked[10:30, 10:60] = 255
    hashes = np.stack([perceptual_hash(pixels) for pixels in (first, second, smaller, darker, marked)])
    pairs = near_pairs(hashes)
    assert pairs == [(0, 2), (0, 3), (0, 4), (2, 3), (2, 4), (3, 4)]
    assert join_groups(["d", "b", "a", "d", "c"], pairs) == ["a", "b", "a", "a", "a"]
    assert near_pairs(hashes, 0)[:0] == []
    assert hashes.shape == (5, 32)


def test_published_copies_are_found(cxr_dataset):
    def film(number):
        return GreyFile(cxr_dataset / "cxr" / "images" / f"cohen_{number:04d}.jpg").load()

    numbers = (263, 264, 267, 545, 269, 537, 76, 77, 1, 2)
    hashes = np.stack([perceptual_hash(film(number)) for number in numbers])
    found = {frozenset((numbers[i], numbers[j])) for i, j in near_pairs(hashes)}
    assert {frozenset(pair) for pair in ((263, 264), (267, 545), (269, 537), (76, 77))} <= found
    assert not any(pair & {1, 2} for pair in found)
    assert NEAR_BITS < 52  # the nearest pair of two patients


def test_folds_and_a_tuning_sample(data_folder, tmp_path):
    run("manifest", data_folder, "--out", tmp_path / "folds", "--near-bits", -1, "--folds", 4)
    rows = manifest(tmp_path / "folds").values()
    assert {row["fold"] for row in rows if row["split"] == "test"} == {""}
    folds = {row["patient_group"]: row["fold"] for row in rows if row["split"] != "test"}
    assert set(folds.values()) == set("0123")
    assert all(row["fold"] == folds[row["patient_group"]] for row in rows if row["split"] != "test")


def test_tuning_sample(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("training.prepare.Preparation", lambda **given: Preparation(near_bits=-1, **given))
    run("tuning-subset", "--data", data_folder, "--out", tmp_path / "half", "--fraction", 0.5)
    rows = manifest(tmp_path / "half").values()
    assert len(rows) == 10
    assert {row["split"] for row in rows} == {"train", "val"}
    assert all(manifest(data_folder)[row["id"]]["split"] != "test" for row in rows)


def test_joining_data_folders(data_folder, tmp_path):
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    run("manifest", data_folder, "--out", one, "--near-bits", -1, "--only-split", "train")
    run("manifest", data_folder, "--out", two, "--near-bits", -1, "--only-split", "val", "test")
    run("manifest", one, two, "--out", both, "--near-bits", -1)
    assert set(manifest(both)) == set(manifest(data_folder))
    assert (both / "published" / "model_outputs").is_dir()
    with pytest.raises(SystemExit, match="16 x name more than once"):
        run("manifest", one, data_folder, "--out", tmp_path / "no", "--near-bits", -1)


def test_every_row_survives(cxr_dataset):
    rows = read_rows(cxr_dataset / "manifest.csv")
    records = read_data_folder(cxr_dataset).records
    assert len(rows) == len(records)
    written = ("file", "width", "height", "orig_width", "orig_height", "sha256")
    vague = {"50+": "50", "67+": "67", "mid 50s": "55", "early 40s": "45"}
    for row, record in zip(rows, records, strict=True):
        again = manifest_row(record, {name: row[name] for name in (*record.masks, *written)})
        row["age"] = vague.get(row["age"], row["age"]).removesuffix(".0")
        row["reader_consensus"] = row["reader_consensus"].removesuffix(".0")
        boxes = [name.pop("opacity_boxes") for name in (row, again)]
        assert again == row
        ours, theirs = ([float(edge) for edge in text.replace(";", ",").split(",") if edge] for text in boxes)
        assert ours == pytest.approx(theirs, abs=0.01)


def test_narrowing_is_counted(data_folder, tmp_path, capsys):
    out = tmp_path / "out"
    run(
        "manifest",
        data_folder,
        "--out",
        out,
        "--near-bits",
        -1,
        "--only-finding",
        "covid",
        "--only-split",
        "train",
    )
    assert {row["finding_group"] for row in manifest(out).values()} == {"covid"}
    assert "8 (split is not train)" in capsys.readouterr().out


@pytest.mark.parametrize("crop", ["none", "single"])
def test_published_layout_round_trip(films, tmp_path, crop):
    counts = write_layout(films, tmp_path / "layout", crop)
    assert counts == {"film(s) written": 18, "without an opacity mask: left out": 6}
    with (tmp_path / "layout" / "metadata.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header == [
        *("dataset", "filename", "Inaccurate labelling", "Score R", "Score D", "Poor quality D"),
        *("Poor quality R", "ann_found", "subset", "label", "Normal"),
    ]
    reading = read_folders(tmp_path / "layout", FolderOptions(masks_show="opacity"))
    assert not reading.problems
    back = {record.original_filename.removesuffix(".png"): record for record in reading.records}
    assert len(back) == 18
    for film in films:
        if film.finding_group == "pneumonia":
            continue
        again = back[film.name]
        assert (again.split, again.finding_group) == (film.split, film.finding_group)
        opacity, mask = film.opacity_mask, again.opacity_mask.load()
        assert mask.any() == (opacity is not None)
        if crop == "none" and opacity is not None:
            np.testing.assert_array_equal(mask, opacity.load())
            np.testing.assert_array_equal(again.image.load(), film.image.load())


def test_crop_modes():
    pixels = np.arange(1, 81, dtype=np.uint8).reshape(8, 10)
    right, left = np.zeros((2, 8, 10), bool)
    right[1:6, 1:4], left[2:7, 6:9] = True, True
    opacity = np.zeros((8, 10), bool)
    opacity[4:8, 0:8] = True
    lungs = Lungs(right, left)
    both = right | left
    (whole,) = crops(pixels, opacity, lungs, "none")
    assert whole.pixels.all()
    assert whole.opacity.sum() == opacity.sum()
    (masked,) = crops(pixels, opacity, lungs, "mask")
    np.testing.assert_array_equal(masked.pixels, np.where(both, pixels, 0))
    (single,) = crops(pixels, opacity, lungs, "single")
    assert single.box.shape == single.pixels.shape == (6, 8)
    np.testing.assert_array_equal(single.pixels, masked.pixels[1:7, 1:9])
    np.testing.assert_array_equal(single.opacity, (opacity & both)[1:7, 1:9])
    one, other = crops(pixels, opacity, lungs, "double")
    assert (one.name, other.name) == ("right", "left")
    np.testing.assert_array_equal(one.pixels, pixels[1:6, 1:4])
    np.testing.assert_array_equal(other.pixels, pixels[2:7, 6:9])
    with pytest.raises(ValueError, match="no crop mode"):
        crops(pixels, opacity, lungs, "triple")


def test_check_tells_and_fails(data_folder, tmp_path, capsys):
    run("check", "--data", data_folder, "--near-bits", -1)
    assert "24 films, nothing wrong" in capsys.readouterr().out
    shutil.copytree(data_folder, tmp_path / "bad")
    (tmp_path / "bad" / "masks" / "drawn_003.png").unlink()
    text = (tmp_path / "bad" / "manifest.csv").read_text().replace("1.5,no", "many,no", 1)
    (tmp_path / "bad" / "manifest.csv").write_text(text)
    with pytest.raises(SystemExit, match="error: 2 problem") as caught:
        run("check", "--data", tmp_path / "bad", "--near-bits", -1)
    assert "mask is missing" in str(caught.value)
    assert "'many', which is no number" in str(caught.value)


def test_tables_that_are_none(tmp_path):
    with pytest.raises(SystemExit, match=r"no manifest\.csv"):
        run("check", "--data", tmp_path)
    (tmp_path / "manifest.csv").write_text("id,file\na,b\n")
    with pytest.raises(SystemExit, match="lacks the column patient_group"):
        run("check", "--data", tmp_path)


def test_real_films_come_through(cxr_dataset, tmp_path):
    reading = read_data_folder(cxr_dataset)
    assert not reading.problems
    assert len(reading.records) == 1072
    assert not check_table(reading.records)
    part = Reading(reading.records[::18])
    prepared = prepare(part, tmp_path / "part", Preparation())
    assert prepared.joined == 0
    originals = {film.name: film for film in read_manifest(cxr_dataset)}
    for film in read_manifest(tmp_path / "part"):
        original = originals[film.name]
        assert (film.group, film.split, film.boxes) == (original.group, original.split, original.boxes)
        assert (film.consensus, film.finding) == (original.consensus, original.finding)
        assert film.image.read_bytes() == original.image.read_bytes()
        for one, other in zip(film.lung_masks, original.lung_masks, strict=True):
            np.testing.assert_array_equal(read_mask(one), read_mask(other))
