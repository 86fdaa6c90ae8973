import numpy as np
import pytest
from PIL import Image

from training.data.film_record import PrepareError
from training.data.manifest import read_rows
from training.data.pictures import PictureError
from training.data.preparation import Preparation, prepare
from training.data.readers.dicom_folder import DicomOptions, DicomPicture, read_dicom_folder

ROWS, COLUMNS = 300, 280
RAMP = np.tile(np.linspace(0, 4095, COLUMNS).astype(np.uint16), (ROWS, 1))


@pytest.fixture
def write(make_film, tmp_path):
    """``write("name", Keyword=value)`` puts a film into ``tmp_path/dicom``."""

    def put(name, **keywords):
        path = tmp_path / "dicom" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = {"Rows": ROWS, "Columns": COLUMNS, "PixelData": RAMP.tobytes()}
        path.write_bytes(make_film(**(size | keywords)))
        return path

    return put


def test_greys_are_those_the_worker_sees(write):
    pixels = DicomPicture(write("a.dcm")).load()
    assert pixels.shape == (ROWS, COLUMNS)
    assert pixels.dtype == np.uint8
    assert np.all(np.diff(pixels[0].astype(int)) >= 0)
    assert pixels[0, 0] == 0
    assert pixels[0, -1] == 255


def test_nothing_personal_reaches_the_data_folder(write, tmp_path):
    secrets = {
        "PatientID": "4711007",
        "PatientName": "Beispiel^Erika",
        "AccessionNumber": "ACC98765",
        "SOPInstanceUID": "1.2.3.4711007.1",
        "PatientAge": "097Y",
        "PatientSex": "F",
        "StudyDate": "20210314",
    }
    write("Beispiel_Erika.dcm", **secrets)
    write(
        "second.dcm",
        **(secrets | {"SOPInstanceUID": "1.2.3.4711007.2", "PixelData": RAMP[:, ::-1].tobytes()}),
    )
    write("other.dcm", PatientID="4711008", PixelData=RAMP[::-1].T.copy().tobytes())
    reading = read_dicom_folder(tmp_path / "dicom", DicomOptions("pepper"))
    films = reading.records
    assert [film.age for film in films if film.sex == "F"] == [90, 90]
    assert len({film.patient_group for film in films}) == 2
    prepare(reading, tmp_path / "out", Preparation(split="patient", ratios=(1, 0, 0)))
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    written += " ".join(path.name for path in (tmp_path / "out").rglob("*")).encode()
    for secret in (*secrets.values(), "Erika", "Beispiel", "4711007"):
        if len(secret) > 4:
            assert secret.encode() not in written
    rows = read_rows(tmp_path / "out" / "manifest.csv")
    assert {row["view"] for row in rows} == {"PA"}


def test_salt_decides_the_hashes(write, tmp_path):
    write("a.dcm", SOPInstanceUID="1.2.3")
    names = [
        read_dicom_folder(tmp_path / "dicom", DicomOptions(salt)).records[0] for salt in ("one", "one", "two")
    ]
    assert names[0].name == names[1].name != names[2].name
    assert names[0].patient_group == names[1].patient_group != names[2].patient_group


def test_masks_by_uid_and_by_file_name_are_turned_with_the_film(write, tmp_path):
    write("by_uid.dcm", SOPInstanceUID="1.2.3.4", PatientOrientation=["R", "F"])
    write("by_name.dcm", SOPInstanceUID="1.2.3.5")
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    mask[50:100, 20:60] = 255
    (tmp_path / "lungs").mkdir()
    for name in ("1.2.3.4", "by_name", "stray"):
        Image.fromarray(mask).save(tmp_path / "lungs" / f"{name}.png")
    reading = read_dicom_folder(tmp_path / "dicom", DicomOptions("s", lung_masks=tmp_path / "lungs"))
    by_path = {film.image.path.stem: film for film in reading.records}
    np.testing.assert_array_equal(by_path["by_name"].lung_mask.load(), mask)
    np.testing.assert_array_equal(by_path["by_uid"].lung_mask.load(), mask[:, ::-1])  # rows point right
    np.testing.assert_array_equal(by_path["by_uid"].image.load(), by_path["by_name"].image.load()[:, ::-1])
    (problem,) = reading.problems
    assert "stray.png" in problem.message


def test_what_is_no_frontal_chest_is_counted(write, tmp_path):
    write("chest.dcm")
    write("side.dcm", ViewPosition="LL")
    write("hand.dcm", BodyPartExamined="HAND")
    write("hand2.dcm", BodyPartExamined="HAND")
    (tmp_path / "dicom" / "notes.dcm").write_bytes(bytes(200))
    reading = read_dicom_folder(tmp_path / "dicom", DicomOptions("s"))
    assert len(reading.records) == 1
    assert reading.left_out == {"not eligible: lateral-view": 1, "not eligible: not-a-chest": 2}
    assert [problem.kind for problem in reading.problems] == ["file that is no DICOM object"]


def test_a_film_cut_off_is_a_problem_not_a_crash(write, tmp_path):
    path = write("a.dcm")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(PictureError) as caught:
        DicomPicture(path).load()
    assert caught.value.kind == "image cannot be read"


def test_no_film(write, tmp_path):
    write("hand.dcm", BodyPartExamined="HAND")
    with pytest.raises(PrepareError, match="1 not eligible: not-a-chest"):
        read_dicom_folder(tmp_path / "dicom", DicomOptions("s"))
