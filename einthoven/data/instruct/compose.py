"""A set of samples from what a command names: an index, other samples and public sets with weights, folds, a model that
writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from einthoven.data.index import Index
from einthoven.data.instruct import facts as known
from einthoven.data.instruct.make import from_facts
from einthoven.data.instruct.readers import is_ours, read_set
from einthoven.data.instruct.sample import KINDS, Sample, read
from einthoven.data.instruct.server import Server
from einthoven.data.instruct.sets import folded, mix, ties_of
from einthoven.data.instruct.written import by_model
from einthoven.record import WrongUse

INDEX = "index"  # what the samples of the index are called among the weights


def compose(
    index: Index | None,
    *,
    weights: Mapping[str, float] = MappingProxyType({}),
    kinds: Collection[str] = KINDS,
    per_record: float = 10,
    seed: int = 0,
    translations: str | os.PathLike[str] | None = None,
    folds: int | None = None,
    server: Server | None = None,
    jobs: int = 1,
    tell: Callable[[str], None] = lambda words: None,
) -> list[Sample]:
    """Samples about an index, mixed with others, in folds.

    Args:
        weights: of files (our samples, or a public set) by path, and of INDEX; none: the index' samples alone.
        translations: a CSV of English reports (`facts.translations`).
        folds: so many by patient in place of the official ones.
        server: its model writes samples about the index, too.
        tell: is told what was made, and what was left out and why.

    Raises:
        EcgError: nothing to make samples of, a kind that is not on offer, a file that cannot be read.
    """
    if strange := sorted(set(kinds) - set(KINDS)):
        raise WrongUse(f"no kind {', '.join(strange)} (there are: {', '.join(KINDS)})")
    if index is None and (server is not None or not weights.keys() - {INDEX}):
        raise WrongUse("samples of what? Name an index" + ("" if server else ", or --mix FILE=WEIGHT"))
    parts: dict[str, list[Sample]] = {}
    if index is not None:
        english = known.translations(str(translations)) if translations else {}
        gathered = list(known.facts(index, jobs=jobs, translations=english))
        parts[INDEX] = from_facts(gathered, kinds=kinds, per_record=per_record, seed=seed)
        tell(f"{len(parts[INDEX]):,} samples of {len(index):,} ECGs by templates")
        if server is not None:
            written = by_model(server, gathered)
            parts[INDEX] += written.samples
            tell(f"{len(written.samples):,} samples by {server.model}")
            for why, count in written.failed.most_common():
                tell(f"failed: {why}: {count:,}")
    for name in weights:
        if name != INDEX:
            parts[name] = _read(Path(name), index, kinds, tell)
    whole = {INDEX: 1.0, **weights} if INDEX in parts else dict(weights)
    samples = mix(parts, whole, seed=seed) if weights else parts[INDEX]
    if folds is None:
        return samples
    split = folded(samples, folds, seed, ties={} if index is None else ties_of(index))
    if len(split) < len(samples):
        tell(f"left out: comparisons of two patients whose folds differ: {len(samples) - len(split):,}")
    return split


def _read(place: Path, index: Index | None, kinds: Collection[str], tell: Callable[[str], None]) -> list[Sample]:
    """Samples of our own, or of a public set in its own files."""
    if is_ours(place):
        return [s for s in read(place) if s.kind in kinds]
    loaded = read_set(place, index=index)
    for why, count in sorted(loaded.skipped.items()):
        tell(f"left out of {place}: {why}: {count:,}")
    return [s for s in loaded.samples if s.kind in kinds]
