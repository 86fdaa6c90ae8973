"""Stored values to grey, step by step, against figures worked out by hand from PS3.3 and PS3.4."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.greyscale import grey_table, window


def greys(values, bits=16, **keywords):
    """The grey of each given raw value, in an image that holds each of them equally often."""
    header = Dataset()
    attributes = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0} | keywords
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    histogram = np.zeros(1 << 16, np.int64)
    for value in values:
        histogram[value] += 1000
    table = grey_table(header, histogram)
    return [round(float(table.grey[value]), 3) for value in values], table.warnings


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        # PS3.3 C.11.2.1.2.1 with c = 100, w = 101: black up to 49.5, white from 149.5
        ("LINEAR", 101, [0, 0.005, 0.505, 1]),
        # PS3.3 C.11.2.1.3.2 with c = 100, w = 100: black up to 50, white from 150
        ("LINEAR_EXACT", 100, [0, 0, 0.5, 1]),
    ],
)
def test_linear_windows(function, width, expected):
    assert np.allclose(window(np.array([0.0, 50.0, 100.0, 200.0]), 100, width, function), expected)


def test_sigmoid_window():
    got = window(np.array([100.0, 125.0]), 100, 100, "SIGMOID")
    assert np.allclose(got, [0.5, 1 / (1 + np.exp(-1))])


@pytest.mark.parametrize(("width", "function"), [(0.5, "LINEAR"), (0, "LINEAR_EXACT"), (-3, "SIGMOID")])
def test_impossible_windows_are_none(width, function):
    assert window(np.zeros(3), 10, width, function) is None


def test_window_of_width_one_is_a_step():
    assert window(np.array([9.0, 9.5, 10.0]), 10, 1, "LINEAR").tolist() == [0, 0, 1]


def test_first_of_several_windows_is_taken():
    got, _ = greys([0, 500, 1000], WindowCenter=["500.5", "10"], WindowWidth=["1001", "2"])
    assert got == [0, 0.5, 1]


def test_rescale_comes_before_the_window():
    got, _ = greys(
        [0, 100, 200], RescaleSlope="2", RescaleIntercept="-100", WindowCenter="100.5", WindowWidth="401"
    )
    assert got == [0, 0.5, 1]


def test_slope_zero_is_set_aside():
    got, warnings = greys([0, 500, 1000], RescaleSlope="0", WindowCenter="500.5", WindowWidth="1001")
    assert got == [0, 0.5, 1]
    assert warnings == ("Rescale Slope is not usable and was set aside",)


@pytest.mark.parametrize(
    "keywords",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"},
    ],
)
def test_inversion_happens_once(keywords):
    got, _ = greys([0, 250, 1000], WindowCenter="500.5", WindowWidth="1001", **keywords)
    assert got == [1, 0.75, 0]


def test_signed_values():
    keywords = {"PixelRepresentation": 1, "WindowCenter": "0.5", "WindowWidth": "201"}
    got, _ = greys([(-100) & 0xFFF, 0, 100], bits=12, **keywords)
    assert got == [0, 0.5, 1]


def test_bits_above_the_stored_ones_are_ignored_when_an_overlay_lies_there():
    header_bits = {"BitsStored": 12, "HighBit": 11, "WindowCenter": "500.5", "WindowWidth": "1001"}
    header = Dataset()
    for keyword, value in header_bits.items():
        setattr(header, keyword, value)
    header.add_new(0x60000102, "US", 15)
    histogram = np.zeros(1 << 16, np.int64)
    histogram[[0, 500, 500 | 0x8000]] = 10
    table = grey_table(header, histogram)
    assert table.grey[500] == table.grey[500 | 0x8000] == pytest.approx(0.5)


def test_values_above_wrong_bits_stored_are_used():
    got, _ = greys([0, 2000, 4000], bits=10, WindowCenter="2000.5", WindowWidth="4001")
    assert got == [0, 0.5, 1]


def test_high_bit_shifts():
    got, _ = greys(
        [0, 100 << 4, 200 << 4], BitsStored=12, HighBit=15, WindowCenter="100.5", WindowWidth="201"
    )
    assert got == [0, 0.5, 1]


def test_a_wrong_high_bit_does_not_shift():
    got, _ = greys([0, 101, 200], BitsStored=12, HighBit=15, WindowCenter="101.5", WindowWidth="203")
    assert got == [0, 0.5, pytest.approx(0.99, abs=0.005)]


def lut(first, data, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(data), first, bits]
    item.LUTData = data
    return item


def test_voi_lut_wins_over_the_window():
    item = lut(0, [0, 65535, 32768, 0])
    got, _ = greys([0, 1, 2, 3], VOILUTSequence=[item], WindowCenter="500", WindowWidth="1000")
    assert got == [0, 1, 0.5, 0]


def test_voi_lut_that_promises_more_bits_than_it_has():
    got, _ = greys([0, 1, 2], VOILUTSequence=[lut(0, [0, 2048, 4095], bits=16)])
    assert got == [0, 0.5, 1]


def test_modality_lut_and_its_ends():
    item = lut(10, [1000, 2000, 3000])
    got, _ = greys([0, 10, 11, 12, 99], ModalityLUTSequence=[item], WindowCenter="2000.5", WindowWidth="2001")
    assert got == [0, 0, 0.5, 1, 1]


def test_damaged_luts_are_set_aside():
    broken = lut(0, [1, 2, 3])
    broken.LUTDescriptor = [500, 0, 16]
    got, warnings = greys([0, 500, 1000], ModalityLUTSequence=[broken], VOILUTSequence=[broken])
    assert got == [0, 0.5, 1]
    assert warnings == ("the modality LUT is damaged and was set aside",)


def test_without_a_window_the_range_of_the_image_less_its_extremes():
    header = Dataset()
    header.BitsStored = 16
    histogram = np.zeros(1 << 16, np.int64)
    histogram[1000:2001] = 100
    histogram[[0, 60000]] = 10
    grey = grey_table(header, histogram).grey
    assert grey[0] == 0
    assert grey[60000] == 1
    assert grey[1500] == pytest.approx(0.5, abs=0.01)
    assert grey[1100] == pytest.approx(0.1, abs=0.01)


def test_a_window_that_shows_nothing_is_replaced_and_said():
    got, warnings = greys([0, 500, 1000], WindowCenter="30000", WindowWidth="10")
    assert got == [0, 0.5, 1]
    assert "replaced" in warnings[0]


def test_8_bit_without_a_window_keeps_its_greys():
    header = Dataset()
    header.BitsStored, header.HighBit = 8, 7
    histogram = np.zeros(256, np.int64)
    histogram[100:120] = 5
    assert np.allclose(grey_table(header, histogram).grey, np.arange(256) / 255)


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_takes_no_part_in_the_window(interpretation):
    got, _ = greys(
        [0, 1000, 1500, 2000, 65535],
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=999,
        PhotometricInterpretation=interpretation,
        WindowCenter="1500.5",
        WindowWidth="1001",
    )
    assert got[0] == 0
    assert got[2] == 0.5
    without_window, _ = greys([0, 0, 0, 1000, 1500, 2000], PixelPaddingValue=0)
    assert without_window == [0, 0, 0, 0, 0.5, 1]


def test_padding_that_covers_everything_is_not_believed():
    got, _ = greys([0, 500, 1000], PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    assert got == [0, 0.5, 1]


def test_padding_written_as_unsigned_for_signed_pixels():
    keywords = {"PixelRepresentation": 1, "PixelPaddingValue": 63488}
    got, _ = greys([(-2048) & 0xFFFF, 0, 500, 1000], **keywords)
    assert got == [0, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("relationship", "sign", "interpretation", "expected"),
    [
        # more X-rays, higher value: bone is low and must become bright
        ("LOG", 1, "MONOCHROME2", [1, 0.5, 0]),
        # value grows with attenuation already
        ("LOG", -1, "MONOCHROME1", [0, 0.5, 1]),
        ("LIN", -1, "MONOCHROME2", [0, 0.5, 1]),
        # the sign is missing: the photometric interpretation has to do
        ("LOG", None, "MONOCHROME1", [1, 0.5, 0]),
        ("LOG", None, "MONOCHROME2", [0, 0.5, 1]),
    ],
)
def test_images_for_processing_show_attenuation(relationship, sign, interpretation, expected):
    keywords = {
        "PresentationIntentType": "FOR PROCESSING",
        "PixelIntensityRelationship": relationship,
        "PhotometricInterpretation": interpretation,
    }
    if sign is not None:
        keywords["PixelIntensityRelationshipSign"] = sign
    got, _ = greys([1000, 2000, 3000], **keywords)
    assert got == expected


def test_linear_detector_values_are_made_logarithmic():
    """A tenth of the X-rays left is one step of optical density, wherever it happens."""
    keywords = {
        "PresentationIntentType": "FOR PROCESSING",
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    got, _ = greys([100, 1000, 10000], **keywords)
    assert got[0] == 1
    assert got[1] == pytest.approx(0.5, abs=0.002)
    assert got[2] == 0
