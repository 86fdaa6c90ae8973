"""Figures printed in Signoroni et al. (2021), to stand beside ours; other films, other readers.

ME of Table 9 is turned round to prediction minus reference, as everything here has it: its own rows of the
junior reader can be recomputed from the public readings, and have the opposite sign as printed.
"""

from __future__ import annotations

from collections.abc import Mapping

Row = tuple[float, ...]

TABLE_4 = {"U-Net++": (0.971, 0.945), "U-Net": (0.969, 0.941)}
"""Lungs: Dice, IoU."""

TABLE_5: Mapping[str, Mapping[str, Row]] = {
    "BS-Net ENS": {
        "ME": (0.169, -0.038, -0.056, 0.125, -0.045, -0.192, -0.006, -0.036),
        "MAE": (0.459, 0.448, 0.412, 0.374, 0.459, 0.494, 0.441, 1.728),
        "SD": (0.604, 0.524, 0.540, 0.541, 0.574, 0.609, 0.565, 1.429),
        "CC": (0.675, 0.779, 0.731, 0.682, 0.737, 0.672, 0.713, 0.862),
    },
    "BS-Net SA": {
        "ME": (0.107, -0.087, -0.171, 0.082, -0.129, -0.343, -0.090, -0.541),
        "MAE": (0.499, 0.501, 0.506, 0.408, 0.499, 0.566, 0.496, 1.846),
        "SD": (0.638, 0.560, 0.579, 0.576, 0.594, 0.634, 0.597, 1.514),
        "CC": (0.635, 0.733, 0.675, 0.633, 0.718, 0.636, 0.672, 0.847),
    },
    "BS-Net HA": {
        "ME": (0.156, -0.147, -0.085, 0.107, -0.016, -0.238, -0.037, -0.223),
        "MAE": (0.481, 0.477, 0.481, 0.370, 0.488, 0.532, 0.471, 1.826),
        "SD": (0.613, 0.575, 0.583, 0.552, 0.594, 0.616, 0.589, 1.505),
        "CC": (0.665, 0.742, 0.679, 0.662, 0.722, 0.645, 0.686, 0.845),
    },
    "ResNet-18": {
        "MAE": (0.543, 0.486, 0.506, 0.452, 0.584, 0.530, 0.517, 1.951),
        "SD": (0.657, 0.579, 0.591, 0.632, 0.657, 0.601, 0.619, 1.710),
        "CC": (0.598, 0.739, 0.667, 0.562, 0.655, 0.643, 0.644, 0.842),
    },
}
"""A to F, mean, global. ResNet-18's printed ME repeats another row for B to F and is left out."""

TABLE_6: Mapping[str, Row] = {
    "BS-Net ENS against the consensus": (-0.133, 0.424, 0.580, 0.743, -0.800, 1.787, 1.354, 0.907),
    "BS-Net ENS against R0": (-0.019, 0.452, 0.575, 0.754, -0.113, 1.847, 1.553, 0.834),
    "all pairs of readers": (-0.131, 0.528, 0.614, 0.736, -0.784, 2.592, 1.965, 0.835),
}
"""ME, MAE, SD, CC of the regions and of the global score. The first row's global ME is printed as +0.800,
which six times the regions' -0.133 rules out."""

TABLE_7: Mapping[str, Row] = {
    "BS-Net, test set": (0.009, 0.147, 0.349, 0.510, 0.056, 0.742, 0.921, 0.728),
    "BS-Net, consensus": (-0.074, 0.174, 0.380, 0.563, -0.447, 0.940, 1.070, 0.810),
}
"""T score, columns as in Table 6."""

TABLE_8: Mapping[str, Row] = {
    "Cohen et al. 2020, best": (0.80, 0.60, 1.14, 2.06),
    "BS-Net, Cohen's set": (0.84, 0.54, 0.67, 0.68, 0.31, 0.15),
    "BS-Net, Cohen's subset": (0.85, 0.53, 0.67, 0.67, 0.31, 0.09),
    "senior reader": (0.90, 0.72, 0.55, 0.45, 0.28, 0.55),
}
"""LO: correlation, R², MAE, MSE, slope, intercept."""

TABLE_9: Mapping[str, tuple[Row, Row]] = {
    "junior reader, all": (
        (-0.135, -0.182, -0.156, -0.115, -0.177, -0.021, -0.131, -0.786),
        (0.396, 0.401, 0.438, 0.333, 0.396, 0.469, 0.405, 1.974),
    ),
    "junior reader, test": (
        (-0.149, -0.234, -0.191, 0.000, -0.191, -0.021, -0.131, -0.787),
        (0.404, 0.447, 0.489, 0.340, 0.362, 0.447, 0.415, 1.851),
    ),
    "BS-Net HA, all": (
        (-0.177, 0.167, 0.177, -0.167, 0.208, 0.651, 0.143, 0.859),
        (0.521, 0.438, 0.552, 0.385, 0.438, 0.776, 0.518, 2.214),
    ),
    "BS-Net HA, test": (
        (-0.125, 0.104, 0.188, -0.167, 0.063, 0.583, 0.108, 0.646),
        (0.458, 0.479, 0.521, 0.375, 0.479, 0.625, 0.490, 2.396),
    ),
    "from scratch": (
        (-0.208, -0.396, -0.104, -0.250, -0.042, -0.063, -0.177, -1.063),
        (0.375, 0.646, 0.604, 0.458, 0.542, 0.479, 0.517, 2.188),
    ),
    "fine-tuned": (
        (-0.146, -0.167, 0.042, -0.229, -0.167, 0.208, -0.076, -0.458),
        (0.479, 0.500, 0.500, 0.354, 0.458, 0.500, 0.465, 2.000),
    ),
}
"""Public set: ME and MAE, columns as in Table 5."""

TABLE_10: Mapping[str, Row] = {
    "FPN": (0.455, 0.578, 0.469, 0.583),
    "backbone head": (0.395, 0.542, 0.475, 0.592),
    "BiFPN": (0.486, 0.593, 0.504, 0.598),
    "FPN-1024": (0.498, 0.564, 0.498, 0.589),
}
TABLE_11: Mapping[str, Row] = {
    "no augmentation": (0.306, 0.490, 0.528, 0.610),
    "brightness and contrast": (0.341, 0.518, 0.550, 0.628),
    "geometric": (0.272, 0.460, 0.541, 0.623),
    "all, no preprocessing": (0.437, 0.585, 0.571, 0.645),
    "all": (0.455, 0.578, 0.469, 0.583),
}
"""Tables 10 and 11: MAE and SD of the regions on train, then on val."""
