"""Each command from its arguments to its data folder."""

import stat

import numpy as np
import pytest
from PIL import Image

from training.data.dataset import read_manifest, read_mask
from training.data.manifest import read_rows
from training.prepare import main


def run(*arguments):
    main([str(argument) for argument in arguments])


def rows(folder):
    return {row["id"]: row for row in read_rows(folder / "manifest.csv")}


@pytest.fixture
def picture():
    def write(path, seed, shape=(80, 90)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)

    return write


def test_to_an_annotator_and_back(data_folder, tmp_path, capsys):
    project = tmp_path / "project"
    run("supervisely-export", "--data", data_folder, "--out", project)
    arguments = ("--out", tmp_path / "back", "--near-bits", -1, "--ratio", 0.5, 0.25, 0.25)
    run("supervisely", project, *arguments)
    assert "each film counts as a patient of its own" in capsys.readouterr().out
    films = {film.name: film for film in read_manifest(tmp_path / "back")}
    for original in read_manifest(data_folder):
        film = films[original.name]
        np.testing.assert_array_equal(read_mask(film.lung_masks[0]), read_mask(original.lung_masks[0]))
        assert (film.finding == "normal") == (original.finding == "normal")
    with pytest.raises(SystemExit, match="exists; name a folder"):
        run("supervisely", project, *arguments)


def test_darwin_with_patients_from_a_table(tmp_path, picture):
    for number in range(6):
        picture(tmp_path / "images" / f"film{number}.png", number)
        mask = np.zeros((80, 90), np.uint8)
        mask[10:60, 10 + number : 40], mask[0:5] = 255, 127
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"film{number}.png")
    table = ["filename,patient,sex,country", *(f"film{n}.png,{n // 2},F,Italy" for n in range(6))]
    (tmp_path / "more.csv").write_text("\n".join(table))
    run(
        *(
            "darwin",
            tmp_path / "images",
            "--annotations",
            tmp_path / "masks",
            "--name",
            "v7",
            "--keep-ignored",
        ),
        *(
            "--metadata",
            tmp_path / "more.csv",
            "--out",
            tmp_path / "out",
            "--require",
            "lung-mask",
            "patient",
        ),
        *("--ratio", 1, 1, 1),
    )
    table = rows(tmp_path / "out")
    assert table["v7_film0"]["patient_group"] == table["v7_film1"]["patient_group"] == "v7-0"
    assert {row["split"] for row in table.values()} == {"train", "val", "test"}
    assert {row["country"] for row in table.values()} == {"Italy"}
    assert read_mask(tmp_path / "out" / table["v7_film0"]["ignore_mask_file"])[:5].all()
    assert not read_mask(tmp_path / "out" / table["v7_film0"]["mask_file"])[:5].any()


def test_dicom_with_a_kept_salt(make_film, tmp_path):
    (tmp_path / "films").mkdir()
    for patient in "AAB":
        count = len(list((tmp_path / "films").iterdir()))
        pixels = np.random.default_rng(count).integers(0, 4096, (260, 300), np.uint16).tobytes()
        size = {"Rows": 260, "Columns": 300, "PixelData": pixels, "SOPInstanceUID": f"1.2.{count}"}
        (tmp_path / "films" / f"{count}.dcm").write_bytes(make_film(PatientID=patient, **size))
    salt = tmp_path / "salt"
    for out in ("one", "two"):
        run("dicom", tmp_path / "films", "--salt-file", salt, "--out", tmp_path / out, "--ratio", 1, 0, 0)
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    groups = [
        {row["id"]: row["patient_group"] for row in rows(tmp_path / out).values()} for out in ("one", "two")
    ]
    assert groups[0] == groups[1]
    assert len(set(groups[0].values())) == 2


def test_folders_reduced_and_as_jpeg(tmp_path, picture):
    for number in range(4):
        picture(tmp_path / "in" / "img" / f"[{number}].png", number, (400, 300))
        (tmp_path / "in" / "mask").mkdir(exist_ok=True)
        mask = np.zeros((400, 300), np.uint8)
        mask[50:300, 20:120] = 1
        Image.fromarray(mask).save(tmp_path / "in" / "mask" / f"[{number}].png")
    run(
        *("folders", tmp_path / "in", "--name", "Clinic", "--out", tmp_path / "out"),
        *("--longest-side", 200, "--jpeg", 90, "--ratio", 0.5, 0.5, 0),
    )
    films = read_manifest(tmp_path / "out")
    assert [film.split for film in films].count("train") == 2
    for film in films:
        with Image.open(film.image) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (150, 200), "L")
        assert read_mask(film.lung_masks[0]).sum() == 125 * 50


def test_layout_and_describe(data_folder, tmp_path, capsys):
    run("layout", "--data", data_folder, "--out", tmp_path / "layout", "--crop", "double")
    assert "18 film(s) written" in capsys.readouterr().out
    names = [path.name for path in (tmp_path / "layout" / "train").glob("*/img/*")]
    assert len(names) == 24  # twelve of the sixteen training films, two lungs each
    assert {name.rsplit("_", 1)[1] for name in names} == {"right.png", "left.png"}
    run("describe", "--data", data_folder, "--out", tmp_path / "told")
    told = capsys.readouterr().out
    assert "data.md" in told
    assert "--any-licence" in told


@pytest.mark.parametrize("command", ["manifest", "supervisely", "folders", "dicom"])
def test_a_source_that_is_none(command, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"error: (no|.* is no)"):
        run(command, tmp_path / "empty", "--out", tmp_path / "out")
