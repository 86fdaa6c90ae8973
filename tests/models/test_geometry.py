import numpy as np
import pytest

from models.geometry import Box, CropResize, Resize


def test_box_is_half_open_and_tight():
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    box = Box.around(mask)
    assert box == Box(2, 3, 5, 9)
    assert box.shape == (3, 6)
    assert mask[box.slices].all()


@pytest.mark.parametrize("edges", [(0, 0, 0, 5), (3, 0, 2, 5), (-1, 0, 2, 2), (0, 4, 2, 4)])
def test_box_refuses_empty_and_negative(edges):
    with pytest.raises(ValueError, match="top < bottom"):
        Box(*edges)


def test_box_around_nothing():
    with pytest.raises(ValueError, match="empty mask"):
        Box.around(np.zeros((4, 4), bool))


def test_box_beyond_the_image():
    with pytest.raises(ValueError, match="beyond"):
        CropResize((10, 10), Box(0, 0, 11, 10), (4, 4))


def test_forward_averages_areas():
    source = np.zeros((8, 8), np.float32)
    source[2:4, 4:6] = [[0.0, 0.2], [0.4, 0.6]]
    view = CropResize((8, 8), Box.whole((8, 8)), (4, 4)).forward(source)
    assert view[1, 2] == pytest.approx(0.3)
    assert view.sum() == pytest.approx(0.3)


def test_equal_size_is_exact_both_ways():
    source = np.random.default_rng(1).random((16, 16), dtype=np.float32)
    geometry = CropResize((16, 16), Box(4, 2, 12, 10), (8, 8))
    view = geometry.forward(source)
    np.testing.assert_array_equal(view, source[4:12, 2:10])
    back = geometry.inverse(view)
    np.testing.assert_array_equal(back[4:12, 2:10], view)
    assert back.sum() == pytest.approx(view.sum())


@pytest.mark.parametrize("resize", list(Resize))
def test_round_trip_keeps_a_smooth_map_in_place(resize):
    shape, box = (301, 407), Box(31, 40, 280, 390)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    source = (0.3 + 0.4 * rows / shape[0] + 0.2 * columns / shape[1]).astype(np.float32)
    geometry = CropResize(shape, box, (128, 96), resize)
    back = geometry.inverse(geometry.forward(source))
    inner = (slice(box.top + 5, box.bottom - 5), slice(box.left + 5, box.right - 5))
    assert np.abs(back[inner] - source[inner]).max() < 0.01
    back[box.slices] = 0
    assert not back.any()


def test_letterbox_keeps_the_aspect_ratio():
    geometry = CropResize((100, 50), Box.whole((100, 50)), (64, 64), Resize.LETTERBOX)
    assert geometry.inner == Box(0, 16, 64, 48)
    view = geometry.forward(np.ones((100, 50), np.float32))
    np.testing.assert_allclose(view[:, 16:48], 1, rtol=1e-5)
    assert view[:, :16].max() == 0


def test_shapes_are_checked():
    geometry = CropResize((10, 10), Box.whole((10, 10)), (4, 4))
    with pytest.raises(ValueError, match="geometry is for"):
        geometry.forward(np.zeros((10, 9), np.float32))
    with pytest.raises(ValueError, match="geometry is for"):
        geometry.inverse(np.zeros((5, 4), np.float32))
