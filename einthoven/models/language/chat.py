"""Conversations as tokens, by a model's own chat template or, where it has none, ours; and which of the tokens are learned.

    chat = Chat(tokenizer)
    encoded = chat.encode(sample.turns, rows=[62])      ids, and labels: -100 everywhere but in the assistant's words

The answers are found in the rendered text, not by ids of one model's headers: the text up to an answer is rendered by itself
and must begin the whole; the answer ends with the first special token behind it, the end of the turn, which is learned with it.

T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from einthoven.data.instruct.sample import ECG, Turn
from einthoven.record import EcgError

SKIP = -100  # no label: what cross-entropy leaves out
PLACE = "<|ecg|>"  # one row of an ECG in the ids; never a word

# Of models that come without (GPT-2, OPT): words that they know from text, and their own end of text as the end of a turn.
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}\n\n"
    "{% elif m['role'] == 'user' %}User: {{ m['content'] }}\n"
    "{% else %}Assistant: {{ m['content'] }}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
# Of our own tokenizer: every side has a token.
OWN = (
    "<s>{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_OWN_SPECIALS = ("<pad>", "<s>", "</s>", "<system>", "<user>", "<assistant>")


@dataclass(frozen=True)
class Encoded:
    """A conversation in tokens: ids (T,) and labels (T,), the same where they are learned, SKIP elsewhere."""

    ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        """How many tokens carry a label. The first can't: nothing stands before it that could foretell it."""
        return sum(label != SKIP for label in self.labels[1:])


class Chat:
    """A tokenizer of transformers (a fast one) with its chat template; `PLACE` is added to it."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise EcgError(f"{type(tokenizer).__name__} tells no offsets: a fast tokenizer is needed")
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN
        if tokenizer.eos_token_id is None:
            raise EcgError("this tokenizer has no end-of-text token: no answer could end")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token  # masked everywhere, so that it may be the same
        if PLACE not in tokenizer.get_vocab():
            from tokenizers import AddedToken

            tokenizer.add_tokens([AddedToken(PLACE, special=True, normalized=False)], special_tokens=True)
        self.place: int = tokenizer.convert_tokens_to_ids(PLACE)
        self.system = self._knows_system()

    def _knows_system(self) -> bool:
        """Some templates refuse a system turn (Gemma): then it is said at the head of the first question."""
        from jinja2.exceptions import TemplateError

        try:
            said = self.render((Turn("system", "xyzzy"), Turn("user", "a")))
        except TemplateError:
            return False
        return "xyzzy" in said

    @property
    def pad(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def specials(self) -> frozenset[int]:
        added = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return frozenset(added | set(self.tokenizer.all_special_ids))

    @cached_property
    def _special_words(self) -> tuple[str, ...]:
        return tuple(sorted({self.tokenizer.convert_ids_to_tokens(i) for i in self.specials}))

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that end an answer: the end of text, and what the template puts behind an answer."""
        found = self.encode((Turn("user", "a"), Turn("assistant", "b")), ())
        last = [i for i, label in zip(found.ids, found.labels) if label != SKIP][-1]
        return frozenset({int(self.tokenizer.eos_token_id), last})

    def render(self, turns: Sequence[Turn], *, ask: bool = False, content: Callable[[Turn], Any] | None = None) -> str:
        """The template's text; `ask` ends it where the assistant begins to speak."""
        messages = [{"role": t.role, "content": content(t) if content else t.content} for t in turns]
        return _rendered(self.tokenizer, messages, ask)

    def encode(
        self,
        turns: Sequence[Turn],
        rows: Sequence[int],
        *,
        words: Sequence[str] = (),
        ask: bool = False,
        limit: int | None = None,
    ) -> Encoded:
        """The tokens of a conversation.

        Args:
            rows: how many rows of an ECG stand in place of each "<ecg>"; `words` what is told of it in text, behind them.
            ask: leave out the last answer and end where it would begin (a prompt); nothing is labelled then.
            limit: tokens at most. Pairs of question and answer are left out from the end until the rest fits; the ECG never is.

        Raises:
            EcgError: the ECG and one question do not fit, words that are control tokens of the model, or a template by which
                the answers cannot be found.
        """
        turns = [self._clean(turn) for turn in folded(turns[:-1] if ask else turns, self.system)]
        turns = _expanded(turns, [PLACE * n for n in rows], words)
        while True:
            made = self._encoded(turns, ask)
            if limit is None or len(made.ids) <= limit:
                return made
            if ask or sum(turn.role == "assistant" for turn in turns) < 2:
                what = (
                    f"{sum(rows)} rows of ECG and a question" if ask else f"{sum(rows)} rows of ECG, a question and its answer"
                )
                raise EcgError(f"{what} are {len(made.ids)} tokens, the model takes {limit}; an ECG is never cut away")
            turns = turns[:-2]

    def _encoded(self, turns: Sequence[Turn], ask: bool) -> Encoded:
        whole = self.render(turns, ask=ask)
        coded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids = [int(i) for i in coded["input_ids"]]
        labels = [SKIP] * len(ids)
        if not ask:
            for begin, end in spans(turns, whole, self.render):
                for k in answer_tokens(ids, coded["offset_mapping"], begin, end, self.specials):
                    labels[k] = ids[k]
        return Encoded(ids, labels)

    def _clean(self, turn: Turn) -> Turn:
        strange = next((word for word in self._special_words if word and word in turn.content), None)
        if strange is not None and strange != ECG:
            raise EcgError(f"a turn holds {strange!r}, which is a control token of this model")
        return turn

    def decode(self, ids: Iterable[int]) -> str:
        """The words of an answer, up to its end."""
        kept = []
        for i in ids:
            if i in self.ends:
                break
            kept.append(i)
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()


def _rendered(tokenizer: Any, messages: list[dict[str, Any]], ask: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))


def folded(turns: Sequence[Turn], system: bool) -> Sequence[Turn]:
    """The turns, the system's words at the head of the first question where the template has no place for them."""
    if system or not turns or turns[0].role != "system":
        return turns
    return [Turn("user", f"{turns[0].content}\n\n{turns[1].content}"), *turns[2:]]


def _expanded(turns: Sequence[Turn], places: Sequence[str], words: Sequence[str]) -> list[Turn]:
    """Each "<ecg>" becomes its rows and what is told of it."""
    told = list(words) or [""] * len(places)
    if len(told) != len(places):
        raise EcgError(f"{len(told)} texts of measurements for {len(places)} ECGs")
    if sum(turn.content.count(ECG) for turn in turns) != len(places):
        raise EcgError(f"{len(places)} ECGs, but {sum(turn.content.count(ECG) for turn in turns)} places for them ({ECG})")
    made, k = [], 0
    for turn in turns:
        parts = turn.content.split(ECG)
        content = parts[0]
        for part in parts[1:]:
            content += places[k] + told[k] + part
            k += 1
        made.append(Turn(turn.role, content))
    return made


def spans(turns: Sequence[Turn], whole: str, render: Callable[..., str]) -> list[tuple[int, int]]:
    """Where each answer, with what closes it, stands in the rendered text. Raises EcgError for a template whose text of the
    beginning is not the beginning of its text."""
    found = []
    for k, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        before, after = render(turns[:k], ask=True), render(turns[: k + 1])
        if not whole.startswith(before) or not whole.startswith(after) or len(after) <= len(before):
            raise EcgError(f"the chat template rewrites earlier turns: answer {k} cannot be told from what is asked")
        found.append((len(before), len(after)))
    return found


def answer_tokens(
    ids: Sequence[int], offsets: Sequence[tuple[int, int]], begin: int, end: int, specials: frozenset[int]
) -> list[int]:
    """Numbers of the tokens of an answer that stands at [begin, end) of the text, the one that ends the turn being the last."""
    inside = []
    for k, (a, b) in enumerate(offsets):
        if a < begin < b:
            raise EcgError("a token reaches from the question into the answer: this template cannot be learned token by token")
        if a >= begin and b <= end and b > a:
            inside.append(k)
    for n, k in enumerate(inside):
        if ids[k] in specials:
            return inside[: n + 1]
    raise EcgError("the chat template ends an answer with no token of its own: a model could not learn to stop")


def new_tokenizer(
    texts: Iterable[str],
    size: int = 2048,
    *,
    specials: Sequence[str] = _OWN_SPECIALS,
    template: str = OWN,
    bos: str = "<s>",
    eos: str = "</s>",
    pad: str = "<pad>",
    named: Mapping[str, str] | None = None,
) -> Any:
    """A small byte-level BPE tokenizer learned from these texts: at most `size` ids.

    Any text can be written with it; digits stand alone, so that numbers are spelled and can be copied. The same texts give the
    same tokenizer.

    Args:
        specials: tokens that are no words, `bos`, `eos` and `pad` among them. template: of a chat (Jinja).
        named: what a processor of transformers asks a tokenizer for by name ("image_token": "<image>").
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    split = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return wrapped(made.to_str(), template=template, bos=bos, eos=eos, pad=pad, named=named)


def wrapped(
    json: str, *, template: str, bos: str | None, eos: str | None, pad: str | None, named: Mapping[str, str] | None = None
) -> Any:
    """A tokenizer of transformers from the text of a tokenizer.json."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    more = {"extra_special_tokens": dict(named)} if named else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json), bos_token=bos, eos_token=eos, pad_token=pad, chat_template=template, **more
    )
