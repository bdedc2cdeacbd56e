"""Who may do what. Tokens of 256 random bits, of which only the hash is kept; scopes; sessions of a browser; and the
checks that keep other pages of that browser out.

A browser signs in by a link that is good once (printed by `einthoven serve`, as Jupyter does) and gets a cookie, HttpOnly and
SameSite=Strict. Whatever changes something by cookie must come with the header X-Einthoven: a form of another site cannot set
it, a script of one would have to ask first and is refused. Programs send "Authorization: Bearer TOKEN".
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from einthoven.record import WrongUse
from einthoven.serve.store import Store, new_id

Scope = Literal["read", "write", "run", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "run", "admin")  # each may do what those before it may
COOKIE = "einthoven_session"
HEADER = "x-einthoven"
SESSION_S = 12 * 3600.0
LONGEST_S = 366 * 86400.0

# What a browser may load for our pages: what we serve, and pictures inside them. No script but our files.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; "
    "frame-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report is a file that carries its own style and pictures; shown in a frame without scripts and without our origin.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"


@dataclass(frozen=True)
class Who:
    """Whoever asks: `token` the row's id; `session`: by cookie."""

    user: str
    scope: Scope
    token: str
    session: bool

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


def new_token(
    store: Store, user: str, scope: Scope, *, name: str = "", lasts: float = 90 * 86400.0, session: bool = False
) -> tuple[str, str]:
    """(the token, told this once; its id). Raises WrongUse for a scope or a time that is not on offer."""
    if scope not in SCOPES:
        raise WrongUse(f"no scope {scope!r} (there are: {', '.join(SCOPES)})")
    if not 60 <= lasts <= LONGEST_S:
        raise WrongUse("a token lasts from a minute to a year")
    token, row, now = f"ecg_{secrets.token_urlsafe(32)}", new_id(), time.time()
    store.db.execute(
        "INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row, _hash(token), user, name[:100], scope, int(session), now, now + lasts),
    )
    return token, row


def who(store: Store, token: str | None, *, session: bool) -> Who | None:
    """Whose token this is; None for one that is unknown or over. No session's passes as a program's, nor the other way."""
    if not token or len(token) > 200:
        return None
    row = store.row("SELECT * FROM token WHERE hash = ?", (_hash(token),))
    if row is None or row["expires"] < time.time() or bool(row["session"]) != session:
        return None
    return Who(row["user"], row["scope"], row["id"], session)


def credential(headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Stands for what a request signs in by, whether or not it is good; "" without."""
    said = headers.get("authorization") or cookies.get(COOKIE)
    return _hash(said) if said else ""


def end(store: Store, row: str) -> bool:
    """Whether there was such a token; it is none any more."""
    return store.db.execute("DELETE FROM token WHERE id = ?", (row,)).rowcount > 0


class Tickets:
    """Links that sign a browser in, each good once and for a while; held in memory alone."""

    def __init__(self, lasts: float = 600.0) -> None:
        self._lasts = lasts
        self._good: dict[str, float] = {}

    def new(self) -> str:
        ticket = secrets.token_urlsafe(24)
        self._good[_hash(ticket)] = time.monotonic() + self._lasts
        return ticket

    def take(self, ticket: str) -> bool:
        until = self._good.pop(_hash(ticket), 0.0) if len(ticket) <= 200 else 0.0
        return until > time.monotonic()


class Rate:
    """At most `most` in `span` s from one address, or by one token."""

    def __init__(self, most: int, span: float) -> None:
        self._most, self._span, self._swept = most, span, 0.0
        self._seen: dict[str, deque[float]] = {}

    def allows(self, address: str) -> bool:
        now = time.monotonic()
        if len(self._seen) > 10_000 and now - self._swept > self._span / 10:  # those of an hour ago
            self._swept = now
            self._seen = {k: v for k, v in self._seen.items() if v and v[-1] > now - self._span}
        times = self._seen.setdefault(address, deque())
        while times and times[0] < now - self._span:
            times.popleft()
        if len(times) >= self._most:
            return False
        times.append(now)
        return True


def same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
