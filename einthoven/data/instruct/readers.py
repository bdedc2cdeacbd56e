"""Readers of the public instruction sets, each in its own files, into `Sample`s.

    loaded = read_set("ecg-qa/ptbxl/paraphrased", index=index)
    loaded.samples, loaded.skipped              # what could be read, and why the rest could not

| form | what | file |
|---|---|---|
| ecginstruct | ECGInstruct of PULSE (Liu et al. 2024) | JSON list of {id, image, conversations} |
| ecgbench | ECGBench of PULSE, as on the Hub or in JSON | Parquet or JSON of {id, image_path, conversations} |
| ecg-qa | ECG-QA (Oh et al. 2023), PTB-XL and MIMIC-IV-ECG | folders train, valid, test of JSON lists of {template_id, ...} |
| ecg-chat | Pretrain-MIMIC and Instruct-45K (Zhao et al. 2024) | JSON list of {id, ecg, conversations} |
| ecg-grounding | ECG-Grounding of GEM (Lan et al. 2025) | the same with machine_measurements, report |

Names of files are turned into names of records ("ptb-xl/00001_hr-0.png" is ptbxl:1) as far as the sets' own naming goes; what
is not understood stays a path. With an index, a sample gets patient and fold of its records, and what is not in the index is
left out and counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einthoven.data.index import Index
from einthoven.data.instruct.sample import ECG, MAX_EVIDENCE, Sample, Turn
from einthoven.io.files import MAX_BYTES
from einthoven.record import EcgError, WrongUse

FORMS = ("ecginstruct", "ecgbench", "ecg-qa", "ecg-chat", "ecg-grounding")
_TAG = re.compile(r"\s*<(?:image|ecg|signal)>\s*", re.IGNORECASE)
_OPTIONS = re.compile(r"\boptions?\s*:\s*(.+?)\s*(?:\.?\s*$)", re.IGNORECASE | re.DOTALL)
_LETTERED = re.compile(r"(?:^|\n)\s*\(?([A-H])[.):]\s*(.+?)(?=\s*(?:\n|$))")


@dataclass(frozen=True)
class Loaded:
    """The samples of a set, and how many rows were left out, by reason."""

    samples: list[Sample]
    skipped: Mapping[str, int]


def read_set(path: str | Path, form: str | None = None, *, index: Index | None = None) -> Loaded:
    """A public set in its own files.

    Args:
        path: a JSON, JSON-lines or Parquet file, or a folder of them (ECG-QA: the folder of `train`, `valid`, `test`).
        form: of FORMS; None looks at the first row.
        index: the ECGs that are at hand.

    Raises:
        EcgError: no such file, not JSON, or rows of no form that is known.
    """
    place = Path(path)
    if form is not None and form not in FORMS:
        raise WrongUse(f"no form {form!r} (there are: {', '.join(FORMS)})")
    whose = _Known.of(index)
    skipped: Counter[str] = Counter()
    samples: list[Sample] = []
    seen: Counter[str] = Counter()
    options = _template_answers(place) if form in (None, "ecg-qa") else {}
    for file, number, row in _rows(place):
        if not isinstance(row, dict):
            raise EcgError("a row is no object", path=file, where=f"row {number}")
        kind = form or recognised(row)
        if kind is None:
            raise EcgError(f"a row of no form that is known (there are: {', '.join(FORMS)})", path=file, where=f"row {number}")
        try:
            made = _ecg_qa(row, file, options) if kind == "ecg-qa" else _talk(row, file, kind)
            sample = whose.told(made)
        except _Skip as why:
            skipped[str(why)] += 1
            continue
        except EcgError as fault:
            skipped[fault.what[:100]] += 1
            continue
        seen[sample.id] += 1
        if seen[sample.id] > 1:  # ids come twice where one image has two conversations
            sample = _renamed(sample, f"{sample.id}#{seen[sample.id]}")
        samples.append(sample)
    if not samples and not skipped:
        raise EcgError("no row in it", path=place)
    return Loaded(samples, dict(skipped))


class _Skip(Exception):
    """A row that gives no sample, and why."""


def recognised(row: Mapping[str, Any]) -> str | None:
    """The form that a row has."""
    if "template_id" in row and "question" in row:
        return "ecg-qa"
    if "conversations" not in row and "conversation" not in row:
        return None
    if "machine_measurements" in row:
        return "ecg-grounding"
    if "image_path" in row:
        return "ecgbench"
    return "ecg-chat" if "ecg" in row else "ecginstruct" if "image" in row else None


def is_ours(place: Path) -> bool:
    """Whether a file holds samples in our own form (`sample.read`)."""
    if place.suffix.lower() not in (".parquet", ".jsonl") or not place.is_file():
        return False
    first = next(iter(_of_file(place)), None)
    return isinstance(first, dict) and {"turns", "made"} <= first.keys()


def _renamed(s: Sample, name: str) -> Sample:
    from dataclasses import replace

    return replace(s, id=name)


# -- files
# --------------------------------------------------------------------------------------------------------------------


def _rows(place: Path) -> Iterator[tuple[Path, int, Any]]:
    if place.is_dir():
        files = sorted(p for p in place.rglob("*") if p.suffix.lower() in (".json", ".jsonl", ".parquet"))
        if not files:
            raise EcgError("no JSON or Parquet file in it", path=place)
    elif place.is_file():
        files = [place]
    else:
        raise EcgError("no such file or folder", path=place)
    for file in files:
        if file.stat().st_size > MAX_BYTES:
            raise EcgError(f"larger than {MAX_BYTES >> 30} GB: split it", path=file)
        for number, row in enumerate(_of_file(file), 1):
            yield file, number, row


def _of_file(file: Path) -> Iterable[Any]:
    if file.suffix.lower() == ".parquet":
        return _of_parquet(file)
    text = file.read_bytes()
    try:
        if file.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        found = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise EcgError(f"not JSON: {fault}", path=file) from None
    if not isinstance(found, list):
        raise EcgError("a list of samples was expected", path=file)
    return found


def _of_parquet(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = [n for n in table.schema_arrow.names if n != "image"]  # the pictures themselves stay where they are
            for batch in table.iter_batches(1024, columns=names):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as fault:
        raise EcgError(f"not a Parquet file: {fault}", path=file) from None


# -- names of records
# --------------------------------------------------------------------------------------------------------------------

_PTBXL = re.compile(r"(?:^|/)(\d{5})_[hl]r\b")
_MIMIC = re.compile(r"(?:^|/)(?:s\d+/)?(\d{8})(?=[-._]|$)")
_SUBJECT = re.compile(r"(?:^|/)p(\d{8})(?=/)")


def record_of(name: str) -> str:
    """The record that a file's name means: "ptbxl:1", "mimic:40689238", "code15:123"; the name itself where it tells none."""
    low = name.replace("\\", "/").lstrip("./")
    first = low.split("/")[0].lower()
    if match := _PTBXL.search(low):
        return f"ptbxl:{int(match.group(1))}"
    if first.startswith("code15") and (match := re.match(r"(\d+)", low.rsplit("/", 1)[-1])):
        return f"code15:{int(match.group(1))}"
    if ("mimic" in low or _SUBJECT.search(low) or first == "files") and (match := _MIMIC.search(low)):
        return f"mimic:{match.group(1)}"
    return low


@dataclass(frozen=True)
class _Known:
    """The ECGs at hand: by record and by the last part of its name; (record, patient, fold)."""

    there: Mapping[str, tuple[str, str, int | None]] | None

    @classmethod
    def of(cls, index: Index | None) -> _Known:
        if index is None:
            return cls(None)
        there: dict[str, tuple[str, str, int | None]] = {}
        for record, patient, fold in zip(index.column("record"), index.column("patient"), index.column("fold"), strict=True):
            there[record] = (record, patient, int(fold) if fold >= 0 else None)
        for row in list(there.values()):
            there.setdefault("/" + row[0].partition(":")[2], row)
        return cls(there)

    def told(self, s: Sample) -> Sample:
        from dataclasses import replace

        if self.there is None:
            return s
        rows = [self.there.get(r) or self.there.get("/" + re.split(r"[-.]", r.rsplit("/", 1)[-1])[0]) for r in s.records]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            raise _Skip("its ECG is not in the index")
        if not found:
            return s
        folds = {fold for _, _, fold in found}
        return replace(
            s, records=tuple(row[0] for row in found), group=found[0][1], fold=folds.pop() if len(folds) == 1 else None
        )


# -- conversations
# --------------------------------------------------------------------------------------------------------------------

_SIDES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_LABELS: Mapping[str, tuple[str, ...]] = {
    "ptb-test": ("NORM", "MI", "STTC", "CD", "HYP"),
    "code15-test": ("NORM", "ABNORMAL", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"),
    "cpsc-test": ("NORM", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE"),
}


def _talk(row: Mapping[str, Any], file: Path, form: str) -> Sample:
    given = row.get("conversations", row.get("conversation"))
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise _Skip("conversations are not JSON") from None
    if not isinstance(given, list) or not given:
        raise _Skip("no conversation")
    turns: list[Turn] = []
    for one in given:
        side = _SIDES.get(str(one.get("from", one.get("role", ""))).lower()) if isinstance(one, dict) else None
        words = one.get("value", one.get("content")) if isinstance(one, dict) else None
        if side is None or not isinstance(words, str):
            raise _Skip("a turn without a side or words")
        turns.append(Turn(side, _TAG.sub("\n", words).strip()))  # type: ignore[arg-type]
    if turns[-1].role == "user":  # a test set that keeps its answers elsewhere
        raise _Skip("no answer")
    names = _files(row, form)
    records = tuple(record_of(name) for name in names)
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        raise _Skip("nobody asks")
    turns[first] = Turn("user", f"{ECG}\n" * len(records) + turns[first].content)
    question, answer = turns[-2].content if len(turns) > 1 else "", turns[-1].content
    task = next(
        (name for name in (*_LABELS, "ptb-test-report", "ecgqa-test", "arena") if name in (file.stem, file.parent.name)), ""
    )
    kind, options, answers = _kind(question, answer, _LABELS.get(task, ()))
    if task == "ptb-test-report":
        kind = "report"
    name = str(row.get("id", row.get("question_id", "")) or names[:1] or "")
    subject = _SUBJECT.search(names[0]) if names else None
    return Sample(
        id=f"{form}:{name}",
        records=records,
        source=form,
        kind=kind,
        topic=_topic_of(question, kind),
        turns=tuple(turns),
        options=options,
        answers=answers,
        evidence=_machine(row) if form == "ecg-grounding" else (),
        made={
            "by": form,
            "from": "dataset",
            "file": file.name,
            "names": list(names),
            **({"task": task} if task else {}),
            **({"report": row["report"]} if isinstance(row.get("report"), str) else {}),
        },
        group=f"mimic:{subject.group(1)}" if subject else "",
    )


def _files(row: Mapping[str, Any], form: str) -> tuple[str, ...]:
    """The ECGs of a row: of GEM's the signal, of which the image is a drawing."""
    given = row.get("ecg") or row.get("image_path") or row.get("image")
    names = given if isinstance(given, list) else [given]
    if not all(isinstance(n, str) for n in names if n is not None):
        raise _Skip("no name of an ECG")
    return tuple(n for n in names if n)


def _kind(question: str, answer: str, labels: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(kind, options, right ones) by how the question is put."""
    if labels:
        said = {
            word.strip().lower() for word in re.split(r"[;,/\n]", re.sub(r"(?i)^.*?answer\s*:", "", answer, flags=re.DOTALL))
        }
        right = tuple(name for name in labels if name.lower() in said)
        return ("closed", labels, right) if right else ("open", (), ())
    lettered = _LETTERED.findall(question)
    if len(lettered) >= 2 and [letter for letter, _ in lettered] == list("ABCDEFGH"[: len(lettered)]):
        options = tuple(words.strip() for _, words in lettered)
        match = re.match(r"\s*\(?([A-H])\b(?![a-z])", re.sub(r"(?i)^.*?answer\s*(?:is)?\s*:?\s*", "", answer) or answer)
        if match and ord(match.group(1)) - 65 < len(options) and len(set(options)) == len(options):
            return "choice", options, (options[ord(match.group(1)) - 65],)
        return "choice", (), ()
    if match := _OPTIONS.search(question):
        options = tuple(dict.fromkeys(o.strip() for o in match.group(1).split(",") if o.strip()))
        said = {word.strip().lower() for word in re.split(r"[;,/\n]", answer)}
        right = tuple(o for o in options if o.lower() in said)
        return ("closed", options, right) if len(right) == len(said) else ("closed", (), ())
    if re.match(r"\s*(yes|no)\b[\s.,]*$", answer, re.IGNORECASE):
        return "verify", ("yes", "no"), (answer.strip(" .,\n").lower(),)
    if "____" in question:
        return "fill-in", (), ()
    if re.search(r"\breport\b", question, re.IGNORECASE) and len(answer) > 60:
        return "report", (), ()
    return "open", (), ()


_TOPIC_WORDS = (
    ("report", r"\breport\b"),
    ("rhythm", r"\brhythm|\barrhythmi|\bfibrillation|\bflutter"),
    ("feature", r"\binterval|\bduration|\brate\b|\baxis\b|\bamplitude|\bmeasure|\bnoise|\bdrift"),
    ("diagnosis", r"\bdiagnos|\binfarct|\bcondition|\bclass"),
)


def _topic_of(question: str, kind: str) -> str:
    low = question.lower()
    return "report" if kind == "report" else next((t for t, p in _TOPIC_WORDS if re.search(p, low)), "morphology")


def _machine(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """GEM's figures: of each lead and feature the values beat by beat, as words."""
    given = row.get("machine_measurements")
    out: list[Mapping[str, Any]] = []
    for lead, figures in given.items() if isinstance(given, dict) else ():
        for name, values in figures.items() if isinstance(figures, dict) else ():
            out.append({"name": str(name), "leads": [str(lead)], "values": [str(v) for v in values][:64]})
    return tuple(out[:MAX_EVIDENCE])


# -- ECG-QA
# --------------------------------------------------------------------------------------------------------------------

_QA_TOPICS = {
    "scp_code": "diagnosis", "noise": "feature", "stage_of_infarction": "morphology", "extra_systole": "rhythm",
    "heart_axis": "feature", "numeric_feature": "feature",
}  # fmt: skip


def _ecg_qa(row: Mapping[str, Any], file: Path, options: Mapping[int, tuple[str, ...]]) -> Sample:
    ids, answer = row.get("ecg_id"), row.get("answer")
    if not isinstance(ids, list) or not 1 <= len(ids) <= 2 or not isinstance(answer, list):
        raise _Skip("no ecg_id or no answer")
    dataset = "mimic" if any(isinstance(i, int) and i >= 10_000_000 for i in ids) else "ptbxl"
    kind_ = str(row.get("question_type", ""))
    kind = (
        "compare"
        if kind_.startswith("comparison")
        else {"verify": "verify", "choose": "choice"}.get(kind_.partition("-")[2], "query")
    )
    answers = tuple(str(a) for a in answer) or ("none",)
    attribute = tuple(str(a) for a in row.get("attribute") or ())
    known = (*attribute, "none") if kind_ == "single-choose" and attribute else options.get(int(row.get("template_id", -1)), ())
    if kind_.endswith("verify") and not known:
        known = ("yes", "no")
    if not set(answers) <= set(known):
        known = ()
    question = str(row.get("question", "")).strip()
    if kind == "choice" and known:
        question += f" Options: {', '.join(known)}."
    first = f"{ECG}\n" if len(ids) == 1 else f"First ECG: {ECG}\nSecond ECG: {ECG}\n"
    split = next((p for p in ("train", "valid", "test") if p in file.parts), "")
    records = tuple(f"{dataset}:{i}" for i in ids)
    return Sample(
        id=f"ecg-qa:{dataset}:{split or file.stem}:{row.get('sample_id', '')}",
        records=records,
        source="ecg-qa",
        kind=kind,
        topic=_QA_TOPICS.get(str(row.get("attribute_type")), "diagnosis"),
        turns=(Turn("user", first + question), Turn("assistant", "; ".join(answers))),
        options=tuple(dict.fromkeys(known)),
        answers=answers,
        made={
            "by": f"ecg-qa template {row.get('template_id')}",
            "from": "dataset",
            "question_type": kind_,
            "attribute_type": str(row.get("attribute_type", "")),
            "question_id": row.get("question_id"),
            "split": split,
            **({"pair": "one patient" if "consecutive" in kind_ else "two patients"} if len(ids) == 2 else {}),
        },
    )


_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def _template_answers(place: Path) -> dict[int, tuple[str, ...]]:
    """answers_for_each_template.csv beside the questions, or above them: template -> its answers."""
    from einthoven.data.rows import rows

    base = place if place.is_dir() else place.parent
    for folder in (base, *list(base.resolve().parents)[:3]):
        table = folder / "answers_for_each_template.csv"
        if table.is_file():
            return {
                int(row["template_id"]): tuple(a or b for a, b in _QUOTED.findall(row["classes"]))
                for row in rows(table, needs=("template_id", "classes"))
                if row["template_id"].isdigit()
            }
    return {}
