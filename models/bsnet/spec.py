"""What a BS-Net is: all that is needed to build it, feed it and read its answer (Signoroni et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from models.geometry import Shape

PREACTIVATION_RESNET18 = "preactivation-resnet18"
"""The encoder of the published code, which segmentation-models-pytorch does not have."""

CLASSES = 4
"""Brixia scores of one region: 0 none, 1 interstitial, 2 both, interstitial dominant, 3 alveolar dominant."""

COARSEST_STRIDE = 32
"""Input pixels per pixel of the encoder's last level; both sides of the input are multiples of it."""


class Attention(StrEnum):
    """How the lungs weigh on the features (section "Hard/soft self-attention" of the paper)."""

    HARD = "hard"
    """The aligned features are multiplied by the aligned lung probability."""
    SOFT = "soft"
    """They are not: the network sees beyond the lungs, too."""


class Decoder(StrEnum):
    """What finds the lungs."""

    UNET = "unet"
    """U-Net of segmentation-models-pytorch, the paper's comparison (Table 4)."""
    UNETPLUSPLUS = "unetplusplus"
    """Nested U-Net of segmentation-models-pytorch."""
    NESTED_TRANSPOSED = "nested-transposed"
    """Nested U-Net of the published code: transposed convolutions, one convolution per node."""
    NONE = "none"
    """No lungs: the all-in-one baseline."""


class Pyramid(StrEnum):
    """What becomes of the levels of a region before its classifier."""

    FINE_TO_COARSE = "fine-to-coarse"
    """As the published code runs it: from the finest level down to the coarsest, which is judged."""
    FPN = "fpn"
    """Canonical feature pyramid: from the coarsest level up to the finest, which is judged."""
    BIFPN = "bifpn"
    """Bidirectional feature pyramid of EfficientDet: both ways, repeatedly; the finest level is judged."""
    BACKBONE = "backbone"
    """No pyramid: the coarsest level is judged (the paper's Table 10, "backbone head")."""
    POOLED = "pooled"
    """No pyramid: the means of all levels over a region, one dense layer for all regions; for few films."""
    NONE = "none"
    """Neither regions nor pyramid: mean of the coarsest level over the film, one dense layer."""


class Preprocessing(StrEnum):
    """How a film's grey values are prepared; see ``models.bsnet.preprocessing``."""

    CLAHE = "clahe"
    EQUALIZE = "equalize"
    PERCENTILES = "percentiles"


class Decision(StrEnum):
    """How a region's class distribution becomes its score."""

    ARGMAX = "argmax"
    """The most probable class, as in the paper."""
    MEDIAN = "median"
    """The median of the distribution, which makes the least expected absolute error."""


@dataclass(frozen=True)
class PresenceSpec:
    """What asks whether a film shows disease at all; see ``models.bsnet.presence``.

    Parameters
    ----------
    encoder : str
        A name of segmentation-models-pytorch.
    input_shape : tuple of int
        (rows, columns) at which it sees the aligned lungs, multiples of 32.
    """

    encoder: str
    input_shape: Shape


@dataclass(frozen=True)
class BSNetSpec:
    """All that is needed to build a BS-Net, feed it, and read its answer.

    Parameters
    ----------
    preset : str
        Name of the preset it started from.
    encoder : str
        A name of segmentation-models-pytorch (``resnet18``, ``tu-...``), or ``preactivation-resnet18``.
    input_shape : tuple of int
        (rows, columns) of the input, multiples of 32.
    decoder : Decoder
        What finds the lungs.
    decoder_channels : tuple of int
        Its five widths, from the deepest node to full resolution.
    attentions : tuple of Attention
        One head (pyramid and six classifiers) for each; their probabilities are averaged.
    pyramid : Pyramid
        What the classifiers look at.
    pyramid_channels : tuple of int
        Width of the four levels, from the finest to the coarsest, then that of the output. The canonical
        and the bidirectional pyramid have one width, the last; variants without a pyramid ignore this.
    roi_sizes : tuple of int or None
        Side of a region's crop at each of the four levels, finest first; None: the level's own size, as in
        the published code.
    align : bool
        Whether the lungs are brought to a standard frame.
    presence : PresenceSpec or None
        What asks whether there is disease at all; None to leave that to the regions, as in the paper.
    dropout : float
        Training only: share of the channels that the classifiers do without.
    preprocessing : Preprocessing
        How the network's view of a film is made.
    window_percentiles : tuple of float
        The two percentiles of the grey values that become 0 and 1; of no use to ``equalize``.
    reduce_first : bool
        Whether the film is resized before the rest of the chain, or after it, as in the paper.
    grey_mean, grey_std : float
        Subtracted from, and divided into, the grey values before the encoder.
    decision : Decision
        How a region's distribution becomes its score.
    temperature, class_bias : float, tuple of float
        Calibration fitted on validation films: the logarithms of the mean probabilities are divided by the
        one, the other (one number per class) is added, and they are made to sum to 1 again.
    mirrored : bool
        The answer is the mean of that for the film and that for its mirror image.
    members : int
        How many networks of this description answer together; each gives one answer per attention.
    training : str
        Where the weights come from, in words: data and command.
    licence : str
        What the weights may be used for.
    weights_file, weights_sha256 : str
        File name beside the JSON and its SHA-256; filled in on saving.

    Raises
    ------
    ValueError
        If the parts do not fit together.
    """

    preset: str
    encoder: str
    input_shape: Shape
    decoder: Decoder = Decoder.UNETPLUSPLUS
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    attentions: tuple[Attention, ...] = (Attention.HARD, Attention.SOFT)
    pyramid: Pyramid = Pyramid.FINE_TO_COARSE
    pyramid_channels: tuple[int, ...] = (64, 64, 128, 256, 512)
    roi_sizes: tuple[int, ...] | None = None
    align: bool = True
    presence: PresenceSpec | None = None
    dropout: float = 0.0
    preprocessing: Preprocessing = Preprocessing.CLAHE
    window_percentiles: tuple[float, float] = (2.0, 98.0)
    reduce_first: bool = False
    grey_mean: float = 0.0
    grey_std: float = 1.0
    decision: Decision = Decision.ARGMAX
    temperature: float = 1.0
    class_bias: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    mirrored: bool = False
    members: int = 1
    training: str = ""
    licence: str = ""
    weights_file: str = ""
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> list[str]:
        lungs = self.decoder is not Decoder.NONE
        checks = {
            f"input_shape {self.input_shape}: both sides must be multiples of {COARSEST_STRIDE}": (
                _multiples(self.input_shape)
            ),
            "attentions: name at least one, each once": (
                0 < len(set(self.attentions)) == len(self.attentions)
            ),
            "hard attention and alignment need the lungs: choose a decoder": (
                lungs or not (self.align or Attention.HARD in self.attentions)
            ),
            "presence needs the lungs, and an input_shape of multiples of 32": (
                self.presence is None or (lungs and _multiples(self.presence.input_shape))
            ),
            "decoder_channels: five widths, from the deepest node to full resolution": (
                len(self.decoder_channels) == 5
            ),
            "pyramid_channels: four levels, then the output": len(self.pyramid_channels) == 5,
            "roi_sizes: one for each of the four levels": (
                self.roi_sizes is None or len(self.roi_sizes) == 4
            ),
            f"class_bias: one number for each of {CLASSES} classes": len(self.class_bias) == CLASSES,
            "temperature, grey_std and members must be above 0": (
                min(self.temperature, self.grey_std, self.members) > 0
            ),
        }
        return [problem for problem, passed in checks.items() if not passed]

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """Return the spec that JSON or TOML describes.

        Parameters
        ----------
        content : Mapping[str, object]
            Field names to plain values.

        Returns
        -------
        BSNetSpec

        Raises
        ------
        ValueError, TypeError, KeyError
            If a field is unknown or missing, or a value is not allowed.
        """
        sizes = content.get("roi_sizes")
        read: dict[str, Any] = {
            "input_shape": tuple(content["input_shape"]),
            "roi_sizes": None if sizes is None else tuple(sizes),
        }
        for name, kind in (("decoder", Decoder), ("pyramid", Pyramid), ("decision", Decision)):
            if name in content:
                read[name] = kind(content[name])
        if (presence := content.get("presence")) is not None:
            read["presence"] = PresenceSpec(**{**presence, "input_shape": tuple(presence["input_shape"])})
        if "preprocessing" in content:
            read["preprocessing"] = Preprocessing(content["preprocessing"])
        if "attentions" in content:
            read["attentions"] = tuple(Attention(name) for name in content["attentions"])
        for name in ("decoder_channels", "pyramid_channels", "class_bias", "window_percentiles"):
            if name in content:
                read[name] = tuple(content[name])
        return cls(**{**content, **read})


def _multiples(shape: Shape) -> bool:
    return len(shape) == 2 and all(side > 0 and side % COARSEST_STRIDE == 0 for side in shape)


PAPER = BSNetSpec(
    preset="paper",
    encoder="resnet18",
    input_shape=(512, 512),
    decoder=Decoder.NESTED_TRANSPOSED,
    decoder_channels=(256, 256, 128, 64, 32),
)
"""As printed: ResNet-18 at 512², nested U-Net with the widths that were meant."""

PARITY = replace(
    PAPER, preset="parity", encoder=PREACTIVATION_RESNET18, decoder_channels=(16, 256, 128, 64, 32)
)
"""As the published code builds it: pre-activation ResNet-18, 16 channels at the deepest node."""

COMPACT = BSNetSpec(
    preset="compact",
    encoder="tu-tf_efficientnet_lite0",
    input_shape=(384, 384),
    decoder_channels=(64, 48, 32, 24, 8),
    pyramid_channels=(32, 32, 64, 96, 128),
    roi_sizes=(32, 16, 12, 12),
    dropout=0.2,
    reduce_first=True,
    grey_mean=0.5,
    grey_std=0.5,
    decision=Decision.MEDIAN,
)
"""What two CPU cores can train and any CPU can run: an encoder that starts from ImageNet."""

ALL_IN_ONE = BSNetSpec(
    preset="all-in-one",
    encoder="resnet18",
    input_shape=(512, 512),
    decoder=Decoder.NONE,
    attentions=(Attention.SOFT,),
    pyramid=Pyramid.NONE,
    align=False,
)
"""The paper's baseline: ResNet-18 alone, with neither lungs nor alignment nor regions (Table 5)."""

PRESETS = {spec.preset: spec for spec in (PAPER, PARITY, COMPACT, ALL_IN_ONE)}
"""The presets by name."""
