"""A small client of any OpenAI-compatible server (vLLM, llama.cpp, Ollama, a cloud): one question, one answer, on the record.

    server = Server("http://localhost:8000/v1", "my-model")
    reply = server.ask([{"role": "user", "content": "Hello"}])
    reply.text, reply.prompt, reply.model

The key comes from the environment variable EINTHOVEN_API_KEY (or OPENAI_API_KEY) and is never written anywhere. Answers are
bounded; what is lost on the way is asked for again, a few times, with growing pauses.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from einthoven.record import EcgError, WrongUse

KEYS = ("EINTHOVEN_API_KEY", "OPENAI_API_KEY")
MAX_ANSWER = 1 << 20  # bytes
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """`text` of the answer, the `prompt` that asked for it, the `model` that the server says it is, and the `settings`."""

    text: str
    prompt: tuple[Message, ...]
    model: str
    settings: Mapping[str, Any]
    tokens: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A server at `url` (".../v1") and a `model` of it.

    settings: temperature and so on, sent as they are and kept with each reply. retries: after the first try. pause: seconds
    before the first retry, doubled each time. timeout: seconds a try.
    """

    url: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0, "max_tokens": 1024})
    timeout: float = 120.0
    retries: int = 3
    pause: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise WrongUse(f"a server is http(s)://host[:port]/v1, not {self.url!r:.80}")
        if not self.model:
            raise WrongUse("which model of the server?")

    def ask(self, messages: Sequence[Message], **more: Any) -> Reply:
        """The answer to these messages. Raises EcgError where the server cannot be reached, refuses, or answers something
        else."""
        import httpx

        settings = {**self.settings, **more}
        body = {"model": self.model, "messages": [dict(m) for m in messages], **settings}
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        place = self.url.rstrip("/") + "/chat/completions"
        fault = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                status, data = _post(place, body, headers, self.timeout)
            except httpx.HTTPError as error:
                fault = f"{type(error).__name__}: {error}"
                continue
            if status in _AGAIN:
                fault = f"status {status}: {data[:200].decode('utf-8', 'replace')}"
                continue
            if status != 200:
                raise EcgError(f"the server refused: status {status}: {data[:300].decode('utf-8', 'replace')}", path=place)
            return _reply(data, place, tuple(messages), self.model, settings)
        raise EcgError(f"no answer after {self.retries + 1} tries: {fault}", path=place)


def _post(place: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
    import httpx

    with (
        httpx.Client(timeout=timeout, follow_redirects=False) as client,
        client.stream("POST", place, json=body, headers=dict(headers)) as response,
    ):
        data = b""
        for part in response.iter_bytes():
            data += part
            if len(data) > MAX_ANSWER:
                raise EcgError(f"an answer beyond {MAX_ANSWER >> 20} MB", path=place)
        return response.status_code, data


def _reply(data: bytes, place: str, prompt: tuple[Message, ...], model: str, settings: Mapping[str, Any]) -> Reply:
    try:
        given = json.loads(data)
        text = given["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise EcgError(f"no chat completion: {data[:200].decode('utf-8', 'replace')}", path=place) from None
    if not isinstance(text, str):
        raise EcgError("an answer without text", path=place)
    usage = given.get("usage")
    tokens = {k: v for k, v in usage.items() if isinstance(v, int)} if isinstance(usage, dict) else {}
    return Reply(text, prompt, str(given.get("model") or model), settings, tokens)
