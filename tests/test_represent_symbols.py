"""Symbols: merges by a plain count, cutting by a plain search, an ECG back to half a step, and what a changed file is told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import einthoven as ecg
from einthoven.data import Index, load
from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.represent import bpe
from einthoven.represent.symbols import ALPHABETS, Tokenizer, by_alphabet, ladder, learn


def counted(symbols: list[int], base: int, merges: int) -> list[tuple[int, int]]:
    """Byte-pair encoding as the textbook has it: all pairs counted again in each round."""
    found: list[tuple[int, int]] = []
    for m in range(merges):
        counts: dict[tuple[int, int], int] = {}
        for a, b in pairwise(symbols):
            if a >= 0 and b >= 0:
                counts[a, b] = counts.get((a, b), 0) + 1
        most = max(counts.values(), default=0)
        if most < 2:
            break
        pair = min(p for p, n in counts.items() if n == most)
        found.append(pair)
        out: list[int] = []
        i = 0
        while i < len(symbols):
            hit = i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair
            out.append(base + m if hit else symbols[i])
            i += 2 if hit else 1
        symbols = out
    return found


@pytest.mark.parametrize(("alphabet", "seed"), [(2, 0), (3, 1), (7, 2)])
def test_merges_are_those_of_a_plain_count(alphabet: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = rng.integers(0, alphabet, 900)
    symbols[rng.integers(0, 900, 20)] = bpe.WALL
    found = bpe.learn(symbols, base=alphabet, merges=60)
    assert [tuple(pair) for pair in found.tolist()] == counted(symbols.tolist(), alphabet, 60)


def test_a_token_is_no_longer_than_allowed_and_nothing_merges_over_a_wall() -> None:
    symbols = np.array(([0] * 40 + [bpe.WALL] + [1] * 40 + [bpe.WALL]) * 3)
    strings = bpe.strings_of(bpe.learn(symbols, base=2, merges=50, longest=8), 2)
    assert max(len(s) for s in strings) == 8
    assert all(len(set(s.tolist())) == 1 for s in strings)


def test_cutting_takes_the_longest_token_each_time() -> None:
    rng = np.random.default_rng(4)
    text = rng.integers(0, 4, 3000).astype(np.int32)
    merges = bpe.learn(text, base=4, merges=100)
    strings = [np.array([s], np.int32) for s in range(4)] + bpe.strings_of(merges, 4)
    told = {tuple(s.tolist()): k for k, s in enumerate(strings)}
    longest = max(map(len, told))
    plain, i = [], 0
    while i < len(text):
        n = next(n for n in range(longest, 0, -1) if tuple(text[i : i + n].tolist()) in told)
        plain.append(told[tuple(text[i : i + n].tolist())])
        i += n
    found = bpe.Trie.of(strings[4:], range(4, len(strings)), 4).cut(text)
    assert found.tolist() == plain
    assert np.array_equal(np.concatenate([strings[k] for k in found]), text)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("ecgs")
    for seed, rhythm in enumerate(("sinus_rhythm", "atrial_fibrillation", "lbbb")):
        ecg.write(ecg.simulate(rhythm, seed=seed, fs=250.0).record, folder / f"{rhythm}.npz")
    (folder / "labels.csv").write_text("file_name,label\n" + "".join(f"{f.name},a\n" for f in sorted(folder.glob("*.npz"))))
    return load(folder, folder / "labels.csv", folder=folder / "index")


@pytest.fixture(scope="module")
def tokenizer(index: Index) -> Tokenizer:
    return learn(index, merges=300)


def test_an_ecg_comes_back_to_half_a_step(index: Index, tokenizer: Tokenizer) -> None:
    record = index.record(0)
    tokens = tokenizer.encode(record)
    back = tokenizer.decode(tokens)
    assert back.leads == STANDARD_LEADS and back.fs == 250.0 and tokens.clipped == 0
    x = record.signal[[record.leads.index(lead) for lead in STANDARD_LEADS]]
    assert np.abs(back.signal - x).max() <= tokenizer.alphabet.width / 2 + 1e-6
    assert len(tokens.ids) < x.size / 3
    assert sum(t == tokenizer.mark("V1") for t in tokens.ids.tolist()) == 1


def test_leads_travel_by_name_and_what_was_not_recorded_stays_so(index: Index, tokenizer: Tokenizer) -> None:
    record = index.record(1)
    turned = record.pick(("V6", "II", "I"))
    signal = turned.signal.copy()
    signal[0, 100:200] = np.nan
    back = tokenizer.decode(tokenizer.encode(replace(turned, signal=signal)))
    assert back.leads == ("I", "II", "V6")
    assert np.isnan(back.signal[2, 100:200]).all() and np.isfinite(np.delete(back.signal[2], np.s_[100:200])).all()
    assert np.abs(back.signal[1] - turned.signal[1]).max() <= 0.0251


def test_what_is_beyond_the_ladder_is_counted(tokenizer: Tokenizer) -> None:
    signal = np.zeros((1, 500), np.float32)
    signal[0, :7] = 9.0
    signal[0, 7] = -5.01
    tokens = tokenizer.encode(Record(signal, 250.0, ("II",)))
    assert tokens.clipped == 8
    assert tokenizer.decode(tokens).signal[0, :9] == pytest.approx([4.975] * 7 + [-4.975, 0.025], abs=1e-6)


@pytest.mark.parametrize("name", ["ecg-byte", "ecg-byte-record"])
def test_as_published(name: str, index: Index) -> None:
    """26 letters, bytes below the merges, q / 25 on the way back; the same as their formula by hand."""
    tokenizer = learn(index, name, merges=50)
    record = index.record(0)
    x = record.signal.astype(np.float64)
    tokens = tokenizer.encode(record)
    low, high = tokens.low, tokens.low + 26 * tokens.width
    q = np.minimum(np.floor(26 * np.clip((x - low) / (high - low), 0, 1)), 25)
    assert tokenizer.size == 256 + len(tokenizer.merges) and tokens.ids.min() >= ord("a")
    assert tokenizer.decode(tokens).signal == pytest.approx(low + q / 25 * (high - low), abs=1e-5)
    if name == "ecg-byte-record":
        assert (low, high) == pytest.approx((x.min(), x.max()))
    with pytest.raises(EcgError, match="twelve leads"):
        tokenizer.encode(record.pick(("I", "II")))


def test_learning_twice_is_the_same_and_a_file_holds_it(index: Index, tokenizer: Tokenizer, tmp_path: Path) -> None:
    file = tmp_path / "symbols.json"
    tokenizer.save(file)
    again = Tokenizer.load(file)
    assert again.sha256 == tokenizer.sha256 == learn(index, merges=300).sha256
    assert np.array_equal(again.encode(index.record(2)).ids, tokenizer.encode(index.record(2)).ids)
    words = json.loads(file.read_text())
    words["merges"][3] = [1, 1]
    file.write_text(json.dumps(words))
    with pytest.raises(EcgError, match="was changed"):
        Tokenizer.load(file)
    file.write_text("[]")
    with pytest.raises(EcgError, match="no tokenizer"):
        Tokenizer.load(file)


def test_ids_that_make_no_ecg_are_refused(index: Index, tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(index.record(0))
    with pytest.raises(EcgError, match="before the mark"):
        tokenizer.decode(replace(tokens, ids=tokens.ids[1:]))
    with pytest.raises(EcgError, match="tokens of"):
        tokenizer.decode(replace(tokens, ids=tokens.ids[:-1]))
    with pytest.raises(EcgError, match="no token"):
        tokenizer.decode(replace(tokens, ids=np.append(tokens.ids, tokenizer.size).astype(np.int32)))
    with pytest.raises(EcgError, match="no mark for X"):
        ladder(by_alphabet("einthoven"), Record(np.zeros((1, 500), np.float32), 250.0, ("X",)))


def test_alphabets_are_sound() -> None:
    for alphabet in ALPHABETS.values():
        alphabet.check()
    with pytest.raises(EcgError, match="no alphabet"):
        by_alphabet("runes")
    with pytest.raises(EcgError, match="levels"):
        replace(by_alphabet("einthoven"), levels=1).check()
