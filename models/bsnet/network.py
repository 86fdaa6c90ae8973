"""BS-Net as one network: features, lungs, alignment, six regions (Signoroni et al. 2021).

Every step is differentiable, so the regions' loss reaches the encoder through the features, through the
transform and through the lungs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from models.bsnet.aligner import Aligner, aligned, identity
from models.bsnet.attention import attended, resized
from models.bsnet.decoder import LibraryDecoder, NestedDecoder
from models.bsnet.encoder import Features, LibraryEncoder, PreActivationResNet18
from models.bsnet.presence import Presence
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
        classes 0 to 3. Given that there is disease, if the network asks for its presence apart.
    presence_logits : torch.Tensor or None
        float32, (batch,): whether there is any disease; None if the network does not ask.
    """

    lung_logits: torch.Tensor | None
    theta: torch.Tensor
    aligned_lungs: torch.Tensor | None
    region_logits: dict[Attention, torch.Tensor]
    presence_logits: torch.Tensor | None = None


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
    presence_encoder : LibraryEncoder, optional
        What the presence of disease is asked of; needed if the spec has ``presence``.
    """

    def __init__(
        self,
        spec: BSNetSpec,
        encoder: LibraryEncoder | PreActivationResNet18,
        decoder: LibraryDecoder | NestedDecoder | None,
        presence_encoder: LibraryEncoder | None = None,
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
        self.presence = Presence(spec, presence_encoder, encoder.level_channels) if presence_encoder else None

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
        logits = self._judge(features.levels, lungs, theta)
        presence = self.find_presence(films, features.levels, probability, theta)
        return BSNetAnswer(lung_logits, theta, lungs, logits, presence)

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

    def find_presence(
        self,
        films: torch.Tensor,
        levels: Sequence[torch.Tensor],
        lung_probability: torch.Tensor,
        theta: torch.Tensor,
    ) -> torch.Tensor | None:
        """Say whether films show disease at all.

        Parameters
        ----------
        films : torch.Tensor
            As for ``forward``.
        levels, lung_probability, theta
            As for ``judge``; the lungs at the size of ``films``.

        Returns
        -------
        torch.Tensor or None
            Logits, float32, (batch,); None if the network does not ask.
        """
        if self.presence is None:
            return None
        frame = self.in_frame(levels, lung_probability, theta)
        logits: torch.Tensor = self.presence(self.presence.pool(films, frame, lung_probability, theta))
        return logits

    def in_frame(
        self, levels: Sequence[torch.Tensor], lung_probability: torch.Tensor, theta: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return levels as for ``judge`` in the standard frame, lungs alone."""
        lungs = _aligned_lungs(lung_probability, levels[0], theta)
        return attended([aligned(level, theta) for level in levels], lungs)

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


def build_bsnet(
    spec: BSNetSpec, encoder_weights: str | None = None, presence_weights: str | None = None
) -> BSNet:
    """Build one network that ``spec`` describes, with random weights.

    Parameters
    ----------
    spec : BSNetSpec
        The description; ``members`` does not matter here.
    encoder_weights, presence_weights : str, optional
        Training only, of the two encoders; see ``models.checkpoint.build_network``.

    Returns
    -------
    BSNet

    Raises
    ------
    CheckpointError
        If the library does not know an encoder, or encoder weights cannot be had.
    """
    presence = _presence_encoder(spec, presence_weights)
    if spec.encoder == PREACTIVATION_RESNET18:
        own = PreActivationResNet18()
        return BSNet(spec, own, None if spec.decoder is Decoder.NONE else _nested(spec, own), presence)
    architecture = Decoder.UNET if spec.decoder is Decoder.UNET else Decoder.UNETPLUSPLUS
    library = _library_network(spec.encoder, spec, encoder_weights, architecture)
    encoder = LibraryEncoder(library.encoder, list(library.encoder.out_channels))  # type: ignore[arg-type, union-attr]
    if spec.decoder is Decoder.NONE:
        return BSNet(spec, encoder, None)
    if spec.decoder is Decoder.NESTED_TRANSPOSED:
        return BSNet(spec, encoder, _nested(spec, encoder), presence)
    decoder = LibraryDecoder(library.decoder, library.segmentation_head)  # type: ignore[arg-type]
    return BSNet(spec, encoder, decoder, presence)


def _presence_encoder(spec: BSNetSpec, weights: str | None) -> LibraryEncoder | None:
    if spec.presence is None:
        return None
    library = _library_network(spec.presence.encoder, spec, weights, Decoder.UNET)
    return LibraryEncoder(library.encoder, list(library.encoder.out_channels))  # type: ignore[arg-type, union-attr]


def _library_network(encoder: str, spec: BSNetSpec, weights: str | None, architecture: Decoder) -> nn.Module:
    described = NetworkSpec(
        role=Role.LUNGS,
        architecture=str(architecture),
        encoder=encoder,
        input_shape=spec.input_shape,
        options={"decoder_channels": spec.decoder_channels},
    )
    return build_network(described, weights)


def _nested(spec: BSNetSpec, encoder: LibraryEncoder | PreActivationResNet18) -> NestedDecoder:
    return NestedDecoder(encoder.skip_channels, encoder.down_channels, spec.decoder_channels)


def _aligned_lungs(probability: torch.Tensor, finest: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    return aligned(resized(probability, finest), theta)
