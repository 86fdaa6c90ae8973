"""Whether a film shows disease at all, so that a healthy film gets 0. Ours, not the paper's.

All films with Brixia scores are of patients; what they teach the regions' heads says little of health, and
healthy films among them spoil the heads' grades. So health is asked apart, of the whole film, by an encoder
that looks at the aligned lungs alone, and by the means of the features that the regions are judged by.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models.bsnet.aligner import aligned
from models.bsnet.attention import attended
from models.bsnet.encoder import LibraryEncoder
from models.bsnet.spec import BSNetSpec

CERTAIN = 10.0
"""Log odds."""

LUNG = 0.5
"""What is less probably lung than this is blackened."""


class Presence(nn.Module):
    """One logit for a film.

    Parameters
    ----------
    spec : BSNetSpec
        With ``presence``.
    encoder : LibraryEncoder
        What looks at the aligned lungs.
    level_channels : sequence of int
        Channels of the levels that the regions are judged by.
    """

    def __init__(self, spec: BSNetSpec, encoder: LibraryEncoder, level_channels: Sequence[int]) -> None:
        super().__init__()
        if spec.presence is None:
            raise ValueError("the spec describes no presence")
        self.spec = spec
        self.input_shape = spec.presence.input_shape
        self.encoder = encoder
        channels = sum(level_channels) + sum(encoder.level_channels)
        self.norm = nn.BatchNorm1d(channels, affine=False)
        self.dense = nn.Linear(channels, 1)
        # Until it has learnt, disease is certain: it must not hide what the regions' heads say.
        nn.init.zeros_(self.dense.weight)
        nn.init.constant_(self.dense.bias, CERTAIN)

    def pool(
        self,
        films: torch.Tensor,
        levels: Sequence[torch.Tensor],
        lung_probability: torch.Tensor,
        theta: torch.Tensor,
    ) -> torch.Tensor:
        """Look at films.

        Parameters
        ----------
        films : torch.Tensor
            float32, (batch, 1, rows, columns), in [0, 1], preprocessed.
        levels : sequence of torch.Tensor
            The features that the regions are judged by, in the standard frame, lungs alone; each float32,
            (batch, channels, rows, columns).
        lung_probability : torch.Tensor
            float32, the shape of ``films``, in [0, 1].
        theta : torch.Tensor
            float32, (batch, 2, 3); see ``models.bsnet.aligner``.

        Returns
        -------
        torch.Tensor
            The means of all features over the frame, float32, (batch, channels).
        """
        lungs = aligned(lung_probability, theta, self.input_shape)
        view = aligned(films, theta, self.input_shape) * (lungs > LUNG)
        seen = self.encoder((view - self.spec.grey_mean) / self.spec.grey_std).levels
        means = [level.mean(dim=(2, 3)) for level in (*levels, *attended(seen, lungs))]
        return torch.cat(means, dim=1)

    def forward(self, means: torch.Tensor) -> torch.Tensor:
        """Return logits, float32 (batch,), from what ``pool`` returns."""
        logits: torch.Tensor = self.dense(self.norm(means))
        return logits[:, 0]


def with_presence(given: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
    """Return the distributions over the scores where disease is not certain.

    Parameters
    ----------
    given : torch.Tensor
        float32, (batch, 3, 2, 4), summing to 1: what holds if there is disease.
    presence : torch.Tensor
        float32, (batch,) or (1,), in [0, 1]: how probable that is; without disease every score is 0.

    Returns
    -------
    torch.Tensor
        float32, the shape of ``given``, summing to 1.
    """
    presence = presence.view(-1, 1, 1, 1)
    none = torch.zeros_like(given)
    none[..., 0] = 1
    return presence * given + (1 - presence) * none
