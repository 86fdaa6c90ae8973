import base64
import io
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.data.film_record import FilmRecord, PrepareError, ReaderScores
from training.data.manifest import read_data_folder
from training.data.pictures import MaskFile, PictureError
from training.data.preparation import Preparation, prepare
from training.data.readers.supervisely import SuperviselyOptions, read_supervisely
from training.data.readers.supervisely_bitmap import decode_bitmap, encode_bitmap, opened
from training.data.supervisely_export import write_supervisely

OPTIONS = SuperviselyOptions()
ROWS, COLUMNS = 70, 90


def packed(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def bitmap(mask, origin=(0, 0), name="COVID-19", mode="RGBA"):
    plane = np.where(mask, 255, 0).astype(np.uint8)
    picture = Image.fromarray(plane)
    if mode == "RGBA":
        picture = Image.merge("RGBA", [picture] * 4)
    elif mode == "P":
        picture = Image.fromarray((plane > 0).astype(np.uint8))
        picture.putpalette([0, 0, 0, 1, 1, 1])
    return {"classTitle": name, "bitmap": {"data": packed(picture), "origin": list(origin)}}


def project(folder, films, dataset="Set_A"):
    for part in ("img", "ann"):
        (folder / dataset / part).mkdir(parents=True)
    (folder / "meta.json").write_text('{"classes": [], "tags": []}')
    for number, (name, (tags, objects)) in enumerate(films.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (ROWS, COLUMNS), np.uint8)
        Image.fromarray(pixels).save(folder / dataset / "img" / name)
        content = {"size": {"height": ROWS, "width": COLUMNS}, "tags": tags, "objects": objects}
        (folder / dataset / "ann" / f"{name}.json").write_text(json.dumps(content))
    return folder


def tags(**values):
    return [{"name": name.replace("_", " "), "value": value} for name, value in values.items()]


SQUARE = np.ones((10, 12), bool)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_bitmap_round_trip(seed, rows, columns):
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.3
    mask[rows // 2, columns // 2] = True
    data, (left, top) = encode_bitmap(mask)
    piece = decode_bitmap(data)
    painted = np.zeros_like(mask)
    painted[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    np.testing.assert_array_equal(painted, mask)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_bitmaps_of_every_kind(mode):
    mask = np.eye(9, dtype=bool)
    np.testing.assert_array_equal(decode_bitmap(bitmap(mask, mode=mode)["bitmap"]["data"]), mask)


def test_alpha_counts_not_colour():
    colour, alpha = np.zeros((5, 6, 3), np.uint8), np.full((5, 6, 1), 255, np.uint8)
    assert decode_bitmap(packed(Image.fromarray(np.concatenate([colour, alpha], 2)))).all()


@pytest.mark.parametrize("data", ["no base64!", base64.b64encode(b"no zlib").decode(), ""])
def test_bitmap_that_is_none(data):
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_bitmap(data)


def test_objects_are_joined_and_do_not_erase_each_other(tmp_path):
    # The second object's rectangle covers the first; the published code lets it erase it.
    ring = np.zeros((40, 40), bool)
    ring[0], ring[-1] = True, True
    objects = [bitmap(SQUARE, (20, 15)), bitmap(ring, (10, 5)), bitmap(SQUARE, (0, 60), "Lungs")]
    reading = read_supervisely(project(tmp_path, {"a.png": ([], objects)}), OPTIONS)
    expected = np.zeros((ROWS, COLUMNS), bool)
    expected[15:25, 20:32] = True
    expected[5:45, 10:50] |= ring
    (film,) = reading.records
    np.testing.assert_array_equal(film.opacity_mask.load() > 0, expected)
    assert int((film.lung_mask.load() > 0).sum()) == SQUARE.size
    assert (film.name, film.source, film.finding_group) == ("set-a_a", "set-a", "covid")


def test_tags(tmp_path):
    films = {
        "both.png": (tags(Score_R="3", Score_D=4, Poor_quality_D="No"), [bitmap(SQUARE)]),
        "one.png": (tags(Score_D="5", Poor_quality_R="Yes"), [bitmap(SQUARE)]),
        "inexact.png": (tags(Inaccurate_labelling=None), [bitmap(SQUARE)]),
        "normal.png": (tags(Normal=None), [bitmap(SQUARE)]),
        "second.png": ([*tags(Score_R="1"), *tags(Normal=None)], []),
    }
    reading = read_supervisely(project(tmp_path, films), OPTIONS)
    by_name = {record.original_filename: record for record in reading.records}
    assert by_name["both.png"].readers == ReaderScores(3.0, 4.0, False)
    assert by_name["both.png"].readers.consensus == 3.5
    assert by_name["one.png"].readers.consensus == 5
    assert by_name["one.png"].readers.poor_quality
    assert by_name["inexact.png"].tags == ("inaccurate_labelling",)
    assert by_name["normal.png"].finding_group == "normal"
    assert not by_name["normal.png"].opacity_mask.load().any()  # even where an object lies on it
    assert "second.png" not in by_name  # Normal is not its first tag, and nothing is marked
    assert list(reading.left_out.values()) == [1]
    assert reading.notes[1:] == ("1 film(s) tagged Normal have objects of class COVID-19",)


def test_polygons_with_a_hole(tmp_path):
    points = {
        "exterior": [[10, 10], [50, 10], [50, 40], [10, 40]],
        "interior": [[[20, 20], [30, 20], [30, 30]]],
    }
    objects = [{"classTitle": "COVID-19", "geometryType": "polygon", "points": points}]
    (film,) = read_supervisely(project(tmp_path, {"a.png": ([], objects)}), OPTIONS).records
    mask = film.opacity_mask.load() > 0
    assert mask[11:40, 11:19].all()
    assert not mask[22, 28]
    assert mask.sum() == pytest.approx(40 * 30 - 50, abs=10)


def test_clean_up_removes_whiskers_only_when_asked(tmp_path):
    mask = np.zeros((300, 300), bool)
    mask[50:250, 50:250] = True
    mask[150, 250:290] = True
    cleaned = opened(mask)  # 1 % of 300 px is 3 px
    assert not cleaned[150, 260:290].any()
    assert cleaned[60:240, 60:240].all()
    np.testing.assert_array_equal(opened(mask[:90, :90]), mask[:90, :90])  # a side of 1 px changes nothing


def test_every_fault_is_collected(tmp_path):
    films = {
        f"{name}.png": ([], [bitmap(SQUARE)])
        for name in ("json", "size", "form", "score", "noann", "noimg", "beyond")
    }
    folder = project(tmp_path, films)
    ann = folder / "Set_A" / "ann"
    (ann / "json.png.json").write_text("{")
    (ann / "size.png.json").write_text('{"objects": [], "tags": []}')
    (ann / "form.png.json").write_text(
        '{"objects": [], "tags": ["Normal"], "size": {"height": 1, "width": 1}}'
    )
    content = json.loads((ann / "score.png.json").read_text()) | {"tags": tags(Score_R="many")}
    (ann / "score.png.json").write_text(json.dumps(content))
    (ann / "noann.png.json").unlink()
    (folder / "Set_A" / "img" / "noimg.png").unlink()
    content = json.loads((ann / "beyond.png.json").read_text())
    content["objects"][0]["bitmap"]["origin"] = [COLUMNS - 3, 0]
    (ann / "beyond.png.json").write_text(json.dumps(content))
    reading = read_supervisely(folder, OPTIONS)
    assert {problem.name.split("_")[1]: problem.kind for problem in reading.problems} == {
        "json": "annotation that cannot be understood",
        "size": "annotation that cannot be understood",
        "form": "annotation that cannot be understood",
        "score": "annotation that cannot be understood",
        "noann": "annotation is missing",
        "noimg": "image is missing",
    }
    (film,) = reading.records
    with pytest.raises(PictureError, match="beyond the film"):
        film.opacity_mask.load()
    with pytest.raises(PrepareError, match="7 problem") as caught:
        prepare(reading, tmp_path / "out", Preparation(split="patient"))
    assert "cannot be understood" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_project(tmp_path):
    with pytest.raises(PrepareError, match="no Supervisely project"):
        read_supervisely(tmp_path, OPTIONS)


def test_round_trip_through_a_project(data_folder, tmp_path):
    records = [record for record in read_data_folder(data_folder).records[:8] if not record.boxes]
    write_supervisely(records, tmp_path / "project", OPTIONS)
    assert json.loads((tmp_path / "project" / "meta.json").read_text())["classes"][0]["title"] == "Lungs"
    back = {record.name: record for record in read_supervisely(tmp_path / "project", OPTIONS).records}
    assert set(back) == {record.name for record in records}
    for record in records:
        again: FilmRecord = back[record.name]
        np.testing.assert_array_equal(again.image.load(), record.image.load())
        if record.opacity_mask is not None:
            np.testing.assert_array_equal(again.opacity_mask.load(), record.opacity_mask.load())
        if record.finding_group != "normal":
            np.testing.assert_array_equal(again.lung_mask.load(), record.lung_mask.load())
        else:
            assert again.finding_group == "normal"


def test_palette_masks_count_by_index(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    picture.putpalette([0, 0, 0, 1, 1, 1])
    picture.save(tmp_path / "mask.png")
    assert MaskFile(tmp_path / "mask.png").load().tolist() == [[0, 255], [255, 0]]
