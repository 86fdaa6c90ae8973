"""Errors of the models package.

ModelError
└── CheckpointError    a weight file or its spec is missing, altered or does not fit
"""


class ModelError(Exception):
    """Something about a network is wrong; trying again cannot help."""

    transient = False


class CheckpointError(ModelError):
    """A weight file or its spec is missing, altered, or does not fit the network it describes."""
