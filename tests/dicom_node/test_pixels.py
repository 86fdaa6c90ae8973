"""Files to radiographs: what is read, how it is turned, and what is refused before it does harm."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from dicom_node.errors import NotEligible, NotEligibleReason, UndecodableInstance
from dicom_node.header import text
from dicom_node.orientation import STANDARD
from dicom_node.pixels import MAX_DECODED_BYTES, header_of, read_dataset, read_radiograph, shrink


def refusal(dataset):
    with pytest.raises(NotEligible) as caught:
        read_radiograph(dataset)
    return caught.value.reason


def test_the_demo_film(demo_film):
    assert demo_film.pixels.shape == (1024, 1024)
    assert demo_film.pixels.dtype == np.float32
    assert demo_film.pixels.min() >= 0
    assert demo_film.pixels.max() <= 1
    assert demo_film.view_position == "PA"
    assert not demo_film.orientation_assumed
    assert demo_film.warnings == ()
    # lungs are dark, the spine between them is bright
    rows = demo_film.pixels[400:600]
    assert rows[:, 500:540].mean() > rows[:, 250:400].mean() + 0.1


def test_reading_leaves_the_data_set_as_it_was(demo_bytes):
    dataset = read_dataset(demo_bytes)
    before = len(dataset.PixelData)
    radiograph = read_radiograph(dataset)
    assert len(dataset.PixelData) == before
    assert "PixelData" not in radiograph.dataset
    assert radiograph.dataset.PatientName == dataset.PatientName
    assert radiograph.dataset.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID


def test_names_in_other_scripts_survive_the_header(new_film, encoded):
    dataset = new_film(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
    header = header_of(read_dataset(encoded(dataset)))
    assert str(header.PatientName) == "Yamada^Tarou=山田^太郎"


def test_a_film_stored_mirrored_is_shown_as_it_hangs(demo_film, new_film, film_of):
    pixels = np.round(demo_film.pixels * 4095).astype(np.uint16)
    plain = film_of(new_film(pixels, BitsStored=12, HighBit=11))
    turned = film_of(
        new_film(pixels.T[::-1].copy(), BitsStored=12, HighBit=11, PatientOrientation=["F", "R"])
    )
    assert turned.orientation.transposed
    assert np.array_equal(
        turned.pixels, turned.orientation.to_display(turned.orientation.to_stored(turned.pixels))
    )
    mirrored = film_of(
        new_film(pixels[:, ::-1].copy(), BitsStored=12, HighBit=11, PatientOrientation=["R", "F"])
    )
    assert np.array_equal(mirrored.pixels, plain.pixels)
    upside_down = film_of(
        new_film(pixels[::-1].copy(), BitsStored=12, HighBit=11, PatientOrientation=["L", "H"])
    )
    assert np.array_equal(upside_down.pixels, plain.pixels)
    lying = film_of(new_film(pixels.T.copy(), BitsStored=12, HighBit=11, PatientOrientation=["F", "L"]))
    assert np.array_equal(lying.pixels, plain.pixels)


@pytest.mark.parametrize("stated", [None, "", ["L", "R"], ["E", "S"]])
def test_without_a_usable_orientation_the_standard_is_assumed_and_said(stated, new_film, film_of):
    radiograph = film_of(new_film(PatientOrientation=stated))
    assert radiograph.orientation_assumed
    assert radiograph.orientation == STANDARD
    assert radiograph.warnings == ("image orientation is not stated; the standard display was assumed",)


@pytest.mark.parametrize("missing", ["Rows", "BitsAllocated", "BitsStored", "PhotometricInterpretation"])
def test_missing_image_attributes_give_a_picture_or_a_reason(missing, new_film, encoded):
    dataset = read_dataset(encoded(new_film(**{missing: None})))
    if missing in ("Rows", "BitsAllocated"):
        assert refusal(dataset) is NotEligibleReason.BROKEN_PIXELS
    else:
        assert read_radiograph(dataset).pixels.shape == (320, 300)


def test_no_pixel_data(new_film, encoded):
    assert refusal(read_dataset(encoded(new_film(PixelData=None)))) is NotEligibleReason.NO_PIXELS
    assert refusal(read_dataset(encoded(new_film(PixelData=b"")))) is NotEligibleReason.NO_PIXELS


def test_pixel_data_cut_off(new_film, encoded):
    whole = encoded(new_film())
    assert refusal(read_dataset(whole[: len(whole) * 6 // 10])) is NotEligibleReason.BROKEN_PIXELS


def test_several_frames(new_film, encoded):
    assert refusal(read_dataset(encoded(new_film(NumberOfFrames=2)))) is NotEligibleReason.MULTI_FRAME
    assert read_radiograph(read_dataset(encoded(new_film(NumberOfFrames=1)))).pixels.shape == (320, 300)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.RLELossless])
def test_a_header_that_announces_too_much_is_refused_before_memory_is_taken(syntax, new_film):
    dataset = new_film(Rows=60000, Columns=60000)
    dataset.file_meta.TransferSyntaxUID = syntax
    assert MAX_DECODED_BYTES < 60000 * 60000 * 2
    assert refusal(dataset) is NotEligibleReason.TOO_LARGE


@pytest.mark.parametrize("bits", [1, 12, 32, 64])
def test_unusual_bit_depths_are_refused(bits, new_film):
    assert refusal(new_film(BitsAllocated=bits)) is NotEligibleReason.BROKEN_PIXELS


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
def test_colour_that_is_grey_in_truth(planar, interpretation, demo_pixels, new_film, film_of):
    grey = (demo_pixels >> 4).astype(np.uint8)
    neutral = np.full_like(grey, 128)
    channels = [grey, neutral, neutral] if interpretation == "YBR_FULL" else [grey, grey, grey]
    pixels = np.stack(channels, axis=2)
    data = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    radiograph = film_of(
        new_film(pixels, PixelData=data, PlanarConfiguration=planar, PhotometricInterpretation=interpretation)
    )
    assert np.allclose(radiograph.pixels, grey / 255, atol=1e-6)
    assert "a colour image that shows grey was turned into grey" in radiograph.warnings


def test_a_colour_picture_is_no_radiograph(new_film):
    colours = np.random.default_rng(1).integers(0, 255, (320, 300, 3)).astype(np.uint8)
    assert refusal(new_film(colours)) is NotEligibleReason.NOT_A_RADIOGRAPH


def test_a_grey_palette(new_film, film_of):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (300, 2))
    palette = {
        f"{name}PaletteColorLookupTable{part}": value
        for name in ("Red", "Green", "Blue")
        for part, value in (
            ("Descriptor", [256, 0, 16]),
            ("Data", (np.arange(256, dtype=np.uint16) * 257).tobytes()),
        )
    }
    radiograph = film_of(new_film(ramp, PhotometricInterpretation="PALETTE COLOR", **palette))
    assert np.allclose(radiograph.pixels, ramp / 255, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("content", [b"", b"not DICOM at all", bytes(200), b"\x89PNG\r\n\x1a\n" + bytes(500)])
def test_what_is_not_dicom_is_undecodable(content):
    with pytest.raises(UndecodableInstance):
        read_dataset(content)


def test_a_data_set_without_preamble_is_read(new_film, encoded):
    whole = encoded(new_film())
    bare = whole[whole.index(b"\x08\x00\x16\x00UI") :]
    dataset = read_dataset(bare)
    assert dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert read_radiograph(dataset).pixels.shape == (320, 300)


def test_a_deflate_bomb_is_stopped(new_film, encoded):
    whole = encoded(new_film())
    start = whole.index(b"\x08\x00\x16\x00UI")
    dataset = new_film()
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    deflated = encoded(dataset)
    meta_end = 144 + int.from_bytes(deflated[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(whole[start:])
    for _ in range(200):
        body += packer.compress(bytes(1 << 20))
    bomb = deflated[:meta_end] + body + packer.flush()
    assert len(bomb) < 1 << 20
    with pytest.raises(UndecodableInstance, match="larger than 144 MiB"):
        read_dataset(bomb)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header_damage=st.lists(st.tuples(st.integers(132, 2200), st.integers(0, 255)), max_size=5),
    frame_damage=st.lists(st.tuples(st.integers(2200, 500_000), st.integers(0, 255)), max_size=2),
    kept=st.sampled_from([1.0, 0.5, 0.003, 0.001]),
)
def test_damaged_files_end_in_one_of_our_errors(header_damage, frame_damage, kept, demo_path):
    """Bytes changed and lost anywhere in header and frame."""
    damaged = bytearray(demo_path.read_bytes())
    for at, value in header_damage + frame_damage:
        damaged[at] = value
    try:
        radiograph = read_radiograph(read_dataset(bytes(damaged[: int(kept * len(damaged))])))
    except (UndecodableInstance, NotEligible):
        return
    assert radiograph.pixels.ndim == 2
    assert radiograph.pixels.dtype == np.float32
    assert np.isfinite(radiograph.pixels).all()


def test_elements_that_cannot_be_read_are_left_out_of_the_header(new_film, encoded):
    whole = encoded(new_film(Manufacturer="ACME"))
    dataset = read_dataset(whole.replace(b"LO\x04\x00ACME", b"L\x00\x04\x00ACME"))
    header = read_radiograph(dataset).dataset
    assert text(header, "Manufacturer") == ""
    assert header.PatientID == "P-1"


def test_exchanged_black_and_white_is_noticed(demo_film, new_film, film_of):
    pixels = np.round(demo_film.pixels * 4095).astype(np.uint16)
    keywords = {"BitsStored": 12, "HighBit": 11, "WindowCenter": "2048", "WindowWidth": "4096"}
    right = film_of(new_film(pixels, **keywords))
    wrong = film_of(new_film(pixels, PhotometricInterpretation="MONOCHROME1", **keywords))
    assert right.warnings == ()
    assert "black and white look exchanged" in wrong.warnings[0]


def test_shrink_never_enlarges():
    film = np.zeros((100, 50), np.float32)
    assert shrink(film, 200) is film
    assert shrink(film, 40).shape == (40, 20)


def test_a_damaged_pixel_data_element_is_told_as_such(new_film, encoded):
    content = bytearray(encoded(new_film()))
    at = content.index(b"\xe0\x7f\x10\x00OW")
    content[at + 5] = 0
    with pytest.raises(UndecodableInstance, match="damaged"):
        read_radiograph(read_dataset(bytes(content)))
