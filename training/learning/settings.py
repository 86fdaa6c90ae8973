"""The sections of a run's settings: what each key of a training configuration means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("Objective", "kind"): ("two_task", "weak_labels"),
    ("Objective", "weighting"): ("dynamic", "static"),
    ("OptimizerSettings", "schedule"): ("constant", "cosine"),
    ("Schedule", "augmentation"): ("paper", "tensor"),
    ("Schedule", "precision"): ("auto", "float32", "bf16", "fp16"),
}
"""What the keys that name something may be, by class and key."""


@dataclass(frozen=True)
class Initial:
    """What a run starts from.

    Parameters
    ----------
    encoder_weights : str
        ``imagenet`` (downloaded once by the library), ``none``, or a safetensors file that holds the state of
        the encoder.
    """

    encoder_weights: str = "none"


@dataclass(frozen=True)
class Objective:
    """What the network is taught; see ``training.learning.objectives``.

    Parameters
    ----------
    kind : str
        ``two_task``: a segmentation loss on the map and, with a classification head, a loss on its answer,
        from films with masks and normal films (Danilov et al. 2022, "Stage II"). ``weak_labels``: every
        label that a film has, weighted by ``[opacity_loss]``; stage I: cross-entropy and Dice.
    segmentation, classification : str
        Names that ``training.learning.segmentation_losses`` knows; for ``two_task``.
    weighting : str
        ``dynamic`` (Danilov et al. 2022, Eq. 3) or ``static`` (all losses count alike).
    alpha : float
        Exponent of Eq. 3.
    legacy_inputs : bool
        Feed some losses as the paper's code does by mistake; see ``segmentation_loss``.
    """

    kind: str = "weak_labels"
    segmentation: str = "dice"
    classification: str = "bce"
    weighting: str = "static"
    alpha: float = 0.5
    legacy_inputs: bool = False


@dataclass(frozen=True)
class OptimizerSettings:
    """How the weights follow the gradient.

    Parameters
    ----------
    name : str
        A name that ``training.learning.optimizers`` knows.
    learning_rate : float
        Of the whole run (``constant``), or its peak (``cosine``).
    weight_decay : float or None
        None leaves it to the optimiser.
    schedule : str
        ``constant``, as in the paper; or ``cosine``: linear warm-up over the first 3 %, then down to 0.
    encoder_rate : float
        The encoder's learning rate, as a part of that of the rest: an encoder that starts from pre-trained
        weights should change less than a decoder that starts from random ones.
    clip_norm : float
        Longest gradient that is not shortened; 0 never shortens.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float | None = None
    schedule: str = "constant"
    encoder_rate: float = 1.0
    clip_norm: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """How long to learn, and from what.

    Parameters
    ----------
    epochs : int
        Passes over the training films.
    batch_size : int
        Films a step.
    patience : int
        Validations without a better figure after which a run ends; 0 never ends it early.
    min_delta : float
        How much better a figure must be to count as better.
    augmentation : str
        ``paper``: films of their own size are changed one by one on the CPU (Danilov et al. 2022,
        "Training"). ``tensor``: films of the network's size are changed a batch at a time, on the device.
    ema_decay : float
        Of the running mean of the weights, which is what is validated and saved; 0 takes the weights
        themselves.
    resolutions : tuple of (int, float)
        For ``tensor``: side of the square input, and the share of the run up to which it is used; empty for
        the network's own side throughout.
    validate_every : int
        Epochs between two validations.
    mask_repeats : int
        Stage II: how often an epoch shows each film that has a drawn opacity mask.
    precision : str
        Of the forward pass: ``float32``, ``bf16``, ``fp16``, or ``auto``, which takes bf16 where the
        processor computes in it, else fp16 on a GPU and float32 on a CPU.
    """

    epochs: int = 40
    batch_size: int = 16
    patience: int = 0
    min_delta: float = 0.0
    augmentation: str = "tensor"
    ema_decay: float = 0.0
    resolutions: tuple[tuple[int, float], ...] = ()
    validate_every: int = 1
    mask_repeats: int = 1
    precision: str = "auto"


@dataclass(frozen=True)
class Augmentation:
    """How far ``tensor`` augmentation may change a film; every range is symmetric unless said otherwise.

    Parameters
    ----------
    rotation_degrees, scale, aspect, shift, shear : float
        Of the affine map; scale and aspect in powers of e, shift as a share of the side, shear in radians.
    flip : float
        Probability of a left-right flip (zone labels travel with the pixels).
    gamma, contrast, brightness : float
        Gamma in powers of e; contrast and brightness relative to the range of the view.
    negatives : float
        Probability that a film is made into none (inverted, upside down, turned by 90°, blank, a gradient,
        noise) and loses its labels, so that stage I learns to find no lungs on what is no upright chest film.
    bias, noise, blur, erase : float
        Strength of a smooth additive field; standard deviation of the noise; probability of a blur;
        probability that a rectangle is filled with one grey value.
    """

    rotation_degrees: float = 12.0
    scale: float = 0.15
    aspect: float = 0.1
    shift: float = 0.06
    shear: float = 0.08
    flip: float = 0.5
    gamma: float = 0.4
    contrast: float = 0.3
    brightness: float = 0.15
    bias: float = 0.1
    noise: float = 0.03
    blur: float = 0.2
    erase: float = 0.3
    negatives: float = 0.0


@dataclass(frozen=True)
class OpacityLoss:
    """Weights of the parts of stage II's loss from weak labels; 0 leaves a part out.

    Parameters
    ----------
    mask, guess, boxes, normal, teacher, score, zones, brixia, presence : float
        See ``training.learning.losses``.
    involvement_threshold, temperature : float
        Of the differentiable zone count, shares of a zone's area.
    """

    mask: float = 1.0
    guess: float = 1.0
    boxes: float = 0.3
    normal: float = 0.5
    teacher: float = 2.0
    score: float = 0.5
    zones: float = 0.5
    brixia: float = 0.5
    presence: float = 0.3
    involvement_threshold: float = 0.25
    temperature: float = 0.06
