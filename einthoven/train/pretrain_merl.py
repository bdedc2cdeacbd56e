"""MERL's pre-training: an ECG and its report are brought together, all others kept apart; and labels without a label,
afterwards.

    einthoven pretrain recipes/pretrain-merl.yaml --data FOLDER --output runs/merl

Liu et al., Zero-shot ECG classification with multimodal learning and test-time clinical knowledge enhancement, ICML 2024. Two
contrasts (InfoNCE, temperature 0.07): ECG and report (CMA), and two views of an ECG's embedding under two draws of dropout
(UMA). `zero_shot` gives each ECG a score for each statement: the cosine of its embedding with that of the statement's words. A
score of one ECG is a function of that ECG alone, other than in the published code, which standardises over each batch.

The text tower is a small transformer over a tokenizer learned from the reports, or an encoder of transformers by path. Reports
of fewer than four words are left out, as in the paper; so are records without one.

B ECGs, L leads, T samples, W words, D width of the common space, K statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor, nn

from einthoven.models.convert import OBJECTIVE, store
from einthoven.models.network import Network
from einthoven.models.signal.patch_transformer import Layer
from einthoven.models.table import by_name as model_by_name
from einthoven.record import EcgError
from einthoven.train.pretrain_steps import device_of, run
from einthoven.train.recipes import from_words, to_words

F32 = NDArray[np.float32]
WEIGHTS, TOKENIZER, ZERO = "weights.safetensors", "tokenizer.json", "zero-shot.json"
LEAST = 4  # words of a report


@dataclass(frozen=True)
class PretrainRecipe:
    """One run. `text`: an encoder of transformers by path; None: a small one of our own."""

    data: str = "synth"
    records: int = 1000  # synth: how many different ECGs there are
    model: str = "xresnet1d101"  # a signal model of the table
    options: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    words: int = 64  # tokens of a report at most
    width: int = 256  # of the common space
    tower: tuple[int, int, int] = (256, 4, 4)  # of our own text tower: width, layers, heads
    temperature: float = 0.07
    dropout: float = 0.1  # UMA's two views
    learning_rate: float = 1e-3
    weight_decay: float = 1e-8
    warmup: float = 0.05
    steps: int = 2000
    batch: int = 128
    held: float = 0.02  # share of the patients whose ECGs are classified without labels at the end
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: int = 500
    jobs: int = 1
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if min(self.steps, self.records, self.checkpoint_every, self.words, self.width) < 1 or self.batch < 2:
            raise EcgError("steps, records, words, width and checkpoint_every are at least 1, batch at least 2", where="recipe")
        if not self.temperature > 0 or not 0 <= self.dropout < 1 or not 0 <= self.held < 0.9:
            raise EcgError("temperature is positive, dropout and held are shares", where="recipe")
        if model_by_name(self.model).kind != "signal":
            raise EcgError(f"MERL's encoder sees signals, {self.model} pictures", where="recipe: model")

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> PretrainRecipe:
        return from_words(PretrainRecipe, words, "a pre-training recipe of merl")

    def to_dict(self) -> dict[str, Any]:
        return to_words(self)


class TextTower(nn.Module):  # type: ignore[misc]
    """Token ids (B, W), 0 is padding -> (B, width): the mean over real tokens."""

    def __init__(self, vocabulary: int, words: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.place = nn.Parameter(0.02 * torch.randn(1, words, width))
        self.heads = heads
        self.layers = nn.ModuleList([Layer(width, heads, 4, 0.1) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        real = ids != 0
        x = self.embed(ids) + self.place[:, : ids.shape[1]]
        for layer in self.layers:
            x = x + layer.drop(self._look(layer.attention, layer.norm1(x), real))
            x = x + layer.drop(layer.mlp(layer.norm2(x)))
        shown = real.to(x.dtype)[..., None]
        total: Tensor = (self.norm(x) * shown).sum(1) / shown.sum(1).clamp_min(1)
        return total

    def _look(self, attention: nn.Module, x: Tensor, real: Tensor) -> Tensor:
        """As the layer's own attention, but nobody looks at padding (an empty text looks at its first place)."""
        q, k, v = attention.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, W, D / H) each
        shown = real.clone()
        shown[:, 0] = True
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=shown[:, None, None])
        found: Tensor = attention.out(seen.transpose(1, 2).flatten(2))
        return found


class Together(nn.Module):  # type: ignore[misc]
    """An ECG encoder, a text tower, and a common space."""

    def __init__(self, model: Network, tower: TextTower, features: int, recipe: PretrainRecipe) -> None:
        super().__init__()
        self.model, self.tower, self.dropout, self.temperature = model, tower, recipe.dropout, recipe.temperature
        self.ecg = nn.Sequential(nn.Linear(features, recipe.width), nn.GELU(), nn.Linear(recipe.width, recipe.width))
        self.text = nn.Sequential(nn.Linear(tower.width, recipe.width), nn.GELU(), nn.Linear(recipe.width, recipe.width))

    def embed_ecg(self, signal: Tensor) -> Tensor:
        """(B, L, T) -> (B, F), before the common space."""
        found: Tensor = self.model.embedding(self.model.backbone(signal).head_input)
        return found

    def embed_text(self, ids: Tensor) -> Tensor:
        """(B, W) -> (B, D), length 1."""
        return F.normalize(self.text(self.tower(ids)).float(), dim=-1)

    def forward(self, signal: Tensor, ids: Tensor) -> dict[str, Tensor]:
        ecg = self.embed_ecg(signal)
        one, two = (F.normalize(self.ecg(F.dropout(ecg, self.dropout, True)).float(), dim=-1) for _ in range(2))
        both = F.normalize(self.ecg(ecg).float(), dim=-1)
        text = self.embed_text(ids)
        cross, own = contrast(both, text, self.temperature), contrast(one, two, self.temperature)
        return {"loss": cross + own, "cma": cross.detach(), "uma": own.detach()}


def contrast(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """InfoNCE of unit vectors (B, D), both ways: each finds its own among the batch."""
    logits = a @ b.T / temperature
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@torch.no_grad()  # type: ignore[untyped-decorator]
def zero_shot(net: Together, signal: F32, prompts: Tensor, batch: int = 64) -> F32:
    """(N, L, T) and prompts (K, W) -> cosines (N, K), each of one ECG and one statement alone."""
    net.eval()
    device = next(net.parameters()).device
    words = net.embed_text(prompts.to(device))
    rows = []
    for begin in range(0, len(signal), batch):
        x = torch.from_numpy(np.array(signal[begin : begin + batch], np.float32)).to(device)
        rows.append((F.normalize(net.ecg(net.embed_ecg(x)).float(), dim=-1) @ words.T).cpu())
    found: F32 = torch.cat(rows).numpy()
    return found


# ---- the run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reports:
    """ECGs (N, L, T) float32, what was reported of each, whose it is, and what is stated of it (N, K) with names."""

    signal: F32
    texts: Sequence[str]
    patients: Sequence[str]
    truth: F32
    names: Sequence[str]


def reports_of(recipe: PretrainRecipe, folder: Path) -> Reports:
    """Records with a report. Raises EcgError where fewer than a batch have one."""
    from einthoven.data import Choice, Origin, build, is_index, labels_of, load
    from einthoven.data.index import Index
    from einthoven.represent.signals import inputs
    from einthoven.train.instruct.material import simulations

    if recipe.data == "synth":
        place = folder / "index"
        index = (
            Index.open(place)
            if is_index(place)
            else build([Origin(Path("."), simulations(recipe.records, recipe.seed), Choice(fs=100.0))], place, jobs=recipe.jobs)
        )
    else:
        index = load(recipe.data, folder=folder / "index", jobs=recipe.jobs)
    labels = labels_of(index, "statement")
    told = [t or _stated(row, labels.names) for t, row in zip(index.column("text"), labels.matrix, strict=True)]
    rows = np.array([k for k, text in enumerate(told) if len(text.split()) >= LEAST], np.int64)
    if len(rows) < recipe.batch:
        raise EcgError(f"{len(rows)} records have a report of {LEAST} words: fewer than a batch of {recipe.batch}")
    failed: dict[int, str] = {}
    signal = inputs(index, model_by_name(recipe.model).preset, rows, folder / "inputs", jobs=recipe.jobs, failed=failed)
    good = ~np.isin(rows, list(failed))
    patients = index.column("patient")
    kept = rows[good]
    return Reports(
        signal if good.all() else signal[good], [told[k] for k in kept], [patients[k] for k in kept],
        labels.matrix[kept].astype(np.float32), labels.names,
    )  # fmt: skip


def _stated(row: F32, names: Sequence[str]) -> str:
    """A report of what is stated, where a set has none (simulated ECGs): the statements' words."""
    return ". ".join(_words(name) for name, value in zip(names, row, strict=True) if value == 1)


def _words(name: str) -> str:
    """A statement's words, lower case: what a prompt says."""
    from einthoven.statements import STATEMENTS

    known = next((s for s in STATEMENTS.values() if s.scp == name), STATEMENTS.get(name))
    return (known.text if known else name).lower()


def pretrain(recipe: PretrainRecipe, out: str | Path, *, reports: Reports | None = None) -> Path:
    """Trains, classifies held-out ECGs without labels (zero-shot.json), and returns the file of weights in `out`. The same call
    goes on where an earlier one was stopped. Raises EcgError."""
    import json

    from einthoven.io.files import replacing

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    reports = reports or reports_of(recipe, folder)
    people = sorted(set(reports.patients))
    drawn = np.random.default_rng([recipe.seed, 5]).permutation(len(people))[: round(recipe.held * len(people))]
    apart = {people[k] for k in drawn}
    held = np.array([p in apart for p in reports.patients])
    train = np.flatnonzero(~held)
    if len(train) < recipe.batch:
        raise EcgError(f"{len(train)} ECGs to train on are fewer than a batch of {recipe.batch}")
    coded = _coder([reports.texts[int(k)] for k in train], recipe, folder / TOKENIZER)
    ids = coded(reports.texts)
    net = make(recipe, reports.signal.shape[1:], int(ids.max()) + 1 if recipe.text else _size(folder / TOKENIZER))

    def batch_of(step: int) -> tuple[Tensor, Tensor]:
        chosen = []
        for i in range(recipe.batch):
            epoch, at = divmod(step * recipe.batch + i, len(train))
            chosen.append(int(train[np.random.default_rng([recipe.seed, 0, epoch]).permutation(len(train))[at]]))
        return torch.from_numpy(np.array(reports.signal[chosen], np.float32)), ids[chosen]

    run(net, recipe, folder, batch_of, lambda batch, draw: net(*batch))
    if held.any():
        with replacing(folder / ZERO) as draft:
            draft.write_text(json.dumps(judged(net, reports, np.flatnonzero(held), coded), indent=1), encoding="utf-8")
    model = net.model
    state = {n.removeprefix("model."): t for n, t in net.state_dict().items() if n.startswith("model.") and ".head." not in n}
    extra = {f"{OBJECTIVE}{n}": t for n, t in net.state_dict().items() if not n.startswith("model.")}
    options = {k: v for k, v in model.config.items() if k != "outputs"}
    store(
        folder / WEIGHTS,
        recipe.model,
        options,
        {**state, **extra},
        source=f"pre-trained by MERL's objective, {recipe.steps} steps",
    )
    return folder / WEIGHTS


def make(recipe: PretrainRecipe, shape: Sequence[int], vocabulary: int) -> Together:
    """The network of a recipe for ECGs (L, T)."""
    from einthoven.models.language.view import _takes_samples
    from einthoven.models.table import build

    torch.manual_seed(recipe.seed)
    given = {
        "leads": shape[0],
        "outputs": 1,
        **({"samples": shape[1]} if _takes_samples(recipe.model) else {}),
        **recipe.options,
    }
    model = build(recipe.model, **given)
    with torch.no_grad():
        features = model.eval().embedding(model.backbone(torch.zeros(2, *shape)).head_input).shape[1]
    tower: Any = _Published(recipe.text) if recipe.text else TextTower(vocabulary, recipe.words, *recipe.tower)
    made: Together = Together(model, tower, features, recipe).to(device_of(recipe))
    return made


class _Published(nn.Module):  # type: ignore[misc]
    """An encoder of transformers: the mean of its last hidden states."""

    def __init__(self, path: str) -> None:
        super().__init__()
        from transformers import AutoModel

        self.net = AutoModel.from_pretrained(path)
        self.width = int(self.net.config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).long()
        hidden = self.net(input_ids=ids, attention_mask=real).last_hidden_state
        mean: Tensor = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp_min(1)
        return mean


def _coder(texts: Sequence[str], recipe: PretrainRecipe, path: Path) -> Callable[[Sequence[str]], Tensor]:
    """Words -> ids (N, W), padded with 0."""
    from transformers import AutoTokenizer

    from einthoven.models.language.chat import OWN, new_tokenizer, wrapped

    if recipe.text:
        tokenizer = AutoTokenizer.from_pretrained(recipe.text)
    else:
        if not path.is_file():
            made = new_tokenizer([t.lower() for t in texts], 2048)
            path.write_text(made.backend_tokenizer.to_str(), encoding="utf-8")
        tokenizer = wrapped(path.read_text(encoding="utf-8"), template=OWN, bos="<s>", eos="</s>", pad="<pad>")

    def coded(some: Sequence[str]) -> Tensor:
        made = tokenizer([t.lower() for t in some], add_special_tokens=False, truncation=True, max_length=recipe.words)[
            "input_ids"
        ]
        out = torch.zeros(len(made), recipe.words, dtype=torch.long)
        for row, ids in zip(out, made, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        return out

    return coded


def _size(path: Path) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_file(str(path)).get_vocab_size())


def judged(
    net: Together, reports: Reports, rows: NDArray[np.int64], coded: Callable[[Sequence[str]], Tensor]
) -> dict[str, Any]:
    """AUROC of each statement that some of these ECGs have and some have not, without labels, and their mean."""
    from einthoven.evaluate.metrics import auroc

    scores = zero_shot(net, reports.signal[rows], coded([_words(name) for name in reports.names]))
    truth = reports.truth[rows]
    each: dict[str, float] = {}
    for k, name in enumerate(reports.names):
        known = np.isfinite(truth[:, k])
        if 0 < truth[known, k].sum() < known.sum():
            each[name] = float(auroc(truth[known, k : k + 1], scores[known, k : k + 1])[0])
    return {"records": len(rows), "macro_auroc": float(np.mean(list(each.values()))) if each else None, "auroc": each}
