"""A BS-Net small enough for tests, and films without pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.bsnet.spec import COMPACT, Decoder, Pyramid
from training.data.dataset import Film

TINY = replace(
    COMPACT,
    encoder="resnet18",
    input_shape=(64, 64),
    decoder=Decoder.UNET,
    decoder_channels=(16, 16, 8, 8, 8),
    pyramid=Pyramid.POOLED,
    roi_sizes=(8, 4, 2, 2),
)


def film(name: str = "a_1", readers: tuple[list[int], ...] = (), **more: object) -> Film:
    """Return a training film of a patient of its own, called COVID-19 unless ``more`` says otherwise."""
    scores = tuple(np.array(one, np.float32) for one in readers)
    values = {
        "source": "a",
        "group": name,
        "split": "train",
        "finding": "covid",
        "image": Path("x.png"),
        "lung_masks": (),
        "opacity_mask": None,
        "boxes": (),
        "brixia": None,
        "brixia_readers": scores,
        "teacher": None,
        "consensus": None,
    }
    return Film(name=name, **(values | more))  # type: ignore[arg-type]
