"""Explanations by gradients and attention: formulas, completeness over every model of the table, and where they point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from einthoven.explain import checks, fullgrad, gradients  # noqa: E402
from einthoven.explain.ecg import explain, explain_image  # noqa: E402
from einthoven.explain.evidence import evidence  # noqa: E402
from einthoven.explain.explanation import Explanation, heat_of, shares  # noqa: E402
from einthoven.explain.occlusion import score_of  # noqa: E402
from einthoven.explain.rollout import rollout  # noqa: E402
from einthoven.explain.waves import regions  # noqa: E402
from einthoven.models.signal.model import Output  # noqa: E402
from einthoven.models.table import MODELS, build  # noqa: E402
from einthoven.record import STANDARD_LEADS, EcgError  # noqa: E402
from einthoven.represent import images  # noqa: E402
from einthoven.signal.presets import Preset, Step  # noqa: E402
from einthoven.synth import Noise, Simulation, simulate  # noqa: E402

torch.set_num_threads(1)
LOGIT = gradients.label_score(1, "multilabel")


def lively(name: str) -> tuple[nn.Module, Tensor]:
    """A tiny model of the table whose biases and statistics are not their neutral first values, and an input for it."""
    torch.manual_seed(3)
    row = MODELS[name]
    signal = row.kind == "signal"
    net = build(name, outputs=3, **({"leads": 12} if signal else {"channels": 3}), **row.tiny).eval()
    for key, p in net.named_parameters():
        if key.endswith("bias") or "token" in key:
            nn.init.normal_(p, 0, 0.1)
        elif not signal and p.ndim > 1:
            nn.init.normal_(p, 0, 0.2)
    for key, b in net.named_buffers():
        if key.endswith("running_mean"):
            b.normal_(0, 0.1)
        elif key.endswith("running_var"):
            b.uniform_(0.5, 2)
    side = row.tiny_samples
    return net.requires_grad_(False), torch.randn(1, 12, side) if signal else torch.randn(1, 3, side, side)


class Linear(nn.Module):  # type: ignore[misc]
    """Logits (B, 2) that are linear in the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8, 2)

    def forward(self, x: Tensor) -> Output:
        return Output(self.fc(x.flatten(1)), x.flatten(1), (x,), {})


# ---- formulas -----------------------------------------------------------------------------------------------------------


def test_of_a_linear_network_every_method_tells_weight_times_input() -> None:
    torch.manual_seed(0)
    net, x = Linear().eval().requires_grad_(False), torch.randn(1, 3, 8)
    weight = net.fc.weight[1].view(1, 3, 8)
    assert torch.allclose(gradients.gradient(net, x, LOGIT), weight)
    assert torch.allclose(gradients.gradient_x_input(net, x, LOGIT), weight * x)
    assert torch.allclose(gradients.smoothgrad(net, x, LOGIT, samples=20), weight * x, atol=1e-6)
    made = gradients.integrated_gradients(net, x, LOGIT, steps=64)
    # The sum over middles of 3 u^2 is 1 - 1 / (4 n^2).
    assert torch.allclose(made.values.float(), weight * x, rtol=1e-4, atol=1e-5) and made.steps == 64 and made.gap < 1e-3
    parts = fullgrad.fullgrad(net, x, LOGIT)
    assert torch.allclose(parts.input, weight * x)
    assert [name for name, _ in parts.biases] == ["linear"]
    assert float(parts.biases[0][1].sum()) == pytest.approx(float(net.fc.bias[1]))


def test_scores_of_exclusive_classes_are_log_odds() -> None:
    logits = torch.randn(4, 3)
    p = logits.softmax(1)[:, 2]
    assert torch.allclose(gradients.label_score(2, "single")(logits), torch.log(p / (1 - p)), atol=1e-5)
    assert score_of(logits.numpy(), 2, "single") == pytest.approx(torch.log(p / (1 - p)).numpy(), abs=1e-5)
    assert score_of(logits.numpy(), 2, "multilabel") == pytest.approx(logits[:, 2].numpy())


@pytest.mark.parametrize("name", ["inception-time", "ecg-fm", "patch-transformer", "vit-tiny", "beit-tiny"])
def test_integrated_gradients_add_up_to_one_per_cent(name: str) -> None:
    net, x = lively(name)
    made = gradients.integrated_gradients(net, x, LOGIT)
    with torch.no_grad():
        difference = float(LOGIT(net(x).logits) - LOGIT(net(torch.zeros_like(x)).logits))
    assert float(made.values.sum()) == pytest.approx(difference, rel=0.01)


# ---- FullGrad -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [True, False], ids=["held", "moving"])
@pytest.mark.parametrize("name", [n for n, row in MODELS.items() if row.kind != "features"])  # these: by occlusion alone
def test_fullgrads_parts_sum_up_to_the_logit(name: str, hold: bool) -> None:
    net, x = lively(name)
    with torch.no_grad():
        logit = float(LOGIT(net(x).logits))
    parts = fullgrad.fullgrad(net, x, LOGIT, hold=hold)
    assert parts.score == pytest.approx(logit, abs=1e-4)
    assert parts.total == pytest.approx(logit, abs=1e-4 * (1 + abs(logit)))
    seen = fullgrad.place_map(parts)
    assert seen.shape == (x.shape[1:] if x.ndim == 3 else x.shape[2:])
    assert float(seen.sum()) == pytest.approx(parts.total, abs=1e-4)


def test_fullgrads_biases_are_those_of_the_layers() -> None:
    """Convolution, BatchNorm, ReLU, mean, Linear: each bias by its formula."""
    torch.manual_seed(1)

    class Small(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Output:
            y = self.norm(self.conv(x)).relu()
            return Output(self.fc(y.mean(-1)), y.mean(-1), (y,), {})

    net = Small().eval()
    nn.init.normal_(net.norm.weight)
    nn.init.normal_(net.norm.bias)
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    net.requires_grad_(False)
    x = torch.randn(1, 2, 10)
    scale = net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()
    gate = (net(x).maps[0] > 0).float()  # (1, 3, 8)
    slope = net.fc.weight[1].view(1, 3, 1) * gate / gate.shape[2]  # d logit / d norm's output
    wanted = {
        "conv1d": slope * scale.view(1, 3, 1) * net.conv.bias.view(1, 3, 1),
        "batch_norm": slope * (net.norm.bias - net.norm.running_mean * scale).view(1, 3, 1),
        "linear": torch.tensor([[0.0, float(net.fc.bias[1])]]),
    }
    for hold in (True, False):  # of such networks both readings are one
        parts = fullgrad.fullgrad(net, x, LOGIT, hold=hold)
        assert [name for name, _ in parts.biases] == list(wanted)
        for name, part in parts.biases:
            assert torch.allclose(part, wanted[name], atol=1e-6)


def test_layer_norm_and_positions_are_among_the_biases() -> None:
    net, x = lively("patch-transformer")
    names = [name for name, _ in fullgrad.fullgrad(net, x, LOGIT).biases]
    assert names.count("layer_norm") == 4 and "add" in names and "conv1d" in names and "linear" in names
    # Moving: the last LayerNorm, which forgets the scale, hides all that lies before it.
    moving = fullgrad.fullgrad(net, x, LOGIT, hold=False)
    before = [float(part.sum()) for _, part in moving.biases]
    last = max(i for i, (name, _) in enumerate(moving.biases) if name == "layer_norm")
    assert float(moving.input.sum()) + sum(before[:last]) == pytest.approx(0, abs=1e-3)


def test_resizing_keeps_sums() -> None:
    values = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    assert fullgrad.resized(values, 6).tolist() == pytest.approx([0.5, 0.5, 1, 1, 2, 2])
    assert fullgrad.resized(values, 2).tolist() == pytest.approx([2, 5])


# ---- GradCAM and rollout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inception-time", "patch-transformer"])
def test_gradcam_is_its_formula(name: str) -> None:
    # The head of both is linear on the mean over positions, so the weight of a channel is the head's over N.
    net, x = lively(name)
    maps = net(x).maps[-1]
    wanted = (net.head.weight[1].view(1, -1, 1) / maps.shape[2] * maps).sum(1)[0].relu()
    assert torch.allclose(gradients.gradcam(net, x, LOGIT), wanted, atol=1e-6)


def test_gradcam_is_refused_where_maps_lead_nowhere() -> None:
    net, x = lively("cardx")
    with pytest.raises(EcgError, match="another method"):
        gradients.gradcam(net, x, LOGIT)


def test_rollout_is_its_formula_on_the_models_own_attention() -> None:
    net, x = lively("vit-tiny")
    flow = torch.eye(17, dtype=torch.float64)
    for weights in net.attentions(x):
        flow = (0.5 * weights[0].mean(0).double() + 0.5 * torch.eye(17, dtype=torch.float64)) @ flow
    wanted = flow[0, 1:] / flow[0, 1:].sum()
    assert torch.allclose(rollout(net, x, first=1), wanted, atol=1e-6)
    assert evidence(net, x, LOGIT, "rollout").values.shape == (32, 32)


def test_rollout_with_a_label_knows_it() -> None:
    net, x = lively("patch-transformer")
    one, other = (rollout(net, x, gradients.label_score(k, "multilabel")) for k in (0, 1))
    assert one.shape == (10,) and float(one.sum()) == pytest.approx(1) and not torch.allclose(one, other)
    with pytest.raises(EcgError, match="transformer"):
        rollout(*lively("inception-time"))


# ---- a model that has learnt something ----------------------------------------------------------------------------------

FS, SECONDS = 100.0, 5.0


def simulated(label: str, seed: int) -> Simulation:
    return simulate(*([label] if label else []), fs=FS, duration=SECONDS, noise=Noise(muscle=0.01), seed=seed)


class Small(nn.Module):  # type: ignore[misc]
    """Two convolutions, and the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv1d(12, 16, 15, padding=7), nn.BatchNorm1d(16), nn.ReLU(),
            nn.Conv1d(16, 16, 9, padding=4), nn.BatchNorm1d(16), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Output:
        y = self.convs(x)
        return Output(self.head(y.mean(-1)), y.mean(-1), (y,), {})


@pytest.fixture(scope="module")
def learnt() -> nn.Module:
    """Tells inferior STEMI from normal, of simulated ECGs."""
    torch.manual_seed(0)
    x = [torch.from_numpy(simulated(label, seed).record.signal) for seed in range(60) for label in ("", "stemi_inferior")]
    signal, truth = torch.stack(x), torch.tensor([0.0, 1.0] * 60)
    net = Small()
    steps = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.05)
    for _ in range(80):
        rows = torch.randperm(len(signal))[:32]
        loss = functional.binary_cross_entropy_with_logits(net(signal[rows]).logits[:, 0], truth[rows])
        steps.zero_grad()
        loss.backward()
        steps.step()
    net.eval().requires_grad_(False)
    assert float(((net(signal).logits[:, 0] > 0) == (truth > 0)).float().mean()) > 0.95
    return net


def seen(net: nn.Module, sim: Simulation, method: str) -> Explanation:
    x = torch.from_numpy(sim.record.signal[None])
    made = evidence(net, x, gradients.label_score(0, "multilabel"), method)
    where = regions(sim.beats, STANDARD_LEADS, FS, x.shape[2])
    return Explanation(
        method, "small", "STEMI", STANDARD_LEADS, FS, 0.0, made.values, heat_of(made.values, FS), 0.0, 0.0,
        shares(made.values, where, STANDARD_LEADS, per_lead=made.per_lead), per_lead=made.per_lead, signed=made.signed,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["integrated-gradients", "gradient-x-input", "smoothgrad", "fullgrad", "gradcam"])
def test_pointing_game(learnt: nn.Module, method: str) -> None:
    """On ECGs that it never saw, the strongest place is in ST or T of II, III, aVF at least four times as often as chance has
    it (GradCAM, to which all leads are one: in ST or T, one and a half times), and on two ECGs in ten more than with shuffled
    weights: ST and T stand out in a STEMI for a network that knows nothing, too."""
    hits, shuffled, by_chance = [], [], []
    for seed in range(1000, 1016):
        sim = simulated("stemi_inferior", seed)
        made = seen(learnt, sim, method)
        right = checks.truth(made, sim.beats, ("II", "III", "aVF"), ("ST", "T"))
        hits.append(checks.points(made, right))
        shuffled.append(checks.points(seen(checks.randomised(learnt, seed), sim, method), right))
        by_chance.append(checks.chance(right))
    assert np.mean(hits) >= np.mean(shuffled) + 0.2
    if method == "gradcam":
        assert 0.2 < np.mean(by_chance) < 0.5 and np.mean(hits) >= 1.5 * np.mean(by_chance)
    else:
        assert np.mean(by_chance) < 0.15 and np.mean(hits) >= 4 * np.mean(by_chance)


@pytest.mark.parametrize(
    "method", ["integrated-gradients", "gradient", "gradient-x-input", "smoothgrad", "fullgrad", "gradcam"]
)
def test_what_was_learnt_makes_the_map(learnt: nn.Module, method: str) -> None:
    """Randomised weights: the evidence is another (mean rank correlation over networks and ECGs below 0.3)."""
    found = []
    for seed in (1001, 1002):
        sim = simulated("stemi_inferior", seed)
        own = seen(learnt, sim, method).values
        assert checks.similarity(own, own) == pytest.approx(1)
        found += [checks.similarity(own, seen(checks.randomised(learnt, k), sim, method).values) for k in range(4)]
    assert np.mean(found) < 0.3


# ---- images -------------------------------------------------------------------------------------------------------------


class Ink(nn.Module):  # type: ignore[misc]
    """The logit is the ink in one box of the picture."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.box = (..., rows, columns)

    def forward(self, x: Tensor) -> Output:
        ink = (1 - x[self.box]).flatten(1).sum(1, keepdim=True)
        return Output(ink, ink, (x,), {})


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_evidence_on_pixels_comes_back_to_its_lead_and_time(method: str) -> None:
    """The network looks at V2 (row 4 of 8) from 2 s to 3 s; so says the map, whose sum is the ink."""
    sim = simulate(seed=4)
    form = images.by_form("heartbeit")
    net = Ink(slice(84, 112), slice(90, 134))  # 28 pixels a lead, 44.8 a second
    made, pictured = explain_image(sim.record, net, form, 0, method, beats=sim.beats)
    assert pictured.picture.shape == (224, 224)
    row = made.leads.index("V2")
    assert made.leads == form_leads(form)
    if method == "occlusion":
        # Neighbours' waves that run into the row are seen there, too; a beat is not moved by others.
        assert made.values[row].any() and not made.values[made.leads.index("V6")].any()
        return
    inside = made.values[row, round(1.99 * made.fs) : round(3.01 * made.fs)].sum()
    assert inside == pytest.approx(made.facts["difference to nothing"], rel=0.02)
    assert np.abs(made.values).sum() == pytest.approx(inside, rel=0.02)
    assert made.facts["off all leads"] == pytest.approx(0, abs=1e-6)
    assert float(made.shares.share[row].sum()) == pytest.approx(1, abs=0.02)


def form_leads(form: images.ImageForm) -> tuple[str, ...]:
    return tuple(s.lead for s in images.draw(form, simulate(seed=4).record)[1].strips)


# ---- Bundles ------------------------------------------------------------------------------------------------------------


def test_a_bundle_is_explained_by_its_own_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from exchange_bundles import manifest
    from safetensors.torch import save

    from einthoven.exchange.bundle import write_bundle
    from einthoven.exchange.onnx_out import export

    net, _ = lively("patch-transformer")
    steps = (Step("resample", {"to": 50.0}), Step("fit", {"length": 250, "fill": 0.0}))
    preset = Preset("test", steps, leads=STANDARD_LEADS, fs=50.0, length=250).to_dict()
    said = manifest(
        inputs=[{"kind": "signal", "preset": preset}],
        architecture={"model": "patch-transformer", "config": net.config},
        task="single",
        activation="softmax",
    )
    onnx = export(net, tmp_path / "model.onnx", 250, manifest=said)
    files = {"model.onnx": onnx, "weights.safetensors": save(net.state_dict())}
    path = write_bundle(tmp_path / "bundle", said, files).path
    record = simulate("stemi_inferior", seed=1, duration=12.0).record
    for method in ("integrated-gradients", "fullgrad", "rollout"):
        made = explain(record, path, "MI", method, start=4.0)
        assert made.start == 4.0 or made.start == pytest.approx(12 - 5)
        assert made.values.shape == (12, 250) and made.leads == STANDARD_LEADS
    assert made.shares.share.sum() == pytest.approx(1) and made.shares.against == 0  # of rollout
    made = explain(record, path, "MI", "fullgrad")
    assert made.values.sum() == pytest.approx(made.score, abs=1e-3)
    # Other weights than the ONNX file's are noticed.
    state = net.state_dict()
    state["head.bias"] = state["head.bias"] + 1
    other = write_bundle(tmp_path / "other", said, {**files, "weights.safetensors": save(state)}).path
    with pytest.raises(EcgError, match="not the same network"):
        explain(record, other, "MI", "fullgrad")
