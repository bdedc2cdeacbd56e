"""Talking with a language model about an ECG, and what readers think of its answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field

from einthoven.record import EcgError
from einthoven.serve import talk
from einthoven.serve.jobs import model_path
from einthoven.serve.routes.door import BIGGEST, Name, Read, Write, gives, library_of, store_of
from einthoven.serve.store import to_json

router = APIRouter()
Words = Annotated[str, Field(min_length=1, max_length=talk.LONGEST)]


class Question(BaseModel):
    """after: the answer that the question follows; null begins. again: in place of a question, the answer whose question is to
    be answered once more: drawn, not the likeliest."""

    model: Name
    question: Words = "?"
    after: int | None = Field(default=None, ge=1, le=BIGGEST)
    again: int | None = Field(default=None, ge=1, le=BIGGEST)


@router.post("/ecgs/{ecg}/answers", status_code=201)
def ask(ecg: str, body: Question, me: Write, request: Request) -> dict[str, Any]:
    """Asks a language model about the ECG: `einthoven chat`. Each sentence is held against what was measured and found."""
    from einthoven.grounding import ground

    store, report = store_of(request), library_of(request).report(ecg)
    if not report.record.leads:
        raise EcgError("no ECG could be read from this picture: there is nothing to ask about")
    path = model_path(store, body.model)
    if body.again is not None:
        asked = talk.asked_of(store, ecg, me.user, body.again)
    else:
        before = talk.turns_before(store, ecg, me.user, body.model, body.after)
        asked = [*before, {"role": "user", "content": body.question.replace("<ecg>", "").strip() or "?"}]
    others = store.rows("SELECT seq FROM answer WHERE ecg = ? AND asked = ?", (ecg, to_json(asked)))
    said = request.app.state.speakers.ask(path, report, asked, again=len(others) if body.again is not None else 0)
    held = ground(said, report.measurements, report.findings, report.quality).to_dict() if said else None
    seq = talk.keep(store, ecg, me.user, body.model, asked, said, held)
    store.note(me.user, "question", f"{ecg} {body.model}")
    return _one(request, seq, me.user)


@router.get("/ecgs/{ecg}/answers")
def answers(
    ecg: str, me: Read, request: Request, model: Annotated[str | None, Query(max_length=200)] = None
) -> list[dict[str, Any]]:
    """What I asked about this ECG and was answered, in order; each with its sentences' evidence."""
    library_of(request).row(ecg)
    rows = store_of(request).rows("SELECT * FROM answer WHERE ecg = ? AND user = ? ORDER BY seq", (ecg, me.user))
    return [talk.told(row) for row in rows if model is None or row["model"] == model]


@router.delete("/ecgs/{ecg}/answers", status_code=204)
def forget(ecg: str, me: Write, request: Request) -> None:
    """Deletes my conversations about this ECG, and the preferences in them."""
    library_of(request).row(ecg)
    store_of(request).db.execute("DELETE FROM answer WHERE ecg = ? AND user = ?", (ecg, me.user))


class Thought(BaseModel):
    """verdict: 1 good, -1 bad, 0 neither. better: what should have been said; "" takes it back."""

    verdict: Literal[-1, 0, 1] | None = None
    better: str | None = Field(default=None, max_length=talk.LONGEST)


@router.patch("/answers/{answer}")
def think(answer: Annotated[int, Path(ge=1, le=BIGGEST)], body: Thought, me: Write, request: Request) -> dict[str, Any]:
    """What I think of an answer, and what would have been a better one."""
    _one(request, answer, me.user)
    store = store_of(request)
    if body.verdict is not None:
        store.db.execute("UPDATE answer SET verdict = ? WHERE seq = ?", (body.verdict, answer))
    if body.better is not None:
        store.db.execute("UPDATE answer SET better = ? WHERE seq = ?", (body.better.strip() or None, answer))
    return _one(request, answer, me.user)


def _one(request: Request, answer: int, user: str) -> dict[str, Any]:
    row = store_of(request).row("SELECT * FROM answer WHERE seq = ? AND user = ?", (answer, user))
    if row is None:
        raise HTTPException(404, "no such answer of yours")
    return talk.told(row)


@router.get("/preferences", **gives("application/zip"))
def preferences(me: Read, request: Request) -> Response:
    """Pairs of a better and a worse answer from everybody's thoughts, as training on preferences reads them (a ZIP:
    preferences.jsonl, and the ECGs)."""
    made = talk.archive(store_of(request), library_of(request).record)
    return Response(
        made, media_type="application/zip", headers={"Content-Disposition": 'attachment; filename="preferences.zip"'}
    )
