"""BS-Net as one network: features, lungs, alignment, six regions (Signoroni et al. 2021).

Every step is differentiable, so the regions' loss reaches the encoder through the features, through the
transform and through the lungs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its customary name

from models.bsnet.aligner import Aligner, aligned, identity
from models.bsnet.decoder import LibraryDecoder, NestedDecoder
from models.bsnet.encoder import Features, LibraryEncoder, PreActivationResNet18
from models.bsnet.regions import PooledHead, RegionalHead, WholeFilmHead
from models.bsnet.spec import PREACTIVATION_RESNET18, Attention, BSNetSpec, Decoder, Pyramid
from models.checkpoint import NetworkSpec, Role, build_network


class BSNetAnswer(NamedTuple):
    """What a network says about a batch of films.

    Parameters
    ----------
    lung_logits : torch.Tensor or None
        float32, (batch, 1, rows, columns) of the film; None without a decoder.
    theta : torch.Tensor
        float32, (batch, 2, 3): the standard frame's normalised (x, y, 1) to the film's (x, y); see
        ``models.bsnet.aligner``.
    aligned_lungs : torch.Tensor or None
        float32, (batch, 1, rows / 4, columns / 4), in [0, 1]: the lung probability in the standard frame;
        None without a decoder.
    region_logits : dict
        Attention to float32 (batch, 3, 2, 4): rows upper, middle, lower; columns image left, image right;
        classes 0 to 3.
    """

    lung_logits: torch.Tensor | None
    theta: torch.Tensor
    aligned_lungs: torch.Tensor | None
    region_logits: dict[Attention, torch.Tensor]


class BSNet(nn.Module):
    """One network. Make it with ``build_bsnet``.

    Parameters
    ----------
    spec : BSNetSpec
        What it is.
    encoder : LibraryEncoder or PreActivationResNet18
        Features.
    decoder : LibraryDecoder or NestedDecoder or None
        Lungs.
    """

    def __init__(
        self,
        spec: BSNetSpec,
        encoder: LibraryEncoder | PreActivationResNet18,
        decoder: LibraryDecoder | NestedDecoder | None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = encoder
        self.decoder = decoder
        self.aligner = Aligner() if spec.align else None
        head = {Pyramid.NONE: WholeFilmHead, Pyramid.POOLED: PooledHead}.get(spec.pyramid, RegionalHead)
        self.heads = nn.ModuleDict(
            {str(attention): head(spec, encoder.level_channels) for attention in spec.attentions}
        )

    def forward(self, films: torch.Tensor) -> BSNetAnswer:
        """Score films.

        Parameters
        ----------
        films : torch.Tensor
            float32, (batch, 1, rows, columns) of the spec's input shape, in [0, 1], preprocessed.

        Returns
        -------
        BSNetAnswer
        """
        features = self.features(films)
        if self.decoder is None:
            theta = identity(films)
            return BSNetAnswer(None, theta, None, self.judge(features.levels, None, theta))
        lung_logits = self.lungs(features)
        probability = lung_logits.sigmoid()
        theta = self.align(probability)
        lungs = _aligned_lungs(probability, features.levels[0], theta)
        return BSNetAnswer(lung_logits, theta, lungs, self._judge(features.levels, lungs, theta))

    def features(self, films: torch.Tensor) -> Features:
        """Return the encoder's features of films as for ``forward``."""
        features: Features = self.encoder((films - self.spec.grey_mean) / self.spec.grey_std)
        return features

    def lungs(self, features: Features) -> torch.Tensor:
        """Return logits of the lungs, float32, (batch, 1, rows, columns).

        Raises
        ------
        ValueError
            If the spec has no decoder.
        """
        if self.decoder is None:
            raise ValueError(f"a BS-Net of preset {self.spec.preset} has no decoder: it finds no lungs")
        logits: torch.Tensor = self.decoder(features)
        return logits

    def align(self, lung_probability: torch.Tensor) -> torch.Tensor:
        """Estimate the transform to the standard frame; the identity if the spec does without.

        Parameters
        ----------
        lung_probability : torch.Tensor
            float32, (batch, 1, rows, columns), in [0, 1]; any size.

        Returns
        -------
        torch.Tensor
            theta, float32, (batch, 2, 3).
        """
        if self.aligner is None:
            return identity(lung_probability)
        theta: torch.Tensor = self.aligner(lung_probability)
        return theta

    def judge(
        self, levels: Sequence[torch.Tensor], lung_probability: torch.Tensor | None, theta: torch.Tensor
    ) -> dict[Attention, torch.Tensor]:
        """Classify the regions from features that may come from elsewhere (a cache, say).

        Parameters
        ----------
        levels : sequence of torch.Tensor
            ``Features.levels``.
        lung_probability : torch.Tensor or None
            float32, (batch, 1, rows, columns), in [0, 1], not aligned, any size from stride 4 up; None
            without a decoder.
        theta : torch.Tensor
            float32, (batch, 2, 3).

        Returns
        -------
        dict
            As ``BSNetAnswer.region_logits``.
        """
        lungs = None if lung_probability is None else _aligned_lungs(lung_probability, levels[0], theta)
        return self._judge(levels, lungs, theta)

    def _judge(
        self, levels: Sequence[torch.Tensor], lungs: torch.Tensor | None, theta: torch.Tensor
    ) -> dict[Attention, torch.Tensor]:
        if self.aligner is not None:
            levels = [aligned(level, theta) for level in levels]
        answers = {}
        for attention in self.spec.attentions:
            seen = levels
            if attention is Attention.HARD and lungs is not None:
                seen = attended(levels, lungs)
            answers[attention] = self.heads[attention](seen)
        return answers


def attended(levels: Sequence[torch.Tensor], lungs: torch.Tensor) -> list[torch.Tensor]:
    """Multiply aligned features with the aligned lungs (hard attention).

    Parameters
    ----------
    levels : sequence of torch.Tensor
        Each float32, (batch, channels, rows, columns), in the standard frame.
    lungs : torch.Tensor
        float32, (batch, 1, rows, columns), in [0, 1], in the standard frame; brought to each level's size by
        averaging areas.

    Returns
    -------
    list of torch.Tensor
        Shapes as of ``levels``; 0 wherever the lung probability is.
    """
    return [level * _resized(lungs, level) for level in levels]


def build_bsnet(spec: BSNetSpec, encoder_weights: str | None = None) -> BSNet:
    """Build one network that ``spec`` describes, with random weights.

    Parameters
    ----------
    spec : BSNetSpec
        The description; ``members`` does not matter here.
    encoder_weights : str, optional
        Training only; see ``models.checkpoint.build_network``.

    Returns
    -------
    BSNet

    Raises
    ------
    CheckpointError
        If the library does not know the encoder, or the encoder weights cannot be had.
    """
    if spec.encoder == PREACTIVATION_RESNET18:
        encoder: LibraryEncoder | PreActivationResNet18 = PreActivationResNet18()
        return BSNet(spec, encoder, _nested(spec, encoder) if spec.decoder is not Decoder.NONE else None)
    library = build_network(
        NetworkSpec(
            role=Role.LUNGS,
            architecture=str(Decoder.UNET if spec.decoder is Decoder.UNET else Decoder.UNETPLUSPLUS),
            encoder=spec.encoder,
            input_shape=spec.input_shape,
            options={"decoder_channels": spec.decoder_channels},
        ),
        encoder_weights,
    )
    encoder = LibraryEncoder(library.encoder, list(library.encoder.out_channels))  # type: ignore[arg-type, union-attr]
    if spec.decoder is Decoder.NONE:
        return BSNet(spec, encoder, None)
    if spec.decoder is Decoder.NESTED_TRANSPOSED:
        return BSNet(spec, encoder, _nested(spec, encoder))
    return BSNet(spec, encoder, LibraryDecoder(library.decoder, library.segmentation_head))  # type: ignore[arg-type]


def _nested(spec: BSNetSpec, encoder: LibraryEncoder | PreActivationResNet18) -> NestedDecoder:
    return NestedDecoder(encoder.skip_channels, encoder.down_channels, spec.decoder_channels)


def _aligned_lungs(probability: torch.Tensor, finest: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    return aligned(_resized(probability, finest), theta)


def _resized(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.adaptive_avg_pool2d(maps, (like.shape[2], like.shape[3]))
