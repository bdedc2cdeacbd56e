"""ECG-Byte's tokens, ours beside Hugging Face's `tokenizers`: training, encoding, compression, and what is lost.

    python bench/symbols.py --data ../shared/data/ptbxl [--records 200] [--merges 1000] [--rounds 5]

Records of the PTB-XL subset at 500 Hz, brought to 250 Hz (12 x 2500): learned from folds 1-8, loss and compression on fold 9.
`tokenizers` learns from the same letters, each ECG one word of 30,000, and lead by lead. One thread; CPU time.
"""

# ruff: noqa: E402  (threads are limited before numpy is imported)
from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

from einthoven.data import load
from einthoven.data.entry import Choice
from einthoven.represent.symbols import Alphabet, Tokenizer, by_alphabet, ladder, learn


def timed(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--merges", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default="whole,lead", help="forms of tokenizers to time; empty for none")
    options = parser.parse_args()
    index = load(options.data, choice=Choice(rate=500))
    fold, fs = np.asarray(index.column("fold")), np.asarray(index.column("fs"))
    training = np.flatnonzero((fold <= 8) & (fs == 500))[: options.records]
    held = np.flatnonzero((fold == 9) & (fs == 500))
    learn(index, "einthoven", 10, training[:2])  # what is compiled at the first call is compiled now
    print(f"{len(training)} records of folds 1-8 to learn from, {len(held)} of fold 9 to judge by; {options.merges} merges")
    for alphabet in ("einthoven", "ecg-byte", "ecg-byte-record"):
        made = learn(index, alphabet, options.merges, training)
        quality(made, index, held, options.rounds)
    letters = by_alphabet("ecg-byte-record")
    words = [text(letters, index, row) for row in training.tolist()]
    ours = timed(lambda: learn_letters(words, letters, options.merges))
    print(f"training on the same letters: ours {ours:.2f} s of CPU")
    for form in filter(None, options.peer.split(",")):
        theirs, rate = peer(words, options.merges, whole=form == "whole")
        print(f"  tokenizers, {form} form: {theirs:.1f} s, {theirs / ours:.1f} times ours; encodes {rate:.0f} records/s")


def text(alphabet: Alphabet, index: object, row: int) -> np.ndarray:
    return ladder(alphabet, index.record(row))[0].reshape(-1)  # type: ignore[attr-defined]


def learn_letters(words: list[np.ndarray], alphabet: Alphabet, merges: int) -> None:
    from einthoven.represent import bpe

    wall = np.array([bpe.WALL])
    parts = [piece for word in words for piece in (word, wall)]
    bpe.learn(np.concatenate(parts), base=alphabet.levels, merges=merges, longest=30_000)


def peer(words: list[np.ndarray], merges: int, *, whole: bool) -> tuple[float, float]:
    """Training s, and records encoded a second, of Hugging Face's tokenizers."""
    from tokenizers import Tokenizer as Peer
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    letters = ["".join(chr(97 + q) for q in word.tolist()) for word in words]
    if not whole:
        letters = [one[i : i + len(one) // 12] for one in letters for i in range(0, len(one), len(one) // 12)]
    model = Peer(BPE())
    trainer = BpeTrainer(vocab_size=26 + merges, show_progress=False, initial_alphabet=[chr(97 + q) for q in range(26)])
    seconds = timed(lambda: model.train_from_iterator(letters, trainer))
    few = letters[: 5 if whole else 60]
    return seconds, (5 / timed(lambda: [model.encode(one) for one in few]))


def quality(made: Tokenizer, index: object, rows: np.ndarray, rounds: int) -> None:
    """Tokens a record, what is lost (mV), and records encoded a second, read and prepared before."""
    records = [index.record(row) for row in rows.tolist()]  # type: ignore[attr-defined]
    from einthoven.signal.resample import resample

    records = [resample(record, made.alphabet.fs) for record in records]
    encoded = [made.encode(record) for record in records]
    errors = [made.decode(tokens).signal - record.pick(tokens.leads).signal for tokens, record in zip(encoded, records)]
    squares = np.concatenate([error.ravel() ** 2 for error in errors])
    count = np.array([len(tokens.ids) for tokens in encoded])
    best = min(timed(lambda: [made.encode(record) for record in records]) for _ in range(rounds)) / len(records)
    steps = [ladder(made.alphabet, record)[0] for record in records]
    cut = min(timed(lambda: [made._trie.cut(s.reshape(-1)) for s in steps]) for _ in range(rounds)) / len(records)
    print(
        f"{made.alphabet.name}: {made.size} ids, {count.mean():.0f} tokens a record "
        f"({squares.size / count.sum():.1f} samples a token), RMSE {1000 * np.sqrt(squares.mean()):.1f} uV, largest error "
        f"{1000 * np.sqrt(squares.max()):.0f} uV, {sum(t.clipped for t in encoded)} samples beyond the ladder; "
        f"encodes {1 / best:.0f} records/s ({1 / cut:.0f} the cutting alone)"
    )


if __name__ == "__main__":
    main()
