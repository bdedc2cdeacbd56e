"""Sets of samples: mixing by weights, five folds by patient, the check for leaks, and what the Hub wants.

Two samples belong together where they share an ECG or a patient; folds keep such groups whole. A comparison of two patients'
ECGs ties nobody (it would tie all in the end): where their folds differ it is left out. Stratified means: groups are spread
evenly over the folds within each stratum (source and rarest right answer).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.instruct.sample import ECG, Sample, write
from einthoven.data.splits import groups as split_groups
from einthoven.io.files import replacing
from einthoven.record import EcgError, WrongUse


def mix(
    parts: Mapping[str, Sequence[Sample]], weights: Mapping[str, float], total: int | None = None, seed: int = 0
) -> list[Sample]:
    """Samples of several sets in these proportions, shuffled; none comes twice.

    Args:
        weights: of each part; the larger the more.
        total: how many in all; by default as many as can be had without repeating any.

    Raises:
        EcgError: a weight without its part, none above 0, or an id that two parts share.
    """
    if lacking := sorted(set(weights) - set(parts)):
        raise WrongUse(f"a weight for {', '.join(lacking)}, of which there are no samples")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used or any(not np.isfinite(w) or w < 0 for w in weights.values()):
        raise WrongUse("weights are numbers above 0")
    if empty := [name for name in used if not parts[name]]:
        raise EcgError(f"no samples in {', '.join(empty)}")
    whole = sum(used.values())
    most = int(min(len(parts[name]) * whole / weight for name, weight in used.items()))
    wanted = most if total is None else min(total, most)
    rng = np.random.default_rng(seed)
    out: list[Sample] = []
    for name, weight in sorted(used.items()):
        many = min(round(wanted * weight / whole), len(parts[name]))
        out += [parts[name][i] for i in np.sort(rng.permutation(len(parts[name]))[:many])]
    twice = [name for name, count in Counter(s.id for s in out).items() if count > 1]
    if twice:
        raise EcgError(f"the id {twice[0]!r:.80} is in two of the sets")
    return [out[i] for i in rng.permutation(len(out))]


# -- folds
# --------------------------------------------------------------------------------------------------------------------


def ties_of(index: Index) -> dict[str, str]:
    """Of each record of an index a name that it shares with all that belong to it: patient, same signal, copies of another set
    (data/splits.py)."""
    return dict(zip(index.column("record"), (f"{g}" for g in split_groups(index)), strict=True))


def _of_two(s: Sample) -> bool:
    """Whether a sample compares ECGs of which nobody says that they are one patient's."""
    return len(s.records) > 1 and s.made.get("pair") != "one patient"


def _keys(s: Sample, ties: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """What a sample shares with those it belongs to; text alone belongs to nobody. The group of a comparison is its first
    ECG's."""
    own = [f"record {r}" for r in s.records] + ([f"patient {s.group}"] if s.group else [])
    return own + [f"group {ties[r]}" for r in s.records if r in ties] or [f"sample {s.id}"]


def groups(samples: Sequence[Sample], ties: Mapping[str, str] = MappingProxyType({})) -> NDArray[np.int64]:
    """A number a sample, (N,): the same for all that share an ECG, a patient or a tie, directly or through others."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for s in samples:
        for one in _sides(s, ties):
            for key in one[1:]:
                parent[root(key)] = root(one[0])
    names: dict[str, int] = {}
    return np.array([names.setdefault(root(_keys(s)[0]), len(names)) for s in samples], np.int64)


def _sides(s: Sample, ties: Mapping[str, str]) -> list[list[str]]:
    """Keys that belong together: all of a sample's, but each ECG by itself where it compares two patients."""
    if not _of_two(s):
        return [_keys(s, ties)]
    out = [[f"record {r}", *([f"group {ties[r]}"] if r in ties else [])] for r in s.records]
    if s.group:
        out[0].append(f"patient {s.group}")
    return out


def folded(
    samples: Sequence[Sample], k: int = 5, seed: int = 0, *, ties: Mapping[str, str] = MappingProxyType({})
) -> list[Sample]:
    """The samples with `fold` 1 to k: the one in which each is tested. Groups stay whole, strata are spread evenly.
    `ties`: of records, what else they share (`ties_of(index)`). Comparisons of two patients whose folds differ are left out.

    Raises EcgError for fewer than two folds, or fewer groups than folds.
    """
    group = groups(samples, ties)
    count = int(group.max()) + 1 if len(group) else 0
    if not 2 <= k <= count:
        raise EcgError(f"{k} folds of {count} patients: two at least, one patient in each")
    seen = Counter(label for s in samples for label in _labels(s))
    rarest: list[str] = [""] * count
    for s, g in zip(samples, group, strict=True):
        for label in _labels(s):
            if not rarest[g] or (seen[label], label) < (seen[rarest[g]], rarest[g]):
                rarest[g] = label
    rng = np.random.default_rng(seed)
    place = np.empty(count)
    strata = np.array(rarest)
    for stratum in sorted(set(rarest)):
        inside = rng.permutation(np.flatnonzero(strata == stratum))
        place[inside] = (np.arange(len(inside)) + rng.random()) / len(inside)
    order = np.argsort(place, kind="stable")
    place[order] = (np.arange(count) + 0.5) / count
    fold = (place * k).astype(int) + 1
    made = [replace(s, fold=int(fold[g])) for s, g in zip(samples, group, strict=True)]
    where = {r: s.fold for s in made for r in s.records[:1]}
    where |= {r: s.fold for s in made if not _of_two(s) for r in s.records}
    whole = {ties[r]: f for r, f in where.items() if r in ties}
    made = [s for s in made if not _of_two(s) or {where.get(r, whole.get(ties.get(r, ""))) for r in s.records} == {s.fold}]
    check_leaks({str(f): [s for s in made if s.fold == f] for f in range(1, k + 1)}, ties)
    return made


def _labels(s: Sample) -> list[str]:
    """What a sample is stratified by: its set with what is stated of its ECG, else with its answers."""
    said = [str(e["name"]) for e in s.evidence if e.get("stated")]
    return [f"{s.source}:{word}" for word in said or s.answers or (s.kind,)]


def check_leaks(parts: Mapping[str, Iterable[Sample]], ties: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raises EcgError, which names them, where an ECG, a patient or a tie is in two of the parts."""
    owner: dict[str, tuple[str, str]] = {}
    leaks: dict[str, None] = {}
    for part, samples in parts.items():
        for s in samples:
            for key in _keys(s, ties):
                other, first = owner.setdefault(key, (part, s.id))
                if other != part:
                    leaks[f"{key} is in {other} ({first}) and in {part} ({s.id})"] = None
    if leaks:
        more = f"; and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        raise EcgError("leak: " + "; ".join(list(leaks)[:5]) + more)


# -- what is in it, and the Hub
# --------------------------------------------------------------------------------------------------------------------


def counted(samples: Sequence[Sample]) -> dict[str, Any]:
    """How many samples, ECGs, patients; by source, kind, topic, language and maker; answers that cannot be determined."""
    return {
        "samples": len(samples),
        "records": len({r for s in samples for r in s.records}),
        "patients": len({s.group for s in samples if s.group}),
        "source": dict(Counter(s.source for s in samples).most_common()),
        "kind": dict(Counter(s.kind for s in samples).most_common()),
        "topic": dict(Counter(s.topic for s in samples).most_common()),
        "language": dict(Counter(s.language for s in samples).most_common()),
        "from": dict(Counter(str(s.made["from"]) for s in samples).most_common()),
        "by": dict(Counter(str(s.made["by"]).rpartition("-")[0] or str(s.made["by"]) for s in samples).most_common(40)),
        "cannot be determined": sum("cannot be determined" in s.answer for s in samples),
        "turns": dict(Counter(len(s.turns) for s in samples).most_common()),
    }


_LICENCES = {"ptbxl": "CC BY 4.0 (PTB-XL, Wagner et al. 2020)", "ecg-qa": "CC BY 4.0 (ECG-QA, Oh et al. 2023)",
             "ludb": "ODC-BY 1.0 (LUDB, Kalyakulina et al. 2020)", "mimic": "PhysioNet terms: not to be passed on",
             "synth": "none needed: simulated"}  # fmt: skip


def card(samples: Sequence[Sample], files: Mapping[str, str], title: str, command: str = "") -> str:
    """The README.md of a data set on the Hub: what is in it, where it comes from, how it was made. `files`: split ->
    pattern."""
    about = counted(samples)
    head = [
        "---",
        "task_categories:",
        "- question-answering",
        "tags:",
        "- ecg",
        "configs:",
        "- config_name: default",
        "  data_files:",
    ]
    for split, pattern in files.items():
        head += [f"  - split: {split}", f"    path: {pattern}"]
    lines = [*head, "---", f"# {title}", ""]
    lines.append(
        f"{about['samples']:,} conversations about {about['records']:,} ECGs of {about['patients']:,} patients, "
        "made with Einthoven" + (f": `{command}`." if command else ".")
    )
    lines += ["", "The ECGs themselves are not in it: `records` names them. Research use only, not for diagnosis.", ""]
    for name in ("source", "kind", "topic", "language", "from"):
        lines += [f"| {name} | samples |", "|---|---|", *(f"| {k} | {v:,} |" for k, v in about[name].items()), ""]
    lines += [
        f"Answers that say that something cannot be determined: {about['cannot be determined']:,}.",
        "",
        "What is stated (`made.from` statements) is the word of the set's readers; figures (`made.from` measurements) are",
        "Einthoven's, and nobody measured them by hand. `evidence` names what each answer rests on.",
        "",
        "Licences of the sources:",
        *(f"- {name}: {_LICENCES.get(name, 'see its own terms')}" for name in about["source"]),
        "",
        "ECGs in it (to check for contamination): column `records`.",
        "",
    ]
    return "\n".join(lines)


def publish(samples: Sequence[Sample], folder: str | os.PathLike[str], title: str, command: str = "") -> Path:
    """A folder that `huggingface_hub` uploads as it is: data/<split>.parquet (fold1 ... where there are folds) and
    README.md."""
    place = _new(folder)
    splits: dict[str, list[Sample]] = {}
    for s in samples:
        splits.setdefault("train" if s.fold is None else f"fold{s.fold}", []).append(s)
    (place / "data").mkdir(parents=True)
    for split, part in sorted(splits.items()):
        write(place / "data" / f"{split}.parquet", part)
    files = {split: f"data/{split}.parquet" for split in sorted(splits)}
    (place / "README.md").write_text(card(samples, files, title, command), encoding="utf-8")
    return place


def ecg_bench(samples: Sequence[Sample], folder: str | os.PathLike[str], title: str, command: str = "") -> Path:
    """The same in ECG-Bench's columns: `ecg_path`, `text` (JSON: of questions [type, question, [answers]], else the
    conversation as {from, value}), `name`; splits fold1_train, fold1_test, ... of the samples' folds.

    Their folds are five draws of 70 %; these are five folds, each ECG is in the test of one. ECG-Bench holds one ECG a row: of
    comparisons `ecg_path` names both, joined by ";".

    Raises EcgError where samples have no folds, or the folds leak.
    """
    folds = sorted({s.fold for s in samples if s.fold is not None})
    if len(folds) < 2 or any(s.fold is None for s in samples):
        raise EcgError("ECG-Bench's layout needs folds: make them first")
    check_leaks({str(f): [s for s in samples if s.fold == f] for f in folds})
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = _new(folder)
    (place / "data").mkdir(parents=True)
    schema = pa.schema([("ecg_path", pa.string()), ("text", pa.string()), ("name", pa.string())])
    files = {}
    for number, fold in enumerate(folds, 1):
        for split, part in (
            ("train", [s for s in samples if s.fold != fold]),
            ("test", [s for s in samples if s.fold == fold]),
        ):
            rows = [{"ecg_path": ";".join(s.records), "text": bench_text(s), "name": s.source} for s in part]
            name = f"fold{number}_{split}"
            files[name] = f"data/{name}.parquet"
            with replacing(place / files[name]) as draft:
                pq.write_table(pa.Table.from_pylist(rows, schema=schema), draft, compression="zstd")
    (place / "README.md").write_text(card(samples, files, title, command), encoding="utf-8")
    return place


_QA_TYPES = {"verify": "single-verify", "choice": "single-choose", "query": "single-query"}


def bench_text(s: Sample) -> str:
    """The text column of ECG-Bench."""
    if s.kind in _QA_TYPES and len(s.records) == 1 and len(s.turns) == 2:
        kind = str(s.made.get("question_type") or _QA_TYPES[s.kind])
        return json.dumps([kind, s.question.replace(ECG, "").strip(), list(s.answers or (s.answer,))], ensure_ascii=False)
    sides = {"user": "human", "assistant": "gpt", "system": "system"}
    return json.dumps([{"from": sides[t.role], "value": t.content} for t in s.turns], ensure_ascii=False)


def _new(folder: str | os.PathLike[str]) -> Path:
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise WrongUse("is there already: choose another place", path=place)
    return place
