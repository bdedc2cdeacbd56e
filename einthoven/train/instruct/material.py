"""ECGs and samples of a run: read, or made by templates; split by patient; and how they become units of learning."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from einthoven.data import Choice, Index, Origin, build, is_index, load
from einthoven.data.entry import Dataset, Entry, Listing
from einthoven.data.instruct.make import make
from einthoven.data.instruct.readers import read_set
from einthoven.data.instruct.sample import KINDS, Sample
from einthoven.data.instruct.sample import read as read_samples
from einthoven.data.instruct.sets import check_leaks, mix
from einthoven.models.language.elm import Elm, Said
from einthoven.models.language.speaker import Batch, Example, Speaker
from einthoven.record import EcgError, Record
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.train.instruct.store import Store, seen

Rows = NDArray[np.int64]
Log = Callable[[str], None]
PARTS = ("train", "validation", "test")
MOST = 8 << 30  # bytes of what a vision tower says that are kept
MADE = "made"  # in place of a file of samples: those that templates make of the data


@dataclass(frozen=True)
class Material:
    """ECGs of one or two indices (what is there, and what is simulated) and the samples of each part."""

    indices: tuple[Index, ...]
    parts: Mapping[str, list[Sample]]

    def records(self, part: str | None = None) -> list[str]:
        """Names of the ECGs of a part, or of all."""
        samples = [s for name in ([part] if part else PARTS) for s in self.parts[name]]
        return list(dict.fromkeys(r for s in samples for r in s.records))

    def texts(self) -> list[str]:
        """All that is said in training: what a tokenizer may be learned from."""
        return [turn.content.replace("<ecg>", "") for s in self.parts["train"] for turn in s.turns]

    def record(self, name: str) -> Record:
        """One ECG by its name."""
        for index, rows in zip(self.indices, self._rows, strict=True):
            if name in rows:
                return index.record(rows[name])
        raise EcgError("is in none of the indices", path=name)

    @property
    def _rows(self) -> list[dict[str, int]]:
        if "_places" not in self.__dict__:
            object.__setattr__(self, "_places", [{n: k for k, n in enumerate(i.column("record"))} for i in self.indices])
        places: list[dict[str, int]] = self.__dict__["_places"]
        return places

    def see(self, model: Speaker, folder: Path, jobs: int, log: Log) -> dict[str, Store]:
        """What the model's looks see of each ECG; records that cannot be seen are told, and their samples left out by the
        caller (`without`)."""
        stores: dict[str, Store] = {}
        for index, rows in zip(self.indices, self._rows, strict=True):
            mine = [name for name in self.records() if name in rows]
            if not mine:
                continue
            store = seen(index, mine, model.looks, folder, jobs=jobs)
            for name, why in store.failed.items():
                log(f"left out: {name}: {why}")
            stores |= dict.fromkeys(store, store)
        return stores

    def without(self, stores: Mapping[str, Store]) -> Material:
        """Only samples all of whose ECGs could be seen."""
        kept = {name: [s for s in part if all(r in stores for r in s.records)] for name, part in self.parts.items()}
        for name in ("train", "validation"):
            if not kept[name]:
                raise EcgError(f"no sample is left for {name}")
        return replace(self, parts=kept)


def gather(recipe: InstructRecipe, work: Path, log: Log) -> Material:
    """Data, samples and split of a recipe. Raises EcgError where a part has no sample, or a patient is on two sides."""
    jobs = recipe.jobs
    if not recipe.data:
        raise EcgError("a recipe needs data: a folder of ECGs, an Index, or a public set's folder (--data)")
    log(f"reading {recipe.data}")
    index = load(recipe.data, recipe.labels, folder=work / "index", choice=Choice(rate=recipe.rate), jobs=jobs)
    if recipe.ecgs is not None and recipe.ecgs < len(index):
        index = _fewer(index, recipe.ecgs, recipe.seed)
    samples: list[Sample] = []
    for path in (MADE,) if recipe.samples is None else recipe.samples:
        samples += _made(index, recipe, work / "samples.jsonl", log) if path == MADE else read_of(path, index, log)
    there = set(index.column("record"))
    known = [s for s in samples if all(r in there for r in s.records)]
    if len(known) < len(samples):
        log(f"left out: {len(samples) - len(known):,} samples about ECGs that are not in {recipe.data}")
    known = [s for s in known if s.records]
    if recipe.sources is not None:
        known = [s for s in known if s.source in recipe.sources]
    if recipe.kinds is not None:
        known = [s for s in known if s.kind in recipe.kinds]
    if recipe.languages is not None:
        known = [s for s in known if s.language in recipe.languages]
    folds = {"train": recipe.train_folds, "validation": recipe.validation_folds, "test": recipe.test_folds}
    parts, between = _parted(known, index, folds)
    if between:
        log(f"left out: {between:,} samples about ECGs of patients on different sides")
    indices = [index]
    if recipe.simulated:
        made, more = _simulated(recipe, work, log)
        indices.append(made)
        parts["train"] = [*parts["train"], *more]
    parts["train"] = _chosen(parts["train"], recipe)
    for name in ("train", "validation"):
        if not parts[name]:
            raise EcgError(f"no sample is left for {name}: folds {folds[name]}, sources {recipe.sources or 'all'}")
    check_leaks(parts)
    log(
        "; ".join(
            f"{name}: {len(part):,} samples of {len({r for s in part for r in s.records}):,} ECGs"
            for name, part in parts.items()
        )
    )
    return Material(tuple(indices), parts)


def _fewer(index: Index, ecgs: int, seed: int) -> Index:
    """`ecgs` rows of an index, every fold in turn."""
    folds = np.asarray(index.column("fold"))
    order = np.random.default_rng([seed, 15]).permutation(len(index))
    rank = np.zeros(len(index), np.int64)
    for fold in np.unique(folds):
        mine = order[folds[order] == fold]
        rank[mine] = np.arange(len(mine))
    return index.select(np.sort(np.lexsort((folds, rank))[:ecgs]))


def _parted(samples: Sequence[Sample], index: Index, folds: Mapping[str, Sequence[int]]) -> tuple[dict[str, list[Sample]], int]:
    """Samples by part, whose ECGs' folds decide: a public set of questions has a split of its own, which is not the ECGs'.
    -> and how many compare ECGs of different parts."""
    columns = (index.column(n) for n in ("record", "fold", "patient"))
    fold = {record: int(f) if f >= 0 else drawn_fold(patient) for record, f, patient in zip(*columns, strict=True)}
    of = {f: name for name in PARTS for f in folds[name]}
    parts: dict[str, list[Sample]] = {name: [] for name in PARTS}
    between = 0
    for s in samples:
        where = {of.get(fold[r]) for r in s.records}
        if len(where) > 1:
            between += 1
        elif (name := where.pop()) is not None:
            parts[name].append(s)
    return parts, between


def drawn_fold(patient: str) -> int:
    """One of ten by a patient's name."""
    return 1 + zlib.crc32(patient.encode()) % 10


def fold_of(sample: Sample) -> int:
    """The sample's fold, or one of ten by its patient (its first ECG where nobody says whose it is)."""
    if sample.fold is not None:
        return sample.fold
    return drawn_fold(sample.group or (sample.records[0] if sample.records else sample.id))


def read_of(path: str, index: Index, log: Log) -> list[Sample]:
    """Samples of a file of ours, or of a public set about an index' ECGs; what is left out is told."""
    place = Path(path)
    if place.suffix.lower() in (".parquet", ".jsonl"):
        return read_samples(place)
    loaded = read_set(place, index=index)
    for why, count in loaded.skipped.items():
        log(f"left out: {count:,} of {path}: {why}")
    return loaded.samples


def _made(index: Index, recipe: InstructRecipe, kept: Path, log: Log) -> list[Sample]:
    """Samples by templates, kept beside the index: measuring every ECG takes its time."""
    from einthoven.data.instruct.sample import write as write_samples

    if not kept.is_file():
        log(f"making samples of {len(index):,} ECGs")
        kinds = recipe.kinds or KINDS
        write_samples(kept, make(index, per_record=recipe.per_record, seed=recipe.seed, jobs=recipe.jobs, kinds=kinds))
    return read_samples(kept)


def _chosen(samples: list[Sample], recipe: InstructRecipe) -> list[Sample]:
    if recipe.mix:
        sets: dict[str, list[Sample]] = {}
        for s in samples:
            sets.setdefault(s.source, []).append(s)
        return mix({k: v for k, v in sets.items() if k in recipe.mix}, recipe.mix, recipe.most, recipe.seed)
    if recipe.most is not None and recipe.most < len(samples):
        chosen = np.sort(np.random.default_rng([recipe.seed, 11]).permutation(len(samples))[: recipe.most])
        return [samples[k] for k in chosen]
    return samples


# ---- simulated ECGs -----------------------------------------------------------------------------------------------------


def _simulated(recipe: InstructRecipe, work: Path, log: Log) -> tuple[Index, list[Sample]]:
    """An Index of plausible simulated patients, and samples of what is known of them."""
    place = work / "simulated"
    if is_index(place):
        index = Index.open(place)
    else:
        log(f"simulating {recipe.simulated:,} ECGs")
        index = build(
            [Origin(Path("."), simulations(recipe.simulated, recipe.seed), Choice(fs=100.0))], place, jobs=recipe.jobs
        )
    samples = _made(index, recipe, work / "simulated.jsonl", log)
    return index, [replace(s, fold=recipe.train_folds[0]) for s in samples]


_FIRST = 7_000_000  # of the simulator's seeds: none that a test or a benchmark takes


def simulations(records: int, seed: int) -> Dataset:
    """A dataset of the simulator's patients, labels as SCP statements."""

    def listed(path: Path, choice: Choice) -> Listing:
        for i in range(records):
            number = _FIRST + 1_000_000 * seed + i
            codes = tuple(f"scp:{code}" for code in _codes(number))
            yield Entry(str(number), "simulated", "simulated", patient=str(number), part=number, codes=codes)

    return Dataset("simulated", "simulated patients", lambda path: False, listed, _simulate)


def _codes(number: int) -> list[str]:
    from einthoven.synth import CONDITIONS
    from einthoven.synth import _draw_labels as draw

    labels = draw(np.random.default_rng(number))
    codes = [CONDITIONS[name].scp for name in labels if CONDITIONS[name].scp]
    normal = all(CONDITIONS[name].group == "rhythm" for name in labels) and set(codes) <= {"SR", "SARRH"}
    return [*codes, "NORM"] if normal else codes


def _simulate(entry: Entry, choice: Choice) -> Record:
    from einthoven.synth import random_simulation

    return random_simulation(np.random.default_rng(entry.part), fs=choice.fs or 100.0).record


# ---- units of learning --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """One conversation, or several about one ECG that share its rows."""

    samples: tuple[int, ...]


class Conversations:
    """The task of answering (loop.Task): every answer of every conversation is learned.

    What is said is put into tokens once; what is seen lies in stores. Frozen encoders are asked once an ECG (`ask_encoders`).
    """

    def __init__(
        self,
        model: Speaker,
        samples: Sequence[Sample],
        stores: Mapping[str, Store],
        *,
        pack: int = 1,
        seed: int = 0,
        chunk: int = 256,
    ) -> None:
        self.model, self.samples, self.stores, self.chunk = model, samples, stores, chunk
        self._said: dict[str, list[Said | None]] = {}
        self._states: dict[str, Tensor] = {}
        self.encoded = [self._encode(s) for s in samples]
        self.units = packed(samples, pack, seed)
        self.packs = pack > 1
        counts = np.array([one.learned for one in self.encoded], np.float64)
        sizes = np.array([len(one.ids) for one in self.encoded], np.int64)
        self.learned = np.array([counts[list(u.samples)].sum() for u in self.units])
        self.lengths = np.array([self._length(u, sizes) for u in self.units], np.int64)

    def _encode(self, sample: Sample) -> Any:
        if isinstance(self.model, Elm):
            made = self.model.example(sample.turns, [self.stores[r][r] for r in sample.records])
            return _Kept(np.array(made.ids, np.int32), np.array(made.labels, np.int32))
        return self.model.measure(sample.turns, len(sample.records))

    def _length(self, unit: Unit, sizes: NDArray[np.int64]) -> int:
        every = sizes[list(unit.samples)]
        if len(every) == 1 or not isinstance(self.model, Elm):
            return int(every.sum())
        first = self.encoded[unit.samples[0]].ids
        shared = int(np.flatnonzero(first == self.model.chat.place).max(initial=-1)) + 1
        return int(every.sum() - (len(every) - 1) * shared)

    def arrays(self, record: str) -> list[Any]:
        said = self._said.get(record)
        found: list[Any] = list(self.stores[record][record])
        return [f if s is None else s for f, s in zip(found, said)] if said else found

    def example(self, k: int) -> Example:
        sample, kept = self.samples[k], self.encoded[k]
        arrays = [self.arrays(r) for r in sample.records]
        if isinstance(kept, _Kept):
            return Example(kept.ids.tolist(), kept.labels.tolist(), tuple(tuple(a) for a in arrays))
        made: Example = self.model.example(sample.turns, arrays)
        if self._states and all(r in self._states for r in sample.records) and sample.records:
            states = torch.stack([self._states[r] for r in sample.records])[None]  # (1, n, tiles, V, C)
            return replace(made, seen={**made.seen, "states": states})
        return made

    def batch(self, units: Rows) -> Batch:
        groups = [[self.example(k) for k in self.units[u].samples] for u in units.tolist()]
        if self.packs and isinstance(self.model, Elm):
            return self.model.pack(groups)
        return self.model.collate([one for group in groups for one in group])

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(net, Speaker)
        found = net.loss(batch, chunk=self.chunk)
        return found.total, {}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def ask_encoders(self, device: Any, batch: int = 64) -> int:
        """What frozen encoders say of every ECG, kept: they would say the same in every epoch. -> of how many ECGs."""
        if not isinstance(self.model, Elm):
            return self._ask_tower(device, min(batch, 8))
        frozen = [v for v, view in enumerate(self.model.views) if view.frozen and hasattr(view, "encoder")]
        if not frozen:
            return 0
        self.model.to(device).eval()
        names = list(dict.fromkeys(r for s in self.samples for r in s.records))
        for begin in range(0, len(names), batch):
            some = names[begin : begin + batch]
            arrays = [self.stores[r][r] for r in some]
            said: list[list[Said | None]] = [[None] * len(self.model.views) for _ in some]
            for v in frozen:
                view = self.model.views[v]
                values = view.seen(view.tensor([a[v] for a in arrays]).to(device)).float().cpu().numpy()
                for k, value in enumerate(values):
                    said[k][v] = Said(value)
            self._said.update(zip(some, said, strict=True))
        return len(names)

    def _ask_tower(self, device: Any, batch: int) -> int:
        """As `ask_encoders`, of Llama 3.2 Vision's tower, where all that it says fits into MOST bytes."""
        if not getattr(self.model, "tower_is_still", False):
            return 0
        self.model.to(device).eval()
        names = list(dict.fromkeys(r for s in self.samples for r in s.records))
        for begin in range(0, len(names), batch):
            some = names[begin : begin + batch]
            said = self.model.tower_says([self.stores[r][r] for r in some])
            if said[0].numel() * said[0].element_size() * len(names) > MOST:
                self._states.clear()
                return 0
            self._states.update(zip(some, said, strict=True))
        return len(names)


@dataclass(frozen=True)
class _Kept:
    """Tokens of a conversation, small."""

    ids: NDArray[np.int32]
    labels: NDArray[np.int32]

    @property
    def learned(self) -> int:
        return int((self.labels[1:] != -100).sum())


def packed(samples: Sequence[Sample], pack: int, seed: int) -> list[Unit]:
    """Conversations about one and the same ECG, up to `pack` of them together; those about two ECGs, or with words of a
    system before them, alone."""
    if pack == 1:
        return [Unit((k,)) for k in range(len(samples))]
    groups: dict[tuple[str, str], list[int]] = {}
    alone: list[Unit] = []
    for k, s in enumerate(samples):
        if len(s.records) == 1 and s.turns[0].role == "user" and s.turns[0].content.startswith("<ecg>"):
            groups.setdefault((s.records[0], s.source), []).append(k)
        else:
            alone.append(Unit((k,)))
    rng = np.random.default_rng([seed, 12])
    for members in groups.values():
        order = [members[i] for i in rng.permutation(len(members))]
        alone += [Unit(tuple(order[i : i + pack])) for i in range(0, len(order), pack)]
    return alone
