"""Networks of one description that answer together (Signoroni et al. 2021, section "Ensemble")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from models.bsnet.encoder import Features
from models.bsnet.network import BSNet
from models.bsnet.presence import with_presence
from models.bsnet.spec import Attention, BSNetSpec


class Judgement(NamedTuple):
    """What the networks together say about a batch of films.

    Parameters
    ----------
    lung_probability : torch.Tensor or None
        float32, (batch, 1, rows, columns), in [0, 1]; None without a decoder.
    theta : torch.Tensor
        float32, (batch, 2, 3); see ``models.bsnet.aligner``.
    region_probabilities : torch.Tensor
        float32, (batch, 3, 2, 4), summing to 1 over the classes: mean of ``by_attention``, calibrated, and
        mixed with "0 everywhere" by ``presence``.
    by_attention : dict
        Attention to float32 (batch, 3, 2, 4): mean of all members' probabilities, neither calibrated nor
        mixed.
    presence : torch.Tensor or None
        float32, (batch,), in [0, 1]: the chance of any disease; None if the networks do not ask.
    """

    lung_probability: torch.Tensor | None
    theta: torch.Tensor
    region_probabilities: torch.Tensor
    by_attention: dict[Attention, torch.Tensor]
    presence: torch.Tensor | None = None

    @property
    def lungs(self) -> torch.Tensor:
        """``lung_probability`` where there has to be one; raises ``ValueError`` without a decoder."""
        if self.lung_probability is None:
            raise ValueError("networks without a decoder find no lungs")
        return self.lung_probability


class BSNetEnsemble(nn.Module):
    """One network or several; the lungs, the transform and the class probabilities are averaged.

    Every member judges by the common lungs and transform. Where the spec is ``mirrored``, each also looks at
    the film's mirror image, and its answer is turned back.

    Parameters
    ----------
    members : iterable of BSNet
        At least one, all of the same description.
    spec : BSNetSpec, optional
        The description; that of the first member if left out.
    """

    def __init__(self, members: Iterable[BSNet], spec: BSNetSpec | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.spec = spec or self._networks()[0].spec

    def forward(self, films: torch.Tensor) -> Judgement:
        """Score films.

        Parameters
        ----------
        films : torch.Tensor
            As for ``BSNet.forward``.

        Returns
        -------
        Judgement
        """
        features = self._features(films, mirror=self.spec.mirrored)
        lungs, theta = self._locate(films, features)
        by_attention = self._judge(features, lungs, theta)
        probabilities = self._calibrated(by_attention)
        if self.spec.presence is None or lungs is None:
            return Judgement(lungs, theta, probabilities, by_attention)
        presence = self._presence(films, features, lungs, theta)
        return Judgement(lungs, theta, with_presence(probabilities, presence), by_attention, presence)

    def judge(
        self,
        films: torch.Tensor,
        lung_probability: torch.Tensor | None,
        theta: torch.Tensor,
        mirror: bool = True,
    ) -> torch.Tensor:
        """Judge films by lungs and a transform that are known, as occlusions of one film need it.

        Parameters
        ----------
        films : torch.Tensor
            As for ``forward``.
        lung_probability, theta : torch.Tensor
            From the ``Judgement`` of the film; of one film for a whole batch, or of each.
        mirror : bool
            False: without the mirror images, if the spec has any, in half the time.

        Returns
        -------
        torch.Tensor
            As ``Judgement.region_probabilities``, given that there is disease: presence is not asked.
        """
        theta = theta.expand(len(films), -1, -1)
        if lung_probability is not None:
            lung_probability = lung_probability.expand(len(films), -1, -1, -1)
        features = self._features(films, mirror=mirror and self.spec.mirrored)
        return self._calibrated(self._judge(features, lung_probability, theta))

    def _networks(self) -> list[BSNet]:
        return [member for member in self.members if isinstance(member, BSNet)]

    def _features(self, films: torch.Tensor, *, mirror: bool) -> list[tuple[BSNet, bool, Features]]:
        views = [(False, films)] + ([(True, films.flip(-1))] if mirror else [])
        return [
            (member, turned, member.features(view)) for member in self._networks() for turned, view in views
        ]

    def _locate(
        self, films: torch.Tensor, features: list[tuple[BSNet, bool, Features]]
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        if features[0][0].decoder is None:
            return None, features[0][0].align(films)
        maps, thetas = [], []
        for member, mirror, seen in features:
            lungs = member.lungs(seen).sigmoid()
            theta = member.align(lungs)
            maps.append(lungs.flip(-1) if mirror else lungs)
            thetas.append(mirrored(theta) if mirror else theta)
        return torch.stack(maps).mean(0), torch.stack(thetas).mean(0)

    def _judge(
        self,
        features: list[tuple[BSNet, bool, Features]],
        lungs: torch.Tensor | None,
        theta: torch.Tensor,
    ) -> dict[Attention, torch.Tensor]:
        answers: dict[Attention, list[torch.Tensor]] = {name: [] for name in self.spec.attentions}
        for member, mirror, seen in features:
            turned = lungs.flip(-1) if mirror and lungs is not None else lungs
            logits = member.judge(seen.levels, turned, mirrored(theta) if mirror else theta)
            for attention, values in logits.items():
                probabilities = values.softmax(-1)
                answers[attention].append(probabilities.flip(2) if mirror else probabilities)
        return {attention: torch.stack(values).mean(0) for attention, values in answers.items()}

    def _presence(
        self,
        films: torch.Tensor,
        features: list[tuple[BSNet, bool, Features]],
        lungs: torch.Tensor,
        theta: torch.Tensor,
    ) -> torch.Tensor:
        logits = []
        for member, mirror, seen in features:
            view, inside = (films.flip(-1), lungs.flip(-1)) if mirror else (films, lungs)
            frame = mirrored(theta) if mirror else theta
            logits.append(member.find_presence(view, seen.levels, inside, frame))
        return torch.stack([logit for logit in logits if logit is not None]).mean(0).sigmoid()

    def _calibrated(self, by_attention: dict[Attention, torch.Tensor]) -> torch.Tensor:
        return calibrated(torch.stack(list(by_attention.values())).mean(0), self.spec)


def mirrored(theta: torch.Tensor) -> torch.Tensor:
    """Return the transform of the mirrored film that gives the mirrored frame.

    Parameters
    ----------
    theta : torch.Tensor
        float32, (batch, 2, 3).

    Returns
    -------
    torch.Tensor
        float32, (batch, 2, 3); applied twice it changes nothing.
    """
    return theta * theta.new_tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])


def calibrated(probabilities: torch.Tensor, spec: BSNetSpec) -> torch.Tensor:
    """Apply the temperature and the class bias of a spec.

    Parameters
    ----------
    probabilities : torch.Tensor
        float32, (..., 4), summing to 1.
    spec : BSNetSpec
        Holds both.

    Returns
    -------
    torch.Tensor
        float32, same shape, summing to 1.
    """
    logarithms = probabilities.clamp_min(1e-9).log()
    return (logarithms / spec.temperature + logarithms.new_tensor(spec.class_bias)).softmax(-1)
