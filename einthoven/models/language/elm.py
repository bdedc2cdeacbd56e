"""ELMs that are assembled here: views of an ECG whose rows take their places among the words, and any causal language model.

    <user> P P P ... P  "\\n" measurements "\\n" question <assistant> answer </s>
           rows of view 1, rows of view 2, ...

The ids hold PLACE for each row; nothing is added to the language model's embedding, the rows stand there instead. How many rows
there are and how many places is checked in every batch, so that an ECG can neither be cut away nor be put where another's is.

Conversations about the same ECG can be packed: they share its rows, which are computed once, and none sees the others.

B conversations, T tokens, D width, n ECGs of a batch, R rows of an ECG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from einthoven.data.instruct.sample import Turn
from einthoven.models.language.chat import SKIP, Chat
from einthoven.models.language.speaker import Arrays, Batch, Example, Speaker, base_of, padded
from einthoven.models.language.view import View
from einthoven.record import EcgError


@dataclass(frozen=True)
class Said:
    """What a frozen encoder said of an ECG, (N, C) float32: it need not be asked again."""

    values: NDArray[np.float32]


class Elm(Speaker):
    """See the head of this file.

    Args:
        lm: a causal language model of transformers. chat: its tokenizer and template.
        views: a mapping each (view.py): {"represent": "signal", "encoder": "inception-time", "connector": "mlp", ...}.
        dropout: probability that one of several views of an ECG is left out in training, so that the others must do.
        limit: tokens at most; None: what the language model was made for.
        folder: where files that views name lie.
    """

    def __init__(
        self, lm: Any, chat: Chat, views: Sequence[Mapping[str, Any]], *, dropout: float = 0.0, limit: int | None = None,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not views:
            raise EcgError("a model without a view sees no ECG")
        self.lm, self.chat, self.dropout = lm, chat, dropout
        self.width = int(lm.get_input_embeddings().embedding_dim)
        self.views = nn.ModuleList([View(words, self.width, folder) for words in views])
        self.looks = tuple(view.look for view in self.views)
        text = lm.config.get_text_config()
        most = int(getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or 1 << 20)
        self.limit = min(limit or most, most)
        # Rows begin as large as words are: a language model that is frozen knows vectors of no other size.
        size = lm.get_input_embeddings().weight
        scale = float(size.detach().float().std()) if size.device.type != "meta" else 0.02
        self.gain = nn.Parameter(torch.full((len(self.views),), scale))
        self.missing = nn.Parameter(torch.zeros(len(self.views), self.width))  # what stands for a view that is not there

    # ---- tokens ---------------------------------------------------------------------------------------------------------

    def example(self, turns: Sequence[Turn], arrays: Arrays, *, ask: bool = False) -> Example:
        rows = [sum(view.count(_bare(a)) for view, a in zip(self.views, ecg, strict=True)) for ecg in arrays]
        words = [self._words(ecg) for ecg in arrays]
        made = self.chat.encode(turns, rows, words=words, ask=ask, limit=self.limit)
        return Example(made.ids, made.labels, tuple(tuple(ecg) for ecg in arrays))

    def _words(self, ecg: Sequence[Any]) -> str:
        said = [view.text(_bare(a)) for view, a in zip(self.views, ecg, strict=True)]
        told = "\n".join(filter(None, said))
        return f"\n{told}" if told else ""

    def collate(self, examples: Sequence[Example], *, left: bool = False) -> Batch:
        batch = padded(examples, self.chat.pad, left=left)
        batch.more = self._seen([ecg for one in examples for ecg in one.seen])
        batch.more["positions"] = (batch.mask.cumsum(1) - 1).clamp_min(0)
        return batch

    def pack(self, groups: Sequence[Sequence[Example]]) -> Batch:
        """Conversations about one ECG each group: what they share (its rows at least) stands once, each goes on from there and
        sees nothing of the others. Raises EcgError where a group does not share its ECG."""
        joined, positions, branches = [], [], []
        for group in groups:
            first = group[0]
            shared = common(group)
            if shared <= max((k for k, i in enumerate(first.ids) if i == self.chat.place), default=-1):
                raise EcgError("conversations that are packed begin with the same ECG")
            ids, labels = list(first.ids[:shared]), [SKIP] * shared
            place, branch = list(range(shared)), [0] * shared
            for n, one in enumerate(group, 1):
                ids += one.ids[shared:]
                labels += one.labels[shared:]
                place += range(shared, len(one.ids))
                branch += [n] * (len(one.ids) - shared)
            joined.append(Example(ids, labels, first.seen))
            positions.append(place)
            branches.append(branch)
        batch = padded(joined, self.chat.pad, left=False)
        width = batch.ids.shape[1]
        own = torch.tensor([b + [-1] * (width - len(b)) for b in branches])  # (B, T), -1 is padding
        same = (own[:, :, None] == own[:, None, :]) | (own[:, None, :] == 0)
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        batch.more = {
            **self._seen([ecg for one in joined for ecg in one.seen]),
            "positions": torch.tensor([p + [0] * (width - len(p)) for p in positions]),
            "attention": (same & causal)[:, None],  # (B, 1, T, T); a padded place sees padded ones, at least itself
        }
        return batch

    def _seen(self, ecgs: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """How many ECGs there are; of each view its input for those that have it, which these are, how many rows each takes,
        and whether its encoder was asked already."""
        views: list[tuple[Tensor | None, list[int], list[int], bool]] = []
        for v, view in enumerate(self.views):
            there = [k for k, ecg in enumerate(ecgs) if ecg[v] is not None]
            if view.tokens == 0 or not there:
                views.append((None, [], [], False))
                continue
            counts = [view.count(_bare(ecgs[k][v])) for k in there]
            if isinstance(ecgs[there[0]][v], Said):
                views.append((torch.from_numpy(np.stack([ecgs[k][v].values for k in there])), there, counts, True))
            else:
                views.append((view.tensor([ecgs[k][v] for k in there]), there, counts, False))
        return {"ecgs": len(ecgs), "views": views}

    # ---- vectors --------------------------------------------------------------------------------------------------------

    def rows(self, batch: Batch) -> Tensor:
        """(all rows of all ECGs in the order of their places, D)."""
        ecgs: int = batch.more["ecgs"]
        pieces: list[list[Tensor]] = [[] for _ in range(ecgs)]
        dropped = self._dropped(ecgs)
        for v, (view, (x, there, counts, encoded)) in enumerate(zip(self.views, batch.more["views"], strict=True)):
            if view.tokens == 0:
                continue
            blank = self.missing[v] * self.gain[v]
            vectors: list[Tensor] = []
            if x is not None:
                found = view(x, encoded=encoded) * self.gain[v]
                vectors = list(found.split(counts) if view.tokens is None else found)
            said = dict(zip(there, vectors, strict=True))
            for k in range(ecgs):
                if k not in said:
                    pieces[k].append(blank.expand(view.tokens, -1))
                elif dropped[k] == v:
                    pieces[k].append(blank + 0.0 * said[k])
                else:
                    pieces[k].append(said[k])
        every = [row for ecg in pieces for row in ecg]
        return torch.cat(every) if every else self.missing[:0]

    def _dropped(self, ecgs: int) -> list[int]:
        """Of each ECG, the view that is left out, -1 for none."""
        several = [v for v, view in enumerate(self.views) if view.tokens != 0]
        if not (self.training and self.dropout and len(several) > 1):
            return [-1] * ecgs
        lost, which = torch.rand(ecgs) < self.dropout, torch.randint(len(several), (ecgs,))
        return [several[int(w)] if out else -1 for out, w in zip(lost, which)]

    def embed(self, batch: Batch) -> Tensor:
        """(B, T, D): words as the language model has them, and the ECGs' rows at their places.

        Raises EcgError where places and rows are not as many: an ECG was cut.
        """
        places = batch.ids == self.chat.place
        words: Tensor = self.lm.get_input_embeddings()(batch.ids.masked_fill(places, self.chat.pad))
        if not batch.more["ecgs"] and not bool(places.any()):
            return words
        rows = self.rows(batch)
        if int(places.sum()) != len(rows):
            raise EcgError(
                f"{int(places.sum())} places in the text for {len(rows)} rows of ECG: an ECG was cut, or one is missing"
            )
        return words.masked_scatter(places[..., None], rows.to(words.dtype))

    def hidden(self, batch: Batch) -> Tensor:
        found: Tensor = base_of(self.lm)(
            inputs_embeds=self.embed(batch),
            attention_mask=batch.more.get("attention", batch.mask),
            position_ids=batch.more["positions"],
            use_cache=False,
        ).last_hidden_state
        return found

    # ---- speaking -------------------------------------------------------------------------------------------------------

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def generate(self, batch: Batch, most: int, *, temperature: float = 0.0, seed: int = 0) -> list[list[int]]:
        """`batch` padded on the left, or of one length. Keys and values of what was said are kept."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.lm.config)
        draw = torch.Generator(device="cpu").manual_seed(seed)
        mask, positions, vectors = batch.mask, batch.more["positions"], self.embed(batch)
        said: list[list[int]] = [[] for _ in range(len(mask))]
        live = torch.ones(len(mask), dtype=torch.bool)
        for _ in range(most):
            last = self._step(vectors, mask, positions, cache)
            chosen = choose(last, temperature, draw)
            for k in live.nonzero().flatten().tolist():
                said[k].append(int(chosen[k]))
                live[k] = int(chosen[k]) not in self.chat.ends
            if not bool(live.any()):
                break
            vectors = self.lm.get_input_embeddings()(chosen.to(mask.device)[:, None])
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            positions = positions[:, -1:] + 1
        return said

    def _step(self, vectors: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Logits (B, V) behind the last token; what came before is in the cache."""
        found = base_of(self.lm)(
            inputs_embeds=vectors, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        return self.logits(found)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def continuations(self, prompt: Example, endings: Sequence[Sequence[int]]) -> list[float]:
        """Mean log-probability a token of each ending behind the prompt, whose ECG is looked at once."""
        from transformers import DynamicCache

        batch = self.collate([prompt]).to(self.device)
        cache = DynamicCache(config=self.lm.config)
        first = self._step(self.embed(batch), batch.mask, batch.more["positions"], cache)
        count, most = len(endings), max(map(len, endings))
        cache.batch_repeat_interleave(count)
        ids = torch.tensor([[*e, *[self.chat.pad] * (most - len(e))] for e in endings], device=self.device)
        real = torch.tensor([[1] * len(e) + [0] * (most - len(e)) for e in endings], device=self.device)
        logits = first[:, None].expand(count, 1, -1)
        if most > 1:
            start = batch.ids.shape[1]
            mask = torch.cat([batch.mask.expand(count, -1), real[:, :-1]], 1)
            places = torch.arange(start, start + most - 1, device=self.device).expand(count, -1)
            found = base_of(self.lm)(
                inputs_embeds=self.lm.get_input_embeddings()(ids[:, :-1]), attention_mask=mask, position_ids=places,
                past_key_values=cache, use_cache=True,
            ).last_hidden_state  # fmt: skip
            logits = torch.cat([logits, self.logits(found)], 1)
        each = logits.log_softmax(-1).gather(2, ids[..., None])[..., 0] * real
        return [float(v) for v in each.sum(1) / real.sum(1)]


def common(group: Sequence[Example]) -> int:
    """Tokens that all of these begin with, of which none, nor the one behind them, is to be learned."""
    most = min(next((k for k, label in enumerate(one.labels) if label != SKIP), len(one.ids)) for one in group) - 1
    first = group[0].ids
    for k in range(most):
        if any(one.ids[k] != first[k] for one in group):
            return k
    return max(most, 0)


def choose(logits: Tensor, temperature: float, draw: torch.Generator) -> Tensor:
    """(B, V) -> (B,) the likeliest id, or one drawn."""
    if temperature <= 0:
        return logits.argmax(-1).cpu()
    drawn: Tensor = torch.multinomial((logits.float() / temperature).softmax(-1).cpu(), 1, generator=draw)[:, 0]
    return drawn


def _bare(array: Any) -> Any:
    """The array, where an encoder's words stand for it too: only counted."""
    return array.values if isinstance(array, Said) else array
