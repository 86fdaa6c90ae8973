"""How large networks are and how much they compute: parameters and multiply-adds.

Every convolution, transposed convolution, linear layer and matrix product counts, also those of the encoders
that the paper's counter leaves out (every EfficientNet; Danilov et al. 2022, Tables 5 and 6). Normalisation,
activation, resizing and other work on single values does not count. Nothing is computed and no weights are
made: layers are run without data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.checkpoint import NetworkSpec, build_network
from models.geometry import Shape


@dataclass(frozen=True)
class Complexity:
    """How large a network is, and what one film costs.

    Parameters
    ----------
    parameters : int
        Numbers that are learned.
    multiply_adds : int
        Of one film.
    encoder_multiply_adds : int
        The part of these in modules called ``encoder``; 0 for a network without one.
    """

    parameters: int
    multiply_adds: int
    encoder_multiply_adds: int = 0

    @property
    def decoder_multiply_adds(self) -> int:
        """Multiply-adds of everything after the encoder."""
        return self.multiply_adds - self.encoder_multiply_adds


def count(network: nn.Module, input_shape: Shape, channels: int) -> Complexity:
    """Count a network's parameters and the multiply-adds of one film.

    Parameters
    ----------
    network : torch.nn.Module
        In training or evaluation mode, on any device; neither its weights nor its mode change.
    input_shape : tuple of int
        (rows, columns).
    channels : int
        Of the input.

    Returns
    -------
    Complexity
    """
    empty = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in _tensors(network)
        if not tensor.is_meta
    }
    modes = [(module, module.training) for module in network.modules()]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            batch = torch.empty(1, channels, *input_shape, device="meta")
            torch.func.functional_call(network.eval(), empty, (batch,))
    finally:
        for module, training in modes:
            module.training = training
    encoders = [
        sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
        if name.endswith(".encoder") and name.count(".encoder") == 1
    ]
    return Complexity(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        encoder_multiply_adds=sum(encoders) // 2,
    )


def count_spec(spec: NetworkSpec) -> Complexity:
    """Count the network that a description stands for.

    Parameters
    ----------
    spec : NetworkSpec
        With several members all of them count; one that also looks at the mirror image computes twice.

    Returns
    -------
    Complexity

    Raises
    ------
    CheckpointError
        If it cannot be built.
    """
    with torch.device("meta"):
        network = build_network(spec)
    once = count(network, spec.input_shape, len(spec.channel_mean))
    views = 2 if spec.mirrored else 1
    return Complexity(once.parameters, views * once.multiply_adds, views * once.encoder_multiply_adds)


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()
