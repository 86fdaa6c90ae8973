import numpy as np
import pytest
from PIL import Image

from training.data.film_record import PrepareError, ReaderScores
from training.data.pictures import GreyFile, MaskFile, PictureError
from training.data.readers.folders import FolderOptions, read_folders
from training.data.readers.metadata import described, read_metadata, with_metadata

ROWS, COLUMNS = 66, 80
LUNGS = np.zeros((ROWS, COLUMNS), np.uint8)
LUNGS[10:60, 10:30] = LUNGS[10:60, 50:70] = 255


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def film(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS), np.uint8)


def test_one_folder(tmp_path):
    put(tmp_path / "img" / "a.png", film())
    put(tmp_path / "mask" / "a.png", LUNGS)
    reading = read_folders(tmp_path, FolderOptions(source="Clinic A"))
    (record,) = reading.records
    assert (record.name, record.patient_group, record.split) == ("clinic-a_a", "clinic-a_a", "")
    np.testing.assert_array_equal(record.lung_mask.load(), LUNGS)
    assert record.opacity_mask is None
    assert "patient of its own" in reading.notes[0]


def test_subsets_data_sets_and_metadata(tmp_path):
    for split, source in (("train", "A"), ("test", "A"), ("train", "B")):
        put(tmp_path / split / source / "images" / f"{split} 1.jpg", film())
        put(tmp_path / split / source / "masks" / f"{split} 1_mask.png", LUNGS)
    (tmp_path / "metadata.csv").write_text(
        "dataset,filename,Score R,Score D,Poor quality R,Poor quality D,Inaccurate labelling,Normal,"
        "Patient,sex,age,GE,ward\n"
        "A,train 1.jpg,3,4,No,Yes,Yes,No,p1,female,67+,2.5,x\n"
        "A,test 1.jpg,,2,No,No,No,No,p2,M,,,\n"
        "B,train 1.jpg,0,0,No,No,No,Yes,p1,,mid 50s,,\n"
    )
    reading = read_folders(tmp_path, FolderOptions(masks_show="opacity"))
    assert not reading.problems
    by_group = {record.patient_group: record for record in reading.records}
    one, two, three = (by_group[group] for group in ("a-p1", "a-p2", "b-p1"))
    assert (one.split, two.split, one.source, three.source) == ("train", "test", "a", "b")
    assert (one.readers, one.readers.consensus) == (ReaderScores(3, 4, True), 3.5)
    assert (two.readers.consensus, three.finding_group, three.age) == (2, "normal", 55)
    assert (one.sex, one.age, one.tags, one.further) == ("F", 67, ("inaccurate_labelling",), {"GE": "2.5"})
    assert one.lung_mask is None
    assert one.opacity_mask.load().any()
    assert reading.notes == ("columns of metadata.csv that mean nothing here: ward",)


def test_faults(tmp_path):
    put(tmp_path / "img" / "a.png", film())
    put(tmp_path / "img" / "b.png", film())
    put(tmp_path / "mask" / "a.png", LUNGS)
    put(tmp_path / "mask" / "c.png", LUNGS)
    (tmp_path / "metadata.csv").write_text("filename,age\na.png,old\n")
    reading = read_folders(tmp_path, FolderOptions())
    assert sorted(problem.kind for problem in reading.problems) == [
        "image is missing",
        "mask is missing",
        "no row in the metadata",
        "value that cannot be understood",
    ]


def test_names_with_odd_characters_stay_apart(tmp_path):
    # The published COVID-19 Radiography Database has both.
    for name in ("COVID-19(199).png", "COVID-19 (199).png"):
        put(tmp_path / "img" / name, film())
    names = {record.name for record in read_folders(tmp_path, FolderOptions(source="crd")).records}
    assert len(names) == 2
    assert all(name.startswith("crd_COVID-19-199-") for name in names)


def test_no_pictures(tmp_path):
    with pytest.raises(PrepareError, match="no folder called img"):
        read_folders(tmp_path, FolderOptions())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,sex\n1,M\n", "names the films"),
        ("filename\na\na\n", "two rows"),
        ("filename\n", "no row"),
        ("filename,age\na,1,2\n", "more fields"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(PrepareError, match=message):
        read_metadata(tmp_path / "t.csv")


def test_metadata_wins_and_keeps_the_rest(tmp_path):
    put(tmp_path / "img" / "a.png", film())
    (tmp_path / "t.csv").write_text("filename;age\n".replace(";", ",") + "a.png,40\n")
    reading = read_folders(tmp_path, FolderOptions(source="s"))
    changed = with_metadata(reading, read_metadata(tmp_path / "t.csv"), lambda r: (r.original_filename,))
    assert changed.records[0].age == 40
    assert changed.records[0].image == reading.records[0].image
    with pytest.raises(ValueError, match="yes or no"):
        described(reading.records[0], {"normal": "perhaps"})


def test_colour_transparency_depth_and_turn(tmp_path):
    colour = np.zeros((4, 6, 4), np.uint8)
    colour[..., 0], colour[..., 3] = 200, 255
    colour[0, 0, 3] = 0
    put(tmp_path / "rgba.png", colour)
    grey = GreyFile(tmp_path / "rgba.png").load()
    assert grey[0, 0] == 0  # transparent is black
    assert grey[1, 1] == round(0.299 * 200)
    deep = np.array([[1000, 2000], [3000, 5000]], np.uint16)
    put(tmp_path / "deep.png", deep)
    assert GreyFile(tmp_path / "deep.png").load().tolist() == [[0, 64], [128, 255]]
    picture = Image.fromarray(film())
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert GreyFile(tmp_path / "turned.jpg").load().shape == (COLUMNS, ROWS)
    assert not GreyFile(tmp_path / "turned.jpg").plain()


def test_masks_that_cannot_be_used(tmp_path):
    Image.fromarray(LUNGS).save(tmp_path / "smooth.jpg", quality=40)
    with pytest.raises(PictureError, match="saved as JPEG") as caught:
        MaskFile(tmp_path / "smooth.jpg").load()
    assert caught.value.kind == "mask with other values"
    red = np.zeros((4, 4, 3), np.uint8)
    red[1, 1, 0] = 255
    put(tmp_path / "red.png", red)
    with pytest.raises(PictureError, match="in colour"):
        MaskFile(tmp_path / "red.png").load()
    whole = (tmp_path / "red.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    for name, kind in (("torn.png", "mask cannot be read"), ("none.png", "mask is missing")):
        with pytest.raises(PictureError) as caught:
            MaskFile(tmp_path / name).load()
        assert caught.value.kind == kind
    put(tmp_path / "ones.png", LUNGS // 255)
    np.testing.assert_array_equal(MaskFile(tmp_path / "ones.png").load(), LUNGS)
