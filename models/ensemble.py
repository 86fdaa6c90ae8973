"""Several networks of one kind that answer together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class Ensemble(nn.Module):
    """Networks of the same description, trained apart; their logits are averaged.

    Parameters
    ----------
    members : iterable of torch.nn.Module
        At least one; each maps (batch, channels, rows, columns) to logits, or to a pair of logits of the mask
        and of presence.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, views: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return the mean logits.

        Parameters
        ----------
        views : torch.Tensor
            float32, (batch, channels, rows, columns).

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            Logits (batch, 1, rows, columns); with a classification head a pair of these and (batch, 1).
        """
        answers = [member(views) for member in self.members]
        if isinstance(answers[0], torch.Tensor):
            return torch.stack(answers).mean(0)
        masks, labels = zip(*answers, strict=True)
        return torch.stack(masks).mean(0), torch.stack(labels).mean(0)
