import json

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data.film_record import PrepareError
from training.data.pictures import PictureError
from training.data.polygons import PolygonMask, fill, filled_runs
from training.data.readers.darwin import DarwinOptions, read_darwin

ROWS, COLUMNS = 120, 100


def test_fill_a_rectangle_exactly():
    mask = fill([((2, 3), (7, 3), (7, 9), (2, 9))], (12, 12))
    expected = np.zeros((12, 12), bool)
    expected[3:9, 2:7] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("points", [24, 60])
def test_outline_of_an_ellipse_gives_its_mask(points):
    """Polygon to mask: IoU at least 0.99 against the exact shape; a library's drawing falls short."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    outline = tuple(zip(50.3 + 33 * np.cos(angle), 61.7 + 41 * np.sin(angle), strict=True))
    fine = 8
    y, x = (np.mgrid[: ROWS * fine, : COLUMNS * fine] + 0.5) / fine
    inside = np.ones(x.shape, bool)  # a convex polygon: left of every edge
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    exact = inside.reshape(ROWS, fine, COLUMNS, fine).mean((1, 3))
    mask = fill([outline], (ROWS, COLUMNS))
    assert np.minimum(mask, exact).sum() / np.maximum(mask, exact).sum() >= 0.98  # of soft pixels
    assert (mask & (exact > 0.5)).sum() / (mask | (exact > 0.5)).sum() >= 0.99
    drawn = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.fillPoly(drawn, [np.rint(np.array(outline)).astype(np.int32)], 1)
    assert drawn.sum() > mask.sum() * 1.01


def test_hole_and_frame():
    outer, inner = ((-5, -5), (15, -5), (15, 15), (-5, 15)), ((2, 2), (6, 2), (6, 6), (2, 6))
    mask = fill([outer, inner], (10, 10))
    assert mask.sum() == 100 - 16
    assert not mask[2:6, 2:6].any()


def test_neighbours_share_no_pixel_and_leave_none_out():
    left, right = ((0, 0), (4.5, 0), (5.5, 10), (0, 10)), ((4.5, 0), (10, 0), (10, 10), (5.5, 10))
    one, other = fill([left], (10, 10)), fill([right], (10, 10))
    assert not (one & other).any()
    assert (one | other).all()


def test_runs_go_down_the_columns():
    mask = filled_runs([1, 2, 3], (3, 2))
    assert mask.tolist() == [[False, False], [True, False], [True, False]]
    with pytest.raises(PictureError, match="runs of 5 pixels"):
        PolygonMask("x.json", (3, 2), (), ((2, 3),)).load()


def images(folder, *names):
    (folder / "images").mkdir(parents=True)
    for name in names:
        Image.fromarray(np.full((ROWS, COLUMNS), 90, np.uint8)).save(folder / "images" / name)
    return folder


def semantic(folder, name, values):
    (folder / "masks").mkdir(exist_ok=True)
    Image.fromarray(values).save(folder / "masks" / name)


@pytest.mark.parametrize("keep", [False, True])
def test_semantic_masks(tmp_path, keep):
    images(tmp_path, "a.png", "lateral.png", "slice.png", "odd.png")
    values = np.zeros((ROWS, COLUMNS), np.uint8)
    semantic(tmp_path, "lateral.png", values)
    values[10:50, 10:40], values[20:30, 20:30] = 255, 127
    semantic(tmp_path, "a.png", values)
    semantic(tmp_path, "odd.png", values // 2)
    semantic(tmp_path, "stray.png", values)
    reading = read_darwin(DarwinOptions(tmp_path / "images", tmp_path / "masks", keep_ignored=keep))
    (film,) = reading.records
    assert film.name == "darwin_a"
    np.testing.assert_array_equal(film.lung_mask.load() == 255, values == 255)  # 127 is background
    assert (film.ignore_mask is not None) == keep
    if keep:
        np.testing.assert_array_equal(film.ignore_mask.load() == 255, values == 127)
    assert reading.left_out == {"no lung is marked": 2}  # an all-zero mask, and no mask
    assert {problem.name: problem.kind for problem in reading.problems} == {
        "darwin_odd": "mask with other values",
        "darwin_stray": "image is missing",
    }


def corners(*points):
    return [{"x": x, "y": y} for x, y in points]


RIGHT = corners((10, 10), (40, 10), (40, 100), (10, 100))
LEFT = corners((60, 10), (90, 10), (90, 100), (60, 100))
HOLE = corners((20, 20), (30, 20), (30, 30), (20, 30))
EXPECTED = np.zeros((ROWS, COLUMNS), bool)
EXPECTED[10:100, 10:40], EXPECTED[20:30, 20:30], EXPECTED[10:100, 60:90] = True, False, True


def version_1(name, annotations):
    return {
        "image": {"width": COLUMNS, "height": ROWS, "filename": f"00_{name}", "original_filename": name},
        "annotations": annotations,
    }


def version_2(name, annotations):
    slot = {"slot_name": "0", "width": COLUMNS, "height": ROWS}
    return {"version": "2.0", "item": {"name": name, "slots": [slot]}, "annotations": annotations}


def test_darwin_json_of_both_versions(tmp_path):
    images(tmp_path, "one.png", "two.png", "side.png", "ct.png", "none.png")
    tag = [
        {"name": "Viral Pneumonia", "tag": {}},
        {"name": "COVID-19", "tag": {}},
        {"name": "Age/61", "tag": {}},
    ]
    old = [
        {"name": "Lung", "complex_polygon": {"path": [RIGHT, HOLE]}},
        {"name": "Lung", "polygon": {"path": LEFT}},
    ]
    new = [
        {"name": "Lung", "polygon": {"paths": [RIGHT, HOLE]}},
        {"name": "Lung", "polygon": {"paths": [LEFT]}},
        {"name": "Ignore", "polygon": {"paths": [corners((60, 10), (90, 10), (90, 20), (60, 20))]}},
        *tag,
    ]
    files = {
        "one": version_1("one.png", old),
        "two": version_2("two.png", new),
        "side": version_2("side.png", [{"name": "Lateral", "tag": {}}]),
        "ct": version_2("ct.png", [{"name": "Axial CT", "tag": {}}]),
        "gone": version_2("gone.png", old),
        "thin": version_2("thin.png", [{"name": "Lung", "polygon": {"paths": [RIGHT[:2]]}}]),
    }
    (tmp_path / "json").mkdir()
    for name, content in files.items():
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "json" / "torn.json").write_text('{"item"')
    reading = read_darwin(DarwinOptions(tmp_path / "images", tmp_path / "json", keep_ignored=True))
    one, two = reading.records
    np.testing.assert_array_equal(one.lung_mask.load() > 0, EXPECTED)
    without = EXPECTED.copy()
    without[10:20, 60:90] = False
    np.testing.assert_array_equal(two.lung_mask.load() > 0, without)
    assert two.ignore_mask.load()[10:20, 60:90].all()
    assert (two.finding_group, two.age) == ("covid", 61)
    assert reading.left_out == {"lateral film": 1, "CT slice": 1, "no annotation": 1}
    assert {problem.name: problem.kind for problem in reading.problems} == {
        "darwin_gone": "image is missing",
        "darwin_thin": "annotation that cannot be understood",
        "darwin_torn": "annotation that cannot be understood",
    }


def test_coco(tmp_path):
    images(tmp_path, "one.png", "two.png", "three.png")
    flat = [[value for point in ring for value in (point["x"], point["y"])] for ring in (RIGHT, LEFT)]
    runs = [0, ROWS, ROWS * (COLUMNS - 1)]
    content = {
        "images": [
            {"id": number, "file_name": f"sub/{name}.png", "width": COLUMNS, "height": ROWS}
            for number, name in enumerate(("one", "two", "three"))
        ],
        "categories": [{"id": 7, "name": "Lung"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 7, "segmentation": flat},
            {
                "id": 2,
                "image_id": 1,
                "category_id": 7,
                "segmentation": {"counts": runs, "size": [ROWS, COLUMNS]},
            },
            {
                "id": 3,
                "image_id": 2,
                "category_id": 7,
                "segmentation": {"counts": "abc", "size": [ROWS, COLUMNS]},
            },
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    reading = read_darwin(DarwinOptions(tmp_path / "images", tmp_path / "coco.json"))
    one, two = (record.lung_mask.load() > 0 for record in reading.records)
    filled = EXPECTED.copy()
    filled[20:30, 20:30] = True
    np.testing.assert_array_equal(one, filled)
    assert two[:, 0].all()
    assert not two[:, 1:].any()
    (problem,) = reading.problems
    assert problem.name == "darwin_three"
    assert "compressed" in problem.message


def test_exports_that_are_none(tmp_path):
    images(tmp_path, "one.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "coco.json").write_text("[]")
    for where, message in (("empty", "neither PNG"), ("coco.json", "no COCO file")):
        with pytest.raises(PrepareError, match=message):
            read_darwin(DarwinOptions(tmp_path / "images", tmp_path / where))
    with pytest.raises(PrepareError, match="no picture"):
        read_darwin(DarwinOptions(tmp_path / "empty", tmp_path / "coco.json"))
