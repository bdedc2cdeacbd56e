"""schemathesis asks every operation that the API describes, by its description and against it: nothing ends in a fault of the
server, and what is answered is what was described."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")

from fastapi import FastAPI  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serve_door import Door, put  # noqa: E402

from einthoven.serve.routes import router  # noqa: E402
from einthoven.synth import simulate  # noqa: E402

EXAMPLES = 15  # an operation
FEWER = {"GET /api/ecgs/{ecg}/explain": 5}  # a second or more each
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
LEFT_OUT = {
    "POST /api/logout": "ends the token that all others ask with",
    "GET /api/jobs/{job}/events": "ends with its job, and no job is worked on here",
}


def described() -> dict[str, Any]:
    app = FastAPI()
    app.include_router(router)
    return app.openapi()


SCHEMA = schemathesis.openapi.from_dict(described())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
ALL = list(OPERATIONS)


class Asked:
    """A server in memory that holds something of each kind, and how it is asked."""

    def __init__(self, folder: Path) -> None:
        self.door = Door(folder / "data", calls=10**9, stores=(str(folder / "exchange"),))
        (folder / "exchange").mkdir()
        self.key = self.door.token("admin")
        self.door.client.headers.update(self.key)
        self.folder, self.store = folder, self.door.app.state.store
        self.fill()

    def fill(self) -> None:
        """What is there to be asked for; again, where it was deleted."""
        record = simulate(rate=70, seed=3, duration=4.0, fs=100.0).record
        self.ecg = put(self.door.client, record, self.folder)
        self.store.db.execute(
            "INSERT OR IGNORE INTO job (id, kind, owner, state, args, created) "
            "VALUES ('a-job', 'predict', 'me', 'queued', '{}', 0)"
        )
        self.store.db.execute(
            "INSERT OR IGNORE INTO answer (seq, ecg, user, model, at, asked, said) VALUES "
            "(1, ?, 'a program', 'm', 0, '[{\"role\":\"user\",\"content\":\"?\"}]', 'Sinus rhythm.')", (self.ecg,),
        )  # fmt: skip

    def known(self) -> dict[str, Any]:
        """Path parameters that name what is there."""
        return {"ecg": self.ecg, "name": "einthoven-12", "job": "a-job", "answer": 1, "store": 0}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    made = Asked(tmp_path_factory.mktemp("schema"))
    assert made.door.client.get(f"/api/ecgs/{made.ecg}/report").status_code == 200  # what is slow at first is loaded
    yield made
    made.store.close()


WORDS = st.one_of(st.text(max_size=20), st.sampled_from(["einthoven-12", "head", "lora", "single", "\ud800", "-x"]))
ARGS = ["name", "ecgs", "weights", "model", "method", "task", "epochs", "seed", "batch", "gamma", "file", "labels"]
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.lists(WORDS, max_size=3))
JOBS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["finetune", "predict", "import"]),
        "args": st.dictionaries(
            st.sampled_from(ARGS),
            ANYTHING | st.just(["a"] * 12), max_size=6,
        ),
    }
)  # fmt: skip


@pytest.mark.parametrize("label", [one for one in ALL if one not in LEFT_OUT])
def test_no_operation_ends_in_a_fault_of_the_server(label: str, asked: Asked) -> None:
    operation = OPERATIONS[label]
    codes: list[int] = []

    @settings(
        max_examples=FEWER.get(label, EXAMPLES), derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
        case = data.draw(operation.as_strategy(mode))
        if case.path_parameters and data.draw(st.integers(0, 3)):  # most are asked of what is there
            known = asked.known()
            case.path_parameters.update({key: known[key] for key in case.path_parameters if key in known})
        if label == "POST /api/jobs" and data.draw(st.booleans()):
            case.body = data.draw(JOBS)
        answer = case.call(app=asked.door.app, base_url="http://127.0.0.1:8010", headers=asked.key, timeout=120)
        codes.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS)
        if asked.store.row("SELECT 1 FROM answer WHERE seq = 1") is None:
            asked.fill()

    ask()
    assert codes


HALF = b'"\\ud800"'  # of a surrogate pair: JSON can write it, UTF-8 cannot
DEEP = b"[" * 900 + b"]" * 900
TEN = b",".join([HALF] * 10)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/tokens", b'{"name": "a", "days": NaN}'),
        ("POST", "/api/tokens", b'{"name": "a", "days": Infinity}'),
        ("POST", "/api/tokens", b'{"name": ' + HALF + b"}"),
        ("POST", "/api/tokens", b'{"name": ' + DEEP + b"}"),
        ("POST", "/api/tokens", b'{"name": ' + b"9" * 5000 + b"}"),
        ("POST", "/api/tokens", b"[" * 100_000),
        ("POST", "/api/login", b'{"token": ' + HALF + b"}"),
        ("POST", "/api/jobs", b'{"kind": ' + HALF + b"}"),
        ("POST", "/api/jobs", b'{"kind": "finetune", "args": {' + HALF + b": 1}}"),
        ("POST", "/api/jobs", b'{"kind": "predict", "args": {"ecgs": [' + HALF + b'], "model": "x"}}'),
        ("POST", "/api/jobs", b'{"kind": "finetune", "args": {"name": "x", "ecgs": [' + TEN + b"]}}"),
        ("POST", "/api/jobs", b'{"kind": "finetune", "args": {"gamma": NaN}}'),
        ("POST", "/api/jobs", b'{"kind": "finetune", "args": {"name": ' + DEEP + b"}}"),
        ("PATCH", "/api/answers/1", b'{"better": ' + HALF + b"}"),
        ("PATCH", f"/api/answers/{2**63}", b"{}"),
        ("PATCH", f"/api/answers/-{2**63 + 1}", b"{}"),
        ("GET", f"/api/jobs/a-job/events?after={2**63}", b""),
    ],
)
def test_what_json_or_the_catalogue_does_not_have_is_refused(method: str, path: str, body: bytes, asked: Asked) -> None:
    answer = asked.door.client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and answer.json()["detail"]


def test_what_was_sent_is_not_sent_back(asked: Asked) -> None:
    answer = asked.door.client.post("/api/login", json={"token": "a secret " * 30})
    assert answer.status_code == 422 and "secret" not in answer.text


def test_a_table_that_is_none_is_refused(asked: Asked) -> None:
    table = b'file_name,label\na,"' + b"x" * 200_000 + b'"\n'
    before = csv.field_size_limit(131_072)  # the usual one, which other packages raise
    try:
        answer = asked.door.client.post("/api/labels", files={"file": ("labels.csv", table)})
    finally:
        csv.field_size_limit(before)
    assert answer.status_code == 400 and "no table" in answer.json()["detail"]


def test_a_file_of_no_kind_is_not_passed_over_without_a_word(asked: Asked) -> None:
    (told,) = asked.door.client.post("/api/ecgs", files={"files": ("notes.x", b"abc")}).json()
    assert told["name"] == "notes.x" and told["id"] is None and "no kind" in told["error"]
