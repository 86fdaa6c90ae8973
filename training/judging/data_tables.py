"""What a data folder holds, as tables: the equivalents of Tables 1 to 4 of Danilov et al. 2022."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from training.data.film_record import FINDING_GROUPS, FilmRecord
from training.data.preparation import strata
from training.data.split import PUBLISHED_SEED, patient_split, subset_counts, tuning_patients
from training.judging.tables.writing import ReportTable

SCORE_STEPS = tuple(step / 2 for step in range(13))
"""Consensus scores: 0 to 6 with half points, since it is the mean of two readers."""

TUNING_SHARES = {"I": 0.1, "II": 0.5}
"""Share of the films that a hyperparameter search takes at each stage (Table 4)."""


def data_tables(records: Sequence[FilmRecord]) -> list[ReportTable]:
    """Return every table.

    Parameters
    ----------
    records : sequence of FilmRecord
        The films of a data folder.

    Returns
    -------
    list of ReportTable
    """
    return [
        stage_one_table(records),
        stage_two_table(records),
        demographics_table(records),
        tuning_table(records),
        score_table(records),
        label_table(records),
    ]


def stage_one_table(records: Sequence[FilmRecord]) -> ReportTable:
    """Films with a lung mask, by source and subset (Table 1)."""
    chosen = [record for record in records if record.lung_mask is not None]
    return ReportTable(
        "table_1_stage_1",
        "Films for stage I, by source and subset",
        _by_source(chosen, lambda films: {"share_percent": _percent(len(films), len(chosen))}),
        "Films with a lung mask. The paper: 6,810 of three sources, 80/10/10.",
    )


def stage_two_table(records: Sequence[FilmRecord]) -> ReportTable:
    """Films with an opacity mask, and normal ones, by source, finding and subset (Table 2)."""
    chosen = [record for record in records if _for_stage_two(record)]
    return ReportTable(
        "table_2_stage_2",
        "Films for stage II, by source, finding and subset",
        _by_source(chosen, lambda films: {name: _findings(films)[name] for name in _finding_names(chosen)}),
        "Films with an opacity mask, and films called normal. The paper: 580 COVID-19 and 784 normal "
        "films of six sources.",
    )


def demographics_table(records: Sequence[FilmRecord]) -> ReportTable:
    """Age, sex and view as far as they are known (Table 3), with what each figure is a share of."""
    rows: list[dict[str, object]] = []
    for label, wanted in (("all", ("F", "M", "")), ("men", ("M",)), ("women", ("F",))):
        ages = [record.age for record in records if record.age is not None and record.sex in wanted]
        if ages:
            spread = f" ± {statistics.stdev(ages):.1f}" if len(ages) > 1 else ""
            rows.append({"what": f"age in years, {label}", "value": f"{statistics.mean(ages):.1f}{spread}"})
            rows[-1] |= {"films": len(ages), "known": len(ages), "percent": ""}
    attributes: tuple[tuple[str, Callable[[FilmRecord], str]], ...] = (
        ("sex", lambda record: record.sex),
        ("view", lambda record: record.view),
        ("country", lambda record: record.further.get("country", "")),
    )
    for what, value_of in attributes:
        counted = Counter(filter(None, map(value_of, records)))
        known = sum(counted.values())
        for value, count in counted.most_common():
            rows.append({"what": what, "value": value, "films": count, "known": known})
            rows[-1]["percent"] = _percent(count, known)
    groups = len({record.patient_group for record in records})
    return ReportTable(
        "table_3_demographics",
        "Age, sex and view",
        pd.DataFrame(rows, columns=["what", "value", "films", "known", "percent"]),
        f"Counts of films, {len(records)} of {groups} patient groups; percentages are of the films of "
        "which it is known.",
    )


def tuning_table(records: Sequence[FilmRecord], seed: int = PUBLISHED_SEED) -> ReportTable:
    """Films of a hyperparameter search beside those of training (Table 4)."""
    rows = []
    stages = {
        "I": [record for record in records if record.lung_mask is not None],
        "II": [record for record in records if _for_stage_two(record)],
    }
    for stage, films in stages.items():
        inside = [film for film in films if film.split != "test"]
        drawn = _drawn(inside, TUNING_SHARES[stage], seed)
        splits = patient_split([film.patient_group for film in drawn], strata(drawn), (0.8, 0.2, 0.0), seed)
        for purpose, held in (("tuning", splits), ("training", [film.split for film in films])):
            rows.append({"stage": stage, "for": purpose, **subset_counts(held), "all": len(held)})
    return ReportTable(
        "table_4_tuning",
        "Films for tuning and for training",
        pd.DataFrame(rows),
        "Tuning takes a share of train and val, 10 % at stage I and 50 % at stage II, whole patients, "
        "divided 80/20; `python -m training.prepare tuning-subset` writes it.",
    )


def score_table(records: Sequence[FilmRecord]) -> ReportTable:
    """How often the readers gave each consensus score, by subset."""
    scored = scored_films(records)
    rows = []
    for step in SCORE_STEPS:
        at = [film.split for film in scored if film.readers.consensus == step]
        rows.append({"score": f"{step:g}", **subset_counts(at), "all": len(at)})
    flagged = sum(bool(film.readers.poor_quality) for film in records)
    return ReportTable(
        "scores",
        "Readers' consensus scores",
        pd.DataFrame(rows),
        f"Mean of two readers, or the only one's score. {flagged} film(s) of poor quality are left out.",
    )


def label_table(records: Sequence[FilmRecord]) -> ReportTable:
    """How many films have each kind of label, by subset."""
    scored = {film.name for film in scored_films(records)}
    kinds: dict[str, Callable[[FilmRecord], bool]] = {
        "lung mask": lambda film: film.lung_mask is not None,
        "second lung mask": lambda film: film.second_lung_mask is not None,
        "opacity mask": lambda film: film.opacity_mask is not None,
        "boxes": lambda film: bool(film.boxes),
        "Brixia score": lambda film: bool(film.further.get("brixia_S_A")),
        "readers' score, good quality": lambda film: film.name in scored,
        "open licence": lambda film: film.licence_class == "open",
        "all": lambda film: True,
    }
    rows = []
    for kind, has in kinds.items():
        held = [film.split for film in records if has(film)]
        rows.append({"label": kind, **subset_counts(held), "total": len(held)})
    return ReportTable("labels", "Labels", pd.DataFrame(rows))


def scored_films(records: Iterable[FilmRecord]) -> list[FilmRecord]:
    """Return the films with a consensus score whose quality no reader called poor."""
    return [film for film in records if film.readers.consensus is not None and not film.readers.poor_quality]


def _for_stage_two(record: FilmRecord) -> bool:
    return record.opacity_mask is not None or record.finding_group == "normal"


def _drawn(films: Sequence[FilmRecord], share: float, seed: int) -> list[FilmRecord]:
    if not films:
        return []
    groups = [film.patient_group for film in films]
    return [films[index] for index in tuning_patients(groups, strata(films), share, seed)]


def _by_source(
    films: Sequence[FilmRecord], more: Callable[[Sequence[FilmRecord]], dict[str, object]]
) -> pd.DataFrame:
    rows = []
    for source in [*sorted({film.source for film in films}), None]:
        part = [film for film in films if source in (None, film.source)]
        patients = len({film.patient_group for film in part})
        row = {"source": source or "all", **more(part), **subset_counts([film.split for film in part])}
        rows.append({**row, "total": len(part), "patients": patients})
    return pd.DataFrame(rows)


def _findings(films: Sequence[FilmRecord]) -> Counter[str]:
    return Counter(film.finding_group for film in films)


def _finding_names(films: Sequence[FilmRecord]) -> list[str]:
    present = _findings(films)
    return [
        *(name for name in FINDING_GROUPS if name in present),
        *sorted(set(present) - set(FINDING_GROUPS)),
    ]


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}" if total else ""
