"""One film of any source, before it is written into a data folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.data.pictures import Picture

FINDING_GROUPS = ("normal", "covid", "pneumonia", "unlabelled")
SUBSETS = ("train", "val", "test")


class PrepareError(Exception):
    """Data cannot be prepared; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a source or a table.

    Parameters
    ----------
    name : str
        The film's identifier; ``""`` where the fault belongs to no film.
    kind : str
        The same words for the same fault, for counting.
    message : str
        What is wrong here, and what to do.
    """

    name: str
    kind: str
    message: str


@dataclass(frozen=True)
class ReaderScores:
    """The 0 to 6 scores of the two readers of Danilov et al. 2022.

    Parameters
    ----------
    r, d : float or None
        Reader R's and reader D's score; None where a reader gave none.
    poor_quality : bool or None
        Whether one of them flagged the film; None where it is not known.
    stated : float or None
        A consensus that a table states without the readers' own scores.
    """

    r: float | None = None
    d: float | None = None
    poor_quality: bool | None = None
    stated: float | None = None

    @property
    def consensus(self) -> float | None:
        """Mean of the readers (half points stay), the only one's score, or the stated consensus."""
        given = [score for score in (self.r, self.d) if score is not None]
        return sum(given) / len(given) if given else self.stated


@dataclass(frozen=True)
class FilmRecord:
    """One radiograph and everything a source says of it; None and ``""`` mean "not known".

    Parameters
    ----------
    name : str
        Identifier, unique in a table; its part before the first ``_`` names the source.
    source_dataset : str
        The source in words.
    patient_group : str
        The patient, or several joined ones; never in two subsets.
    image : Picture
        The radiograph.
    lung_mask, second_lung_mask : Picture or None
        The lungs, and a second reader's.
    opacity_mask, consolidation_mask : Picture or None
        Opacity, and the consolidation part of it.
    ignore_mask : Picture or None
        Areas in which the masks say nothing, e.g. under a pacemaker.
    split : str
        ``train``, ``val``, ``test``, or ``""`` before it is assigned.
    view, sex : str
        ``PA``, ``AP``, …; ``F`` or ``M``.
    age : float or None
        Years.
    finding, finding_group : str
        In the source's words; one of ``FINDING_GROUPS``, or another group's name.
    readers : ReaderScores
        0 to 6 scores.
    boxes : tuple of tuple of float
        Boxes around opacities: left, top, right, bottom in pixels.
    tags : tuple of str
        Remarks on quality, e.g. ``arrows``.
    licence, licence_class, annotation_licence : str
        As the source states them; class ``open``, ``nc``, ``nc-nd`` or ``unstated``.
    original_filename : str
        Name in the source.
    further : Mapping of str to str
        Other columns of the table that are carried over as they are, e.g. Brixia scores.
    """

    name: str
    source_dataset: str
    patient_group: str
    image: Picture
    lung_mask: Picture | None = None
    second_lung_mask: Picture | None = None
    opacity_mask: Picture | None = None
    consolidation_mask: Picture | None = None
    ignore_mask: Picture | None = None
    split: str = ""
    view: str = ""
    sex: str = ""
    age: float | None = None
    finding: str = ""
    finding_group: str = "unlabelled"
    readers: ReaderScores = ReaderScores()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    tags: tuple[str, ...] = ()
    licence: str = ""
    licence_class: str = "unstated"
    annotation_licence: str = ""
    original_filename: str = ""
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The source's short name: the identifier up to the first ``_``."""
        return self.name.split("_")[0]

    @property
    def masks(self) -> dict[str, Picture]:
        """The masks that there are, by the manifest's column."""
        every = {
            "mask_file": self.lung_mask,
            "mask_alt_file": self.second_lung_mask,
            "disease_mask_file": self.opacity_mask,
            "consolidation_mask_file": self.consolidation_mask,
            "ignore_mask_file": self.ignore_mask,
        }
        return {column: mask for column, mask in every.items() if mask is not None}


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a source.

    Parameters
    ----------
    records : tuple of FilmRecord
        In the source's order, made reproducible by sorting file names.
    problems : tuple of Problem
        Faults met on the way.
    left_out : Mapping of str to int
        How many items were left out on purpose, by reason.
    notes : tuple of str
        What was assumed.
    """

    records: tuple[FilmRecord, ...]
    problems: tuple[Problem, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def film_name(source: str, stem: str) -> str:
    """Return an identifier: the source in lower case with hyphens, ``_``, the stem without odd characters.

    A stem that had odd characters gets four hexadecimal digits of its hash, so that ``a (1)`` and ``a(1)``
    stay two films.

    >>> film_name("Actualmed_COVID", "CR.1.2")
    'actualmed-covid_CR.1.2'
    >>> film_name("Radiography", "COVID-19 (12)")
    'radiography_COVID-19-12-0979'
    """
    plain = _plain(stem)
    if plain != stem:
        plain = f"{plain or 'film'}-{hashlib.sha256(stem.encode()).hexdigest()[:4]}"
    return f"{_plain(source).lower().replace('_', '-') or 'films'}_{plain}"


def _plain(text: str) -> str:
    return "-".join(re.findall(r"[A-Za-z0-9._]+", text))
