"""Instruction data from any Index, by templates: closed, open, fill-in, choices, verify, query, comparison, report, talk.

    samples = make(Index.open("ptbxl.index"), per_record=10, seed=0, jobs=0)

The kinds are those of ECGInstruct (Liu et al. 2024) and of ECG-QA (Oh et al. 2023). What is stated comes from the set's codes,
figures from our measurements, and each sample says which it rests on. Where a figure is not there, the answer says that it
cannot be determined. The same seed gives the same samples; balance is kept within each official fold.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from einthoven.data.index import Index
from einthoven.data.instruct.facts import Facts, facts
from einthoven.data.instruct.families import FAMILIES, Draft
from einthoven.data.instruct.sample import ECG, KINDS, MAX_EVIDENCE, Sample, Turn
from einthoven.record import EcgError, WrongUse


def make(
    index: Index,
    rows: Sequence[int] | None = None,
    *,
    kinds: Collection[str] = KINDS,
    per_record: float = 10,
    seed: int = 0,
    jobs: int = 1,
    translations: Mapping[str, str] = MappingProxyType({}),
) -> list[Sample]:
    """Samples about the ECGs of an index (or of these rows of it).

    Args:
        kinds: of KINDS.
        per_record: about how many an ECG gets; families that find nothing to ask give fewer.
        jobs: processes; 0 takes every core.
        translations: English reports by record, of those that are in another language; none is invented.

    Raises:
        EcgError: no such kind, or nothing is known of any of the ECGs.
    """
    return from_facts(
        list(facts(index, rows, jobs=jobs, translations=translations)), kinds=kinds, per_record=per_record, seed=seed
    )


def from_facts(
    known: Sequence[Facts], *, kinds: Collection[str] = KINDS, per_record: float = 10, seed: int = 0
) -> list[Sample]:
    """`make` of ECGs whose facts have been gathered."""
    if strange := sorted(set(kinds) - set(KINDS)):
        raise WrongUse(f"no kind {', '.join(strange)} (there are: {', '.join(KINDS)})")
    if not kinds or per_record <= 0:
        raise WrongUse("at least one kind, and more than no question an ECG")
    chosen = [(name, family, share) for name, family, share, gives in FAMILIES if gives & set(kinds)]
    total = sum(share for *_, share in chosen)
    pools: dict[int, list[Facts]] = {}
    for f in known:
        pools.setdefault(-1 if f.fold is None else f.fold, []).append(f)
    numbers: Counter[str] = Counter()
    out: list[Sample] = []
    for fold, pool in sorted(pools.items()):
        for name, family, share in chosen:
            rng = np.random.default_rng([seed, fold + 1, zlib.crc32(name.encode())])
            wanted = round(len(pool) * per_record * share / total)
            for draft in family(pool, wanted, rng):
                if draft.kind in kinds:
                    out.append(finished(draft, name, numbers))
    if not out:
        raise EcgError("nothing is known of these ECGs that could be asked for: no codes, no report, nothing measured")
    return out


def finished(draft: Draft, family: str, numbers: Counter[str]) -> Sample:
    """A draft as a sample with an id of its own."""
    records = tuple(f.record for f in draft.facts)
    key = f"{'+'.join(records)}/{family}"
    numbers[key] += 1
    first = f"{ECG}\n" if len(records) == 1 else f"First ECG: {ECG}\nSecond ECG: {ECG}\n"
    turns: list[Turn] = []
    for k, (question, answer) in enumerate(draft.talk):
        turns += [Turn("user", (first if k == 0 else "") + question), Turn("assistant", answer)]
    whose = draft.facts[0]
    return Sample(
        id=f"{key}-{numbers[key]}",
        records=records,
        source=whose.source,
        kind=draft.kind,
        topic=draft.topic,
        turns=tuple(turns),
        options=draft.options,
        answers=draft.answers,
        evidence=tuple(_unlike(draft.evidence))[:MAX_EVIDENCE],
        made={"by": f"template {draft.by}", "from": draft.origin, **(draft.more or {})},
        language=draft.language,
        group=whose.group,
        fold=whose.fold,
    )


def _unlike(proof: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Each piece of evidence once."""
    out: list[Mapping[str, object]] = []
    for one in proof:
        if one not in out:
            out.append(one)
    return out
