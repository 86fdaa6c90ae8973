"""Networks on disk: what a network is (``NetworkSpec``, JSON) and its weights (safetensors).

A checkpoint is two files in one folder, ``ROLE.json`` and the weight file it names; see
``models.weight_files``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from torch import nn

from models.encoder_weights import REMEDY, is_file, library_argument, load_encoder
from models.ensemble import Ensemble
from models.errors import CheckpointError
from models.geometry import Resize, Shape
from models.weight_files import (
    OTHER_WEIGHTS,
    no_description,
    read_description,
    read_weights,
    write_description,
    write_weights,
)

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the weights that come with the package."""


class Role(StrEnum):
    """What a network looks for."""

    LUNGS = "lungs"
    OPACITY = "opacity"


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to build a network, feed it, and read its answer.

    Parameters
    ----------
    role : Role
        ``lungs`` (stage I) or ``opacity`` (stage II).
    architecture, encoder : str
        Names that segmentation-models-pytorch knows: ``unet``, ``fpn`` ...; ``resnet18`` ...
    options : Mapping[str, object]
        Further arguments of the architecture, e.g. ``decoder_channels``.
    input_shape : tuple of int
        (rows, columns) of the input.
    resize : Resize
        How a crop meets ``input_shape``.
    window_percentiles : tuple of float
        The two percentiles of the film's grey values that become 0 and 1 before anything else.
    channel_mean, channel_std : tuple of float
        Subtracted and divided, per input channel; their number is the number of channels. The film is
        repeated.
    probability_threshold : float
        A pixel belongs to the mask if its probability is above this.
    classification_head : bool
        True if the network also says whether there is anything at all (Danilov et al. 2022, Eq. 1-2).
    presence_threshold : float
        The map counts only if the classification head's probability is at least this (0.5 in the paper).
    members : int
        How many networks of this description answer together (``models.ensemble``).
    mirrored : bool
        The answer is the mean of that for the film and that for its mirror image.
    involvement_threshold : float or None
        Stage II only: T, the opacified share above which a zone is involved (Algorithm B3).
    involvement_width : float
        0: the paper's sharp rule. Above 0: how unsure a share is; see ``models.severity.measure``.
    training : str
        Where the weights come from, in words: data, command, licence.
    weights_file, weights_sha256 : str
        File name beside the JSON and its SHA-256; filled in by ``save_checkpoint``.
    """

    role: Role
    architecture: str
    encoder: str
    input_shape: Shape
    options: Mapping[str, Any] = field(default_factory=dict)
    resize: Resize = Resize.STRETCH
    window_percentiles: tuple[float, float] = (0.0, 100.0)
    channel_mean: tuple[float, ...] = (0.5,)
    channel_std: tuple[float, ...] = (0.25,)
    probability_threshold: float = 0.5
    classification_head: bool = False
    presence_threshold: float = 0.5
    members: int = 1
    mirrored: bool = False
    involvement_threshold: float | None = None
    involvement_width: float = 0.0
    training: str = ""
    weights_file: str = ""
    weights_sha256: str = ""


def build_network(spec: NetworkSpec, encoder_weights: str | None = None) -> nn.Module:
    """Build the network that ``spec`` describes, with random weights.

    Parameters
    ----------
    spec : NetworkSpec
        The description. Of several members each starts from its own random weights.
    encoder_weights : str, optional
        Training only, for one member: the name of pre-trained encoder weights, e.g. ``imagenet``, which the
        library may download, or a safetensors file of them. None (the default) and ``none`` never touch the
        network.

    Returns
    -------
    torch.nn.Module
        Maps float32 (batch, channels, rows, columns) to logits (batch, 1, rows, columns); with a
        classification head to a pair of these and logits (batch, 1).

    Raises
    ------
    CheckpointError
        If the library does not know the architecture, the encoder or an option, or the encoder weights cannot
        be had.
    """
    if spec.members > 1:
        return Ensemble(build_network(replace(spec, members=1)) for _ in range(spec.members))

    import models.torchvision_ops  # noqa: PLC0415, F401, I001 - must precede the next import
    import segmentation_models_pytorch as smp  # noqa: PLC0415 - takes seconds; only builders need it

    aux = {"classes": 1, "dropout": 0.2, "pooling": "avg"} if spec.classification_head else None
    try:
        network = smp.create_model(
            spec.architecture,
            encoder_name=spec.encoder,
            encoder_weights=library_argument(spec.encoder, encoder_weights),
            in_channels=len(spec.channel_mean),
            classes=1,
            aux_params=aux,
            **spec.options,
        )
    except OSError as error:
        raise CheckpointError(
            f"the {encoder_weights} weights of {spec.encoder} cannot be downloaded: {error} {REMEDY}"
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot build {spec.architecture} with encoder {spec.encoder}: {error}; "
            "correct the spec or install the version of segmentation-models-pytorch in constraints.txt"
        ) from error
    assert isinstance(network, nn.Module)  # noqa: S101 - narrows an untyped library's answer
    if spec.architecture.startswith("deeplabv3"):
        network.initialize()  # type: ignore[operator]  # every other decoder the library initialises itself
    if encoder_weights is not None and is_file(encoder_weights):
        load_encoder(network.encoder, Path(encoder_weights))  # type: ignore[arg-type]
    return network


def weights_folder(name: Path | str | None) -> Path:
    """Return the folder that a setting or a command line names.

    Parameters
    ----------
    name : pathlib.Path or str or None
        A folder; or the name of one beside the shipped weights, e.g. ``light``; None for the shipped weights.

    Returns
    -------
    pathlib.Path
        Not checked: whoever loads from it says what is missing.
    """
    if name is None:
        return SHIPPED_WEIGHTS
    path, beside = Path(name), SHIPPED_WEIGHTS / name
    return beside if beside.is_dir() and not path.is_dir() else path


def save_checkpoint(network: nn.Module, spec: NetworkSpec, folder: Path) -> NetworkSpec:
    """Write ``ROLE.safetensors`` (float16) and ``ROLE.json`` into ``folder``.

    Parameters
    ----------
    network : torch.nn.Module
        The network whose weights are saved.
    spec : NetworkSpec
        Its description; ``weights_file`` and ``weights_sha256`` are filled in.
    folder : pathlib.Path
        Made if missing.

    Returns
    -------
    NetworkSpec
        The spec as written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights_file = f"{spec.role}.safetensors"
    digest = write_weights(network, folder / weights_file)
    return write_spec(replace(spec, weights_file=weights_file, weights_sha256=digest), folder)


def write_spec(spec: NetworkSpec, folder: Path) -> NetworkSpec:
    """Write ``ROLE.json`` beside weights that are already there, e.g. after choosing a threshold.

    Parameters
    ----------
    spec : NetworkSpec
        What to write.
    folder : pathlib.Path
        The checkpoint's folder.

    Returns
    -------
    NetworkSpec
        The same spec.
    """
    write_description(asdict(spec), folder / f"{spec.role}.json")
    return spec


def load_spec(folder: Path, role: Role) -> NetworkSpec:
    """Read and check ``ROLE.json``.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint's folder.
    role : Role
        Which network.

    Returns
    -------
    NetworkSpec

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, altered, or describes another role.
    """
    path = folder / f"{role}.json"
    content = read_description(path)
    try:
        spec = _spec_from(content)
    except (ValueError, KeyError, TypeError) as error:
        raise no_description(path, error) from error
    if spec.role is not role:
        raise CheckpointError(f"{path} describes a network for {spec.role}, not for {role}; {OTHER_WEIGHTS}")
    return spec


def load_checkpoint(folder: Path, role: Role) -> tuple[nn.Module, NetworkSpec]:
    """Load one network, ready for inference, on the CPU, in float32.

    Parameters
    ----------
    folder : pathlib.Path
        The checkpoint's folder.
    role : Role
        Which network.

    Returns
    -------
    network : torch.nn.Module
        In evaluation mode.
    spec : NetworkSpec
        Its description.

    Raises
    ------
    CheckpointError
        If a file is missing or altered, or the weights do not fit the network.
    """
    spec = load_spec(folder, role)
    network = build_network(spec)
    what = f"{spec.architecture} with {spec.encoder}"
    read_weights(network, folder / spec.weights_file, spec.weights_sha256, what)
    return network.eval(), spec


def _spec_from(content: dict[str, Any]) -> NetworkSpec:
    pairs = {name: tuple(content[name]) for name in ("input_shape", "window_percentiles")}
    channels = {name: tuple(content[name]) for name in ("channel_mean", "channel_std")}
    enums = {"role": Role(content["role"]), "resize": Resize(content["resize"])}
    return NetworkSpec(**{**content, **pairs, **channels, **enums})
