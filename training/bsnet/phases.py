"""From part to whole: what learns in each phase (Signoroni et al. 2021, section "Training").

1 lungs: encoder and decoder. 2 alignment: the aligner, on synthetic masks alone. 3 heads: the heads, on
frozen features. 4 everything: all of it; the regions' loss reaches the aligner, too. 5 presence, which is not
the paper's: whether there is disease at all, on frozen features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from models.bsnet.encoder import PreActivationResNet18
from models.bsnet.network import BSNet

TRAINED: Mapping[str, tuple[str, ...]] = {
    "lungs": ("encoder", "decoder"),
    "alignment": ("aligner",),
    "heads": ("heads",),
    "everything": ("encoder", "decoder", "aligner", "heads"),
    "presence": ("presence",),
}
"""Sub-modules that learn, by phase; the others are frozen."""

SLOW = ("encoder", "decoder", "aligner")
"""Sub-modules with the smaller learning rate in the last phase."""


def trained_parts(network: BSNet, phase: str, frozen: Sequence[str] = ()) -> dict[str, nn.Module]:
    """Return the sub-modules that a phase trains, without ``frozen`` and those that the network has not."""
    if network.decoder is None and phase == "lungs":
        return {}
    parts = {name: getattr(network, name) for name in TRAINED[phase] if name not in frozen}
    return {name: part for name, part in parts.items() if part is not None}


def freeze(network: BSNet, phase: str, *, frozen: Sequence[str] = (), keep_statistics: bool = False) -> None:
    """Let the phase's sub-modules learn, and no others.

    Parameters
    ----------
    network : BSNet
        Changed in place.
    phase : str
        One of ``TRAINED``. Frozen parts are in evaluation mode.
    frozen : sequence of str
        See ``training.bsnet.settings.Phase``.
    keep_statistics : bool
        Whether the batch-norm layers of encoder and decoder keep their means and variances. Those of an
        encoder that starts from weights of its own should: batches this small would spoil them.
    """
    network.requires_grad_(False)
    network.eval()
    for name, part in trained_parts(network, phase, frozen).items():
        part.requires_grad_(True)
        part.train(not (keep_statistics and name in ("encoder", "decoder")))
    if isinstance(network.encoder, PreActivationResNet18):
        network.encoder.film_norm.weight.requires_grad_(False)  # it has no scale in the published code


def parameter_groups(
    network: BSNet, phase: str, slow_share: float, frozen: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the parameters that learn in groups, each with its ``part`` of the learning rate.

    ``slow_share`` is that of encoder, decoder and aligner in the last phase; everything else has 1.
    """
    groups = []
    for name, part in trained_parts(network, phase, frozen).items():
        parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
        slow = phase == "everything" and name in SLOW
        groups.append({"params": parameters, "part": slow_share if slow else 1.0})
    return groups
