"""Byte-pair encoding over small alphabets, fast: merges learned from symbols, and symbols cut into the longest tokens.

    merges = learn(symbols, base=201, merges=4000)     (M, 2) int32: token base + m is merges[m, 0] followed by merges[m, 1]
    trie = Trie.of(strings)                            tokens as strings of symbols
    ids = trie.cut(symbols)                            greedy, longest first

Sennrich R et al. ACL 2016; for ECGs Han W et al. ECG-Byte, MLHC 2025. Each round merges the most frequent pair; of equally
frequent ones the lowest, so that the same symbols give the same merges (ECG-Byte's order is that of a hash map). Counts are
kept up to date with each merge, where ECG-Byte counts all again. Cutting walks a trie in a double array (Aoe J. IEEE Trans
Softw Eng 1989;15:1066): the time is linear in the symbols for a longest token of given length.

N symbols, M merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.record import EcgError

Ids = NDArray[np.int32]
WALL = -1  # between symbols: no token reaches over it


def learn(symbols: NDArray[np.integer], *, base: int, merges: int, first: int | None = None, longest: int = 512) -> Ids:
    """(N,) symbols, each 0 to base - 1 or WALL -> (M, 2) the pairs that become tokens `first`, `first` + 1, ... in this order.

    `first` is `base` where it is not given. M is below `merges` where no pair occurs twice any more. `longest` symbols a token.

    Raises EcgError for symbols outside of the alphabet.
    """
    ids = np.array(symbols, np.int32)
    first = base if first is None else first
    if merges < 0 or first < base:
        raise EcgError(f"{merges} merges from token {first} on, over {base} symbols: that cannot be")
    if len(ids) and not (ids.min() >= WALL and ids.max() < base):
        raise EcgError(f"symbols are 0 to {base - 1} (or {WALL} between words), not {ids.min()} to {ids.max()}")
    return np.asarray(_learn(ids, base, first, merges, longest))


def strings_of(merges: Ids, base: int, first: int | None = None) -> list[Ids]:
    """The symbols of each merge's token, in order."""
    first = base if first is None else first
    out: list[Ids] = []

    def symbols(token: int) -> Ids:
        return np.array([token], np.int32) if token < base else out[token - first]

    for m, (a, b) in enumerate(merges.tolist()):
        if not all(0 <= t < base or first <= t < first + m for t in (a, b)):
            raise EcgError(f"merge {m} is of tokens {a} and {b}, which are not there yet")
        out.append(np.concatenate([symbols(a), symbols(b)]))
    return out


@dataclass(frozen=True)
class Trie:
    """A set of strings over symbols 0 to base - 1, in a double array: from node n by symbol s to `jump[n] + s`, if that
    place is owned by n. `token` is the id of the string that ends at a node, or -1."""

    jump: Ids
    owner: Ids
    token: Ids
    base: int

    @staticmethod
    def of(strings: Sequence[Ids], ids: Sequence[int], base: int) -> Trie:
        """Every symbol alone is a string, with its own number as its id, unless `ids` gives it another."""
        lengths = np.array([1] * base + [len(s) for s in strings], np.int64)
        flat = np.concatenate([np.arange(base, dtype=np.int32), *strings]).astype(np.int32)
        if len(flat) and (flat.min() < 0 or flat.max() >= base):
            raise EcgError(f"a token holds symbols that are not 0 to {base - 1}")
        named = np.concatenate([np.arange(base), np.asarray(ids, np.int64)]).astype(np.int32)
        jump, owner, token = _build(flat, lengths, named, base)
        return Trie(jump, owner, token, base)

    def cut(self, symbols: NDArray[np.integer]) -> Ids:
        """(N,) symbols 0 to base - 1 -> ids of the longest tokens, one after another."""
        x = np.ascontiguousarray(symbols, np.int32)
        if len(x) and (x.min() < 0 or x.max() >= self.base):
            raise EcgError(f"symbols are 0 to {self.base - 1}, not {x.min()} to {x.max()}")
        return np.asarray(_cut(x, self.jump, self.owner, self.token))


# ---- learning -----------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find(table: NDArray[np.int64], keys: NDArray[np.int64], key: int) -> int:
    """The place in `table` where the pair's number stands, or would."""
    mask = len(table) - 1
    h = key * np.int64(-7046029254386353131)  # 2^64 / golden ratio
    at = (h ^ (h >> 32)) & mask
    while table[at] >= 0 and keys[table[at]] != key:
        at = (at + 1) & mask
    return int(at)


def _learn(ids: Ids, base: int, first: int, merges: int, longest: int) -> Ids:
    inside = (ids[:-1] >= 0) & (ids[1:] >= 0) if len(ids) else np.zeros(0, bool)
    pair = ids[:-1][inside].astype(np.int64) << 32 | ids[1:][inside]
    keys, counts = np.unique(pair, return_counts=True)
    book = _Book(keys, counts.astype(np.int64))
    length = np.ones(first + merges, np.int64)
    out = np.empty((merges, 2), np.int32)
    n = len(ids)
    for made in range(merges):
        best = _best(book.keys[: book.size], book.counts[: book.size], length, longest)
        if best < 0:
            return out[:made]
        key, count = int(book.keys[best]), int(book.counts[best])
        a, b, c = key >> 32, key & 0xFFFFFFFF, first + made
        out[made] = a, b
        length[c] = length[a] + length[b]
        changed = np.empty((5 * count, 2), np.int64)
        n, changes = _merge(ids, n, a, b, c, changed)
        book.add(changed[:changes])
    return out


class _Book:
    """How often each pair occurs: pair number k is keys[k] (a * 2^32 + b); `table` finds a key's number."""

    def __init__(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self.keys, self.counts, self.size = keys, counts, len(keys)
        self.table = np.full(1 << (4 * self.size + 1024).bit_length(), -1, np.int64)
        _index(self.table, self.keys, self.size)

    def add(self, changed: NDArray[np.int64]) -> None:
        """(n, 2): key, and how many more."""
        if self.size + len(changed) > len(self.keys):
            spare = np.zeros(self.size + len(changed), np.int64)
            self.keys, self.counts = np.concatenate([self.keys, spare]), np.concatenate([self.counts, spare])
        if 2 * (self.size + len(changed)) > len(self.table):
            self.table = np.full(1 << int(4 * (self.size + len(changed))).bit_length(), -1, np.int64)
            _index(self.table, self.keys, self.size)
        self.size = _add(self.table, self.keys, self.counts, self.size, changed)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _index(table: NDArray[np.int64], keys: NDArray[np.int64], size: int) -> None:
    for k in range(size):
        table[_find(table, keys, keys[k])] = k


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add(
    table: NDArray[np.int64], keys: NDArray[np.int64], counts: NDArray[np.int64], size: int, changed: NDArray[np.int64]
) -> int:
    for i in range(len(changed)):
        at = _find(table, keys, changed[i, 0])
        if table[at] < 0:
            keys[size], counts[size] = changed[i, 0], 0
            table[at] = size
            size += 1
        counts[table[at]] += changed[i, 1]
    return size


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _best(keys: NDArray[np.int64], counts: NDArray[np.int64], length: NDArray[np.int64], longest: int) -> int:
    """The number of the most frequent pair, of equals the lowest; -1 where none occurs twice."""
    best, most = -1, 2
    for k in range(len(keys)):
        if counts[k] < most or (best >= 0 and counts[k] == most and keys[k] > keys[best]):
            continue
        if length[keys[k] >> 32] + length[keys[k] & 0xFFFFFFFF] <= longest:
            best, most = k, counts[k]
    return best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _merge(ids: Ids, n: int, a: int, b: int, c: int, changed: NDArray[np.int64]) -> tuple[int, int]:
    """Every a, b becomes c, in place. -> how many ids there are now, how many changes of pairs' counts stand in `changed`."""
    i, j, m = 0, 0, 0
    while i < n:
        if ids[i] != a or i + 1 >= n or ids[i + 1] != b:
            ids[j] = ids[i]
            i += 1
            j += 1
            continue
        changed[m, 0], changed[m, 1] = (a << 32) | b, -1
        m += 1
        if j > 0 and ids[j - 1] >= 0:
            before = np.int64(ids[j - 1]) << 32
            changed[m, 0], changed[m, 1] = before | a, -1
            changed[m + 1, 0], changed[m + 1, 1] = before | c, 1
            m += 2
        if i + 2 < n and ids[i + 2] >= 0:
            after = np.int64(ids[i + 2])
            changed[m, 0], changed[m, 1] = (b << 32) | after, -1
            changed[m + 1, 0], changed[m + 1, 1] = (c << 32) | after, 1
            m += 2
        ids[j] = c
        i += 2
        j += 1
    return j, m


# ---- cutting ------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _build(flat: Ids, lengths: NDArray[np.int64], named: Ids, base: int) -> tuple[Ids, Ids, Ids]:
    # First a plain trie: children as lists (first child, next sister).
    most = len(flat) + 1
    child = np.full(most, -1, np.int64)
    sister = np.full(most, -1, np.int64)
    symbol = np.full(most, -1, np.int64)
    said = np.full(most, -1, np.int64)
    nodes, start = 1, 0
    for w in range(len(lengths)):
        node = 0
        for i in range(start, start + lengths[w]):
            k = child[node]
            while k >= 0 and symbol[k] != flat[i]:
                k = sister[k]
            if k < 0:
                k = nodes
                nodes += 1
                symbol[k] = flat[i]
                sister[k] = child[node]
                child[node] = k
            node = k
        said[node] = named[w]
        start += lengths[w]
    # Then each node's children go to the first place where all of them are free.
    size = nodes + 2 * base + 1
    jump = np.zeros(size, np.int32)
    owner = np.full(size, -1, np.int32)
    token = np.full(size, -1, np.int32)
    owner[0] = 0  # the root; nobody's child
    place = np.zeros(nodes, np.int64)
    queue = np.zeros(nodes, np.int64)
    head, tail, free = 0, 1, 1
    while head < tail:
        node = queue[head]
        head += 1
        if child[node] < 0:
            continue
        low = base
        k = child[node]
        while k >= 0:
            low = min(low, symbol[k])
            k = sister[k]
        while free < len(owner) and owner[free] >= 0:
            free += 1
        at = max(free - low, 0)
        while True:
            if at + base >= len(owner):
                more = len(owner)
                jump = np.concatenate((jump, np.zeros(more, np.int32)))
                owner = np.concatenate((owner, np.full(more, -1, np.int32)))
                token = np.concatenate((token, np.full(more, -1, np.int32)))
            fits = True
            k = child[node]
            while k >= 0 and fits:
                fits = owner[at + symbol[k]] < 0
                k = sister[k]
            if fits:
                break
            at += 1
        jump[place[node]] = at
        k = child[node]
        while k >= 0:
            place[k] = at + symbol[k]
            owner[place[k]] = place[node]
            token[place[k]] = said[k]
            queue[tail] = k
            tail += 1
            k = sister[k]
    return jump, owner, token


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cut(x: Ids, jump: Ids, owner: Ids, token: Ids) -> Ids:
    out = np.empty(len(x), np.int32)
    count, i, n = 0, 0, len(x)
    while i < n:
        node, k = 0, i
        best, end = np.int32(-1), i
        while k < n:
            to = jump[node] + x[k]
            if to >= len(owner) or owner[to] != node or to == 0:
                break
            node = to
            k += 1
            if token[node] >= 0:
                best, end = token[node], k
        out[count] = best
        count += 1
        i = end
    return out[:count]
