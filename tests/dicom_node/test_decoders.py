"""Every transfer syntax that we offer gives back the pixels that went in."""

from __future__ import annotations

import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from dicom_node.codestreams import frame_size
from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.pixels import read_dataset, read_radiograph
from dicom_node.transfer_syntaxes import ENCAPSULATED, TRANSFER_SYNTAXES, UNCOMPRESSED

LOSSLESS = {
    uid.JPEGLosslessSV1: lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=12),
    uid.JPEGLossless: lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=6, bitspersample=12),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: lambda a: _j2k(a, reversible=True, level=0),
    uid.HTJ2KLossless: lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    uid.HTJ2KLosslessRPCL: lambda a: imagecodecs.htj2k_encode(a, reversible=True),
}
LOSSY = {
    uid.JPEGLSNearLossless: lambda a: imagecodecs.jpegls_encode(a, level=3),
    uid.JPEG2000: lambda a: _j2k(a, reversible=False, level=60),
    uid.HTJ2K: lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    uid.JPEGExtended12Bit: lambda a: imagecodecs.jpeg8_encode(a, level=97, bitspersample=12),
}


def _j2k(pixels, reversible, level):
    return imagecodecs.jpeg2k_encode(
        pixels, level=level, reversible=reversible, codecformat="j2k", bitspersample=12
    )


def _rle(pixels):
    """PS3.5 Annex G by the letter: two literal-run segments, high bytes first."""
    segments = []
    for plane in (pixels >> 8, pixels & 255):
        data = plane.astype(np.uint8).tobytes()
        runs = b"".join(
            bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128)
        )
        segments.append(runs + b"\x00" * (len(runs) % 2))
    offsets = [2, 64, 64 + len(segments[0]), *[0] * 13]
    return b"".join(offset.to_bytes(4, "little") for offset in offsets) + b"".join(segments)


LOSSLESS[uid.RLELossless] = _rle


@pytest.fixture
def compressed(new_film, encoded):
    """A film whose frame is the given bytes, in as many fragments as asked for."""

    def make(pixels, frame, syntax, fragments=1, **keywords):
        keywords = {"BitsStored": 12, "HighBit": 11} | keywords
        dataset = new_film(pixels, **keywords)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([bytes(frame)], fragments_per_frame=fragments)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        return read_dataset(encoded(dataset))

    return make


def test_every_encapsulated_syntax_is_tried_here():
    assert set(LOSSLESS) | set(LOSSY) | {uid.JPEGBaseline8Bit} == set(ENCAPSULATED)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES) == len(ENCAPSULATED) + len(UNCOMPRESSED)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_lossless_compression_gives_the_same_radiograph(syntax, demo_pixels, compressed, film_of, new_film):
    plain = film_of(new_film(demo_pixels, BitsStored=12, HighBit=11))
    got = read_radiograph(compressed(demo_pixels, LOSSLESS[syntax](demo_pixels), syntax))
    assert np.array_equal(got.pixels, plain.pixels)


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: syntax.name)
def test_lossy_compression_gives_nearly_the_same_radiograph(
    syntax, demo_pixels, compressed, film_of, new_film
):
    plain = film_of(new_film(demo_pixels, BitsStored=12, HighBit=11))
    got = read_radiograph(compressed(demo_pixels, LOSSY[syntax](demo_pixels), syntax))
    assert np.abs(got.pixels - plain.pixels).mean() < 0.005


def test_jpeg_baseline(demo_pixels, compressed, film_of, new_film):
    pixels = (demo_pixels >> 4).astype(np.uint8)
    frame = imagecodecs.jpeg8_encode(pixels, level=95)
    got = read_radiograph(compressed(pixels, frame, uid.JPEGBaseline8Bit, BitsStored=8, HighBit=7))
    assert np.abs(got.pixels - film_of(new_film(pixels)).pixels).mean() < 0.01


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda syntax: uid.UID(syntax).name)
@pytest.mark.parametrize("bits", [8, 12])
def test_uncompressed_syntaxes_give_the_same_radiograph(
    syntax, bits, demo_pixels, new_film, encoded, tmp_path, tool
):
    pixels = demo_pixels if bits == 12 else (demo_pixels >> 4).astype(np.uint8)
    dataset = new_film(pixels, BitsStored=bits, HighBit=bits - 1)
    plain = read_radiograph(read_dataset(encoded(dataset)))
    (tmp_path / "in.dcm").write_bytes(encoded(dataset))
    option = dict(zip(UNCOMPRESSED, ("+te", "+ti", "+td", "+tb"), strict=True))[syntax]
    tool("dcmconv", option, tmp_path / "in.dcm", tmp_path / "out.dcm")
    converted = read_dataset((tmp_path / "out.dcm").read_bytes())
    assert converted.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(read_radiograph(converted).pixels, plain.pixels)


@pytest.mark.parametrize(
    ("program", "options", "syntax"),
    [
        ("dcmcjpeg", ("+e1",), uid.JPEGLosslessSV1),
        ("dcmcjpeg", ("+el", "+sv", "5"), uid.JPEGLossless),
        ("dcmcjpls", ("+el",), uid.JPEGLSLossless),
        ("dcmcrle", (), uid.RLELossless),
    ],
)
def test_what_another_encoder_wrote(program, options, syntax, demo_pixels, new_film, encoded, tmp_path, tool):
    source = encoded(new_film(demo_pixels, BitsStored=12, HighBit=11))
    (tmp_path / "in.dcm").write_bytes(source)
    tool(program, *options, tmp_path / "in.dcm", tmp_path / "out.dcm")
    dataset = read_dataset((tmp_path / "out.dcm").read_bytes())
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(read_radiograph(dataset).pixels, read_radiograph(read_dataset(source)).pixels)


def test_signed_values_survive_lossless_compression(demo_pixels, new_film, encoded, tmp_path, tool):
    source = encoded(new_film((demo_pixels.astype(np.int32) - 2048).astype(np.int16)))
    (tmp_path / "in.dcm").write_bytes(source)
    tool("dcmcjpls", tmp_path / "in.dcm", tmp_path / "out.dcm")
    got = read_radiograph(read_dataset((tmp_path / "out.dcm").read_bytes()))
    assert np.array_equal(got.pixels, read_radiograph(read_dataset(source)).pixels)


def test_a_frame_in_several_fragments(demo_pixels, compressed):
    frame = LOSSLESS[uid.JPEGLosslessSV1](demo_pixels)
    one = read_radiograph(compressed(demo_pixels, frame, uid.JPEGLosslessSV1))
    many = read_radiograph(compressed(demo_pixels, frame, uid.JPEGLosslessSV1, fragments=7))
    assert np.array_equal(one.pixels, many.pixels)


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_frame_cut_off_is_broken_pixels(syntax, share, demo_pixels, compressed):
    """Some decoders would fill up what is missing and return a picture."""
    frame = bytes((LOSSLESS | LOSSY)[syntax](demo_pixels))
    dataset = compressed(demo_pixels, frame[: 2 + int(share * len(frame))], syntax)
    with pytest.raises(NotEligible) as caught:
        read_radiograph(dataset)
    assert caught.value.reason is NotEligibleReason.BROKEN_PIXELS


@pytest.mark.parametrize(
    "syntax", set(ENCAPSULATED) - {uid.RLELossless, uid.JPEGBaseline8Bit}, ids=lambda s: uid.UID(s).name
)
def test_the_codestreams_own_size_is_read_before_decoding(syntax, demo_pixels, compressed):
    frame = bytes((LOSSLESS | LOSSY)[syntax](demo_pixels))
    size = frame_size(frame, syntax)
    assert (size.rows, size.columns, size.samples) == (*demo_pixels.shape, 1)
    bomb = compressed(demo_pixels[:300, :300].copy(), frame, syntax)
    with pytest.raises(NotEligible, match="codestream announces 480 x 512") as caught:
        read_radiograph(bomb)
    assert caught.value.reason is NotEligibleReason.BROKEN_PIXELS


def test_rle_that_unpacks_to_too_little(demo_pixels, compressed):
    frame = _rle(demo_pixels[:400])
    with pytest.raises(NotEligible) as caught:
        read_radiograph(compressed(demo_pixels, frame, uid.RLELossless))
    assert caught.value.reason is NotEligibleReason.BROKEN_PIXELS


def test_an_unknown_transfer_syntax_says_what_to_do(demo_pixels, compressed):
    with pytest.raises(NotEligible, match="send it uncompressed"):
        read_radiograph(compressed(demo_pixels, b"\x00\x01", uid.MPEG2MPML))


def test_the_sample_films_decode_alike_here_and_in_dcmtk(tmp_path, tool):
    films = sorted((Path(__file__).resolve().parents[2] / "worker" / "sample").glob("*.dcm"))
    assert len(films) == 3
    for film in films:
        assert film.stat().st_size < 1_000_000
        shutil.copy(film, tmp_path / "in.dcm")
        tool("dcmdjpeg", tmp_path / "in.dcm", tmp_path / "out.dcm")
        ours = read_radiograph(read_dataset(film.read_bytes())).pixels
        theirs = dcmread(tmp_path / "out.dcm").pixel_array
        assert np.array_equal(np.round(ours * 255).astype(np.uint8), theirs)
