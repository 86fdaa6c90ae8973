"""Settings of one BS-Net training, read from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from models.bsnet.spec import PRESETS, BSNetSpec
from training.bsnet.augmentation import SWITCHES, Augmentation
from training.learning.config import ConfigError, read_toml

FOLDER = Path(__file__).parent.parent / "configs" / "bsnet"
"""Where the TOML files of this package lie."""

PHASES = ("lungs", "alignment", "heads", "everything", "presence")
"""The paper's four phases in their order (section "Training"), and ours for ``models.bsnet.presence``."""

PROTOCOLS = ("scratch", "fine-tune", "full")
"""Table 9: learn on the data folder alone; start from given weights; take given weights as they are."""

SPLITS = ("manifest", "paper")
"""The data folder's subsets, or the paper's 75/25 of all films with a Brixia score (seed 23)."""

Section = TypeVar("Section")


@dataclass(frozen=True)
class Phase:
    """One phase.

    Parameters
    ----------
    epochs : int
        0 leaves the phase out.
    batch_size : int
        Films a step.
    learning_rate : float
        At its peak; it rises for a moment and then falls as a cosine.
    slow_share : float
        Share of it for encoder, decoder and aligner in the last phase.
    frozen : tuple of str
        Sub-modules that do not learn in this phase although it is theirs; an encoder that starts from good
        weights, say.
    """

    epochs: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    slow_share: float = 0.1
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Films:
    """Which films teach what.

    Parameters
    ----------
    split : str
        See ``SPLITS``.
    lungs_of : str
        Checkpoint folder of a stage I whose lungs stand in where no mask was drawn; empty for none.
    pseudo_labels : bool
        Whether films without a Brixia score get one from a teacher; see ``training.bsnet.pseudo_labels``.
    label_repeats : int
        How often an epoch shows each film that readers scored.
    normals : int
        How many of the films called normal an epoch shows, drawn anew each time.
    senior : float
        Weight of the first reader's score in the label, from 0 to 1; the second reader has the rest.
    lungs_every : int
        In phase 4 every how-many-th step also learns lungs.
    """

    split: str = "manifest"
    lungs_of: str = ""
    pseudo_labels: bool = False
    label_repeats: int = 1
    normals: int = 0
    senior: float = 1.0
    lungs_every: int = 1


@dataclass(frozen=True)
class Loss:
    """See ``training.bsnet.losses``; defaults are the paper's."""

    alpha: float = 0.7
    beta: float = 20.0


@dataclass(frozen=True)
class HeadFit:
    """How pooled heads are fitted to cached features in phase 3; see ``training.bsnet.pooled_fit``.

    Parameters
    ----------
    penalties : tuple of float
        On the squares of the weights; cross-validation chooses.
    views : int
        Changed copies of each film, beside the film and its mirror image.
    guessed, normal : float
        What a film with a guessed score, and one called normal, count against one that readers scored.
    """

    penalties: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    views: int = 2
    guessed: float = 0.3
    normal: float = 0.1


@dataclass(frozen=True)
class PresenceFit:
    """How the presence of disease is fitted to cached features; see ``training.bsnet.presence_fit``.

    Parameters
    ----------
    encoder_weights : str
        As ``BSNetTraining.encoder_weights``, of the encoder that looks at the aligned lungs.
    strength : float
        Of the fit against its penalty: the inverse, C, of scikit-learn's logistic regression.
    margin : float
        Added to the log odds of disease. The encoder may have learnt from the very films that the fit sees,
        so that on other films it is less sure than it seems; above 0, diseased films are spared at the price
        of healthy ones.
    views : int
        Changed copies of each film, beside the film and its mirror image.
    """

    encoder_weights: str = "none"
    strength: float = 0.01
    margin: float = 0.0
    views: int = 1


@dataclass(frozen=True)
class BSNetTraining:
    """One training.

    Parameters
    ----------
    spec : BSNetSpec
        The network.
    protocol : str
        See ``PROTOCOLS``.
    encoder_weights : str
        ``none``, ``imagenet``, or a safetensors file, see ``models.checkpoint.build_network``.
    lung_decoder : str
        Checkpoint folder of a stage I with the same encoder, whose decoder phase 1 starts from; empty for
        random weights.
    films, loss, head_fit, presence_fit, augmentation
        See there; the augmentation is one of ``SWITCHES`` by name.
    phases : dict
        By the names in ``PHASES``.
    ema_decay : float
        Of the running mean of the weights, which is what is judged and kept; 0 for the last weights.
    weight_decay : float
        Of AdamW.
    seed : int
        Of weights, order and augmentation.
    """

    spec: BSNetSpec
    protocol: str = "scratch"
    encoder_weights: str = "none"
    lung_decoder: str = ""
    films: Films = field(default_factory=Films)
    loss: Loss = field(default_factory=Loss)
    head_fit: HeadFit = field(default_factory=HeadFit)
    presence_fit: PresenceFit = field(default_factory=PresenceFit)
    augmentation: Augmentation = SWITCHES["all"]
    phases: Mapping[str, Phase] = field(default_factory=dict)
    ema_decay: float = 0.98
    weight_decay: float = 0.02
    seed: int = 1


def read_training(path: Path) -> BSNetTraining:
    """Read a training's settings.

    Parameters
    ----------
    path : pathlib.Path
        TOML with the tables ``network`` (``preset`` and the fields of ``BSNetSpec`` that differ from it),
        ``films``, ``loss`` and ``phases.NAME``, and the plain keys of ``BSNetTraining``.

    Returns
    -------
    BSNetTraining

    Raises
    ------
    training.learning.config.ConfigError
        If the file is missing, is no TOML, or holds an unknown key or a value that is not allowed.
    """
    return training_from(read_toml(path), str(path))


def training_from(content: Mapping[str, Any], source: str) -> BSNetTraining:
    """Turn the content of a TOML file into settings; ``ConfigError`` as in ``read_training``."""
    known = {item.name for item in fields(BSNetTraining)} - {"spec"} | {"network"}
    if unknown := set(content) - known:
        raise ConfigError(f"{source}: unknown key {', '.join(sorted(unknown))}; remove or correct it")
    tables = ("network", "films", "loss", "head_fit", "presence_fit", "phases", "augmentation")
    try:
        training = BSNetTraining(
            spec=_spec(content.get("network", {})),
            films=_section(Films, content.get("films", {})),
            loss=_section(Loss, content.get("loss", {})),
            head_fit=_section(HeadFit, content.get("head_fit", {})),
            presence_fit=_section(PresenceFit, content.get("presence_fit", {})),
            augmentation=_chosen("augmentation", content.get("augmentation", "all"), SWITCHES),
            phases={name: _section(Phase, table) for name, table in content.get("phases", {}).items()},
            **{name: value for name, value in content.items() if name not in tables},
        )
        _check(training)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}; see training/bsnet/settings.py for the keys") from error
    return training


def _spec(table: Mapping[str, Any]) -> BSNetSpec:
    preset = _chosen("network.preset", table.get("preset", "compact"), PRESETS)
    whole = {item.name: getattr(preset, item.name) for item in fields(BSNetSpec)}
    return BSNetSpec.from_mapping({**whole, **table})


def _section(kind: type[Section], table: Mapping[str, Any]) -> Section:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(table) - known:
        raise ValueError(f"unknown key {', '.join(sorted(unknown))} for {kind.__name__.lower()}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in table.items()})


def _chosen(name: str, value: str, choices: Mapping[str, Section]) -> Section:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; write one of {', '.join(choices)}")
    return choices[value]


def _check(training: BSNetTraining) -> None:
    for name, value, choices in (
        ("protocol", training.protocol, PROTOCOLS),
        ("films.split", training.films.split, SPLITS),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; write one of {', '.join(choices)}")
    if unknown := set(training.phases) - set(PHASES):
        raise ValueError(f"unknown phase {', '.join(sorted(unknown))}; write {', '.join(PHASES)}")
    for name, phase in training.phases.items():
        if phase.epochs < 0 or phase.batch_size < 2 or phase.learning_rate <= 0:
            raise ValueError(f"phases.{name}: epochs from 0, batch_size from 2, learning_rate above 0")
    if not 0 <= training.films.senior <= 1 or not 0 <= training.loss.alpha <= 1 or training.loss.beta <= 0:
        raise ValueError("films.senior and loss.alpha lie in 0 to 1, loss.beta above 0")


def with_epochs(training: BSNetTraining, epochs: int) -> BSNetTraining:
    """Return the same training with at most so many epochs a phase, for a quick check."""
    shortened = {
        name: replace(phase, epochs=min(epochs, phase.epochs)) for name, phase in training.phases.items()
    }
    return replace(training, phases=shortened)
