"""Samples: what one is, and that files give back what was put in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from einthoven.data.instruct.sample import Sample, Turn, as_json, from_json, read, write
from einthoven.record import EcgError

SAMPLE = Sample(
    id="ptbxl:1/rhythm",
    records=("ptbxl:1",),
    source="ptbxl",
    kind="choice",
    topic="rhythm",
    turns=(
        Turn("system", "You read ECGs."),
        Turn("user", "<ecg>\nWhich rhythm? Größe µV"),
        Turn("assistant", "Sinus rhythm."),
        Turn("user", "And the rate?"),
        Turn("assistant", "72/min"),
    ),
    options=("72/min", "110/min"),
    answers=("72/min",),
    evidence=({"name": "rate_bpm", "value": 72.0, "unit": "/min", "leads": ["II"]},),
    made={"by": "template rate-1", "from": "measurements"},
    group="ptbxl:p1",
    fold=3,
)
TEXT_ONLY = Sample(
    id="t", records=(), source="own", kind="open", topic="report", turns=(Turn("user", "Hi"), Turn("assistant", "Yes")),
    made={"by": "me", "from": "dataset"},
)  # fmt: skip


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file_gives_back_what_was_put_in(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    many = [replace(SAMPLE, id=str(i)) for i in range(5000)]  # more than one batch of Parquet
    assert write(path, [SAMPLE, TEXT_ONLY, *many]) == 5002
    assert read(path) == [SAMPLE, TEXT_ONLY, *many]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_prompt_and_answer() -> None:
    assert SAMPLE.answer == "72/min" and SAMPLE.question == "And the rate?"
    assert [turn.role for turn in SAMPLE.prompt] == ["system", "user", "assistant", "user"]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    odd = replace(SAMPLE, evidence=({"name": "pr_ms", "value": float("nan")},))
    write(tmp_path / "a.jsonl", [odd])
    assert read(tmp_path / "a.jsonl")[0].evidence == ({"name": "pr_ms", "value": None},)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ""}, "no id"),
        ({"kind": "essay"}, "kind 'essay'"),
        ({"topic": "weather"}, "topic 'weather'"),
        ({"records": ()}, "1 times <ecg> in the first user turn for 0 records"),
        ({"records": ("a", "b")}, "for 2 records"),
        ({"records": ("",)}, "without a name"),
        ({"turns": SAMPLE.turns[:-1]}, "alternately"),
        ({"turns": ()}, "alternately"),
        ({"turns": (Turn("user", "<ecg>"), Turn("assistant", " "))}, "empty answer"),
        ({"turns": (*SAMPLE.turns[:3], Turn("user", "<ecg>?"), Turn("assistant", "x"))}, "outside"),
        ({"turns": (Turn("user", "<ecg>" + "a" * 100_001), Turn("assistant", "x"))}, "100000 characters"),
        ({"turns": (Turn("user", "<ecg>"), Turn("assistant", "x")) * 33}, "64 at most"),
        ({"answers": ("80/min",)}, "'80/min' is no option"),
        ({"evidence": ({"value": 1},)}, "evidence without a name"),
        ({"made": {}}, "made says"),
    ],
)
def test_what_is_no_sample(change: dict[str, Any], words: str) -> None:
    with pytest.raises(EcgError, match=words.replace("(", r"\(")):
        replace(SAMPLE, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"turns": "hello"}, "turns is a list"),
        ({"turns": [{"role": "bot", "content": "x"}]}, "a turn is a role"),
        ({"turns": [{"role": "user", "content": 3}]}, "a turn is a role"),
        ({"fold": "1"}, "fold"),
        ({"fold": True}, "fold"),
        ({"records": "ptbxl:1"}, "records is a list"),
        ({"options": [1]}, "options is a list"),
        ({"source": 7}, "source is text"),
        ({"evidence": [1]}, "evidence is a list"),
        ({"made": []}, "made is an object"),
        ({"colour": "red"}, "unknown field colour"),
    ],
)
def test_what_is_no_sample_in_json(change: dict[str, Any], words: str) -> None:
    with pytest.raises(EcgError, match=words):
        from_json({**as_json(SAMPLE), **change})
    with pytest.raises(EcgError, match="lacks the field made"):
        from_json({k: v for k, v in as_json(SAMPLE).items() if k != "made"})


def test_faults_name_file_and_row(tmp_path: Path) -> None:
    good = json.dumps(as_json(SAMPLE))
    path = tmp_path / "a.jsonl"
    for line, words in (("{", "not JSON"), ("[]", "a sample is an object"), (good, "comes twice"), ("[" * 100_000, "not JSON")):
        path.write_text(f"{good}\n{line}\n")
        with pytest.raises(EcgError, match=words) as caught:
            read(path)
        assert caught.value.path == str(path) and "row 2" in str(caught.value.where)
    with pytest.raises(EcgError, match="comes twice"):
        write(path, [SAMPLE, SAMPLE])
    path.write_bytes(b"a" * (5 << 20))
    with pytest.raises(EcgError, match="a line beyond 4 MB"):
        read(path)


def test_what_is_no_file_of_samples(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(EcgError, match=r"\.parquet or \.jsonl"):
        write(tmp_path / "a.csv", [])
    with pytest.raises(EcgError, match="no such file"):
        read(tmp_path / "none.jsonl")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(EcgError, match="no Parquet file"):
        read(path)
    pq.write_table(pa.table({"id": ["x"], "turns": ["{"]}), path)
    with pytest.raises(EcgError, match="row 1, turns: not JSON"):
        read(path)
    pq.write_table(pa.table({"id": ["x"], "turns": [3]}), path)
    with pytest.raises(EcgError, match="row 1: lacks the field records"):
        read(path)
