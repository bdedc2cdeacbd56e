"""Each architecture against what is known of it: sizes re-derived layer by layer from the published listings, MACs from the
papers, and properties that only the right network has."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from einthoven.models.count import largest_macs, macs, parameters  # noqa: E402
from einthoven.models.signal.cardx import EXPERTS, CardX, Heads, averaged  # noqa: E402
from einthoven.models.signal.inception_time import InceptionTime, kernels  # noqa: E402
from einthoven.models.signal.patch_transformer import Attention, Layer, PatchTransformer, tape  # noqa: E402
from einthoven.models.signal.se_resnet import SEResNet  # noqa: E402
from einthoven.models.signal.xception_time import XceptionTime  # noqa: E402
from einthoven.models.signal.xresnet import BenchmarkXResNet, XResNet  # noqa: E402
from einthoven.record import EcgError  # noqa: E402

torch.set_num_threads(1)
KERNELS = (39, 19, 9)


def ecgs(count: int = 2, samples: int = 250, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 12, samples, generator=torch.Generator().manual_seed(seed))


def settled(model: nn.Module, samples: int) -> nn.Module:
    """In eval, with running statistics of some batches."""
    with torch.no_grad():
        for seed in range(5):
            model.train()(ecgs(8, samples, seed))
    return model.eval()


# ---- counting ------------------------------------------------------------------------------------------------------------


def test_macs_are_counted_as_on_paper() -> None:
    assert macs(nn.Linear(7, 5), torch.zeros(3, 7)) == 3 * 7 * 5
    assert macs(nn.Conv1d(4, 6, 5, stride=2, padding=2), torch.zeros(1, 4, 20)) == 6 * 4 * 5 * 10
    assert macs(nn.Conv1d(6, 6, 5, groups=6, padding=2), torch.zeros(1, 6, 20)) == 6 * 5 * 20  # depthwise
    n, d = 9, 8
    assert macs(Attention(d, 2, 0.0), torch.zeros(1, n, d)) == n * d * 3 * d + 2 * n * n * d + n * d * d
    shared = nn.Linear(3, 3)
    assert parameters(nn.Sequential(shared, shared)) == 12
    shared.bias.requires_grad_(False)
    assert parameters(shared, trainable=True) == 9
    training = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).train()
    macs(training, torch.zeros(1, 2))
    assert training.training


def inception_time(leads: int, outputs: int, w: int = 32) -> tuple[int, int]:
    """Parameters, and MACs a sample of the signal, of tsai's listing: six modules, shortcuts after the third and the sixth."""
    count, cost = 0, 0
    for i in range(6):
        c = leads if i == 0 else 4 * w
        convs = [(c, w, 1), *((w, w, k) for k in KERNELS), (c, w, 1)]
        count += sum(a * b * k for a, b, k in convs) + 2 * 4 * w
        cost += sum(a * b * k for a, b, k in convs)
    shortcuts = leads * 4 * w + 2 * 4 * w + 2 * 4 * w
    return count + shortcuts + 4 * w * outputs + outputs, cost + leads * 4 * w


def xception_time(leads: int, outputs: int, w: int = 16) -> tuple[int, int]:
    """The same of XceptionTime with tsai's head, without the head's MACs."""
    count, cost, c = 0, 0, leads
    for i in range(4):
        n = w * 2**i
        size = c * n + sum(n * k + n * n for k in KERNELS) + c * n
        count, cost, c = count + size, cost + size, 4 * n
    for a, b in ((leads, 8 * w), (8 * w, 32 * w)):
        count, cost = count + a * b + 2 * b, cost + a * b
    for a, b in ((32 * w, 16 * w), (16 * w, 8 * w), (8 * w, outputs)):
        count += a * b + 2 * b
    return count, cost


def test_inception_time_is_tsais() -> None:
    assert kernels(40) == list(KERNELS)
    for leads, outputs in ((12, 5), (12, 71), (8, 1)):
        assert parameters(InceptionTime(leads=leads, outputs=outputs)) == inception_time(leads, outputs)[0]
    assert inception_time(12, 5)[0] == 457_605
    assert macs(InceptionTime(), ecgs(1, 1000)) == inception_time(12, 5)[1] * 1000 + 128 * 5
    assert macs(InceptionTime(), ecgs(1, 1000)) / 1e6 == pytest.approx(455, abs=0.5)  # the paper's table says 460


def test_xception_time_is_tsais() -> None:
    for leads, outputs in ((12, 5), (12, 71), (8, 1)):
        assert parameters(XceptionTime(leads=leads, outputs=outputs, last_relu=True)) == xception_time(leads, outputs)[0]
        assert parameters(XceptionTime(leads=leads, outputs=outputs)) == xception_time(leads, outputs)[0] - outputs
    assert xception_time(12, 5)[0] == 401_370
    head = 50 * (512 * 256 + 256 * 128 + 128 * 5)
    assert macs(XceptionTime(), ecgs(1, 1000)) == xception_time(12, 5)[1] * 1000 + head
    assert macs(XceptionTime(), ecgs(1, 1000)) / 1e6 == pytest.approx(243, abs=0.5)  # the paper says 246 and 256


def test_xresnets() -> None:
    with torch.device("meta"):
        assert parameters(XResNet()) == 33_042_309
        assert parameters(XResNet(kernel=3, both=False)) == 28_281_989  # fastai's own
        benchmark = BenchmarkXResNet()
        assert parameters(benchmark) - parameters(benchmark.head) == 1_804_672
    assert macs(XResNet(), ecgs(1, 1000)) / 1e6 == pytest.approx(3667 / 2, abs=0.5)


def test_se_resnet_is_dsail_snus() -> None:
    assert parameters(SEResNet(outputs=26)) == 1_814_556
    # 16 -> 16 -> 32 -> 64 -> 128 at T, T, T/4, T/16, T/64; the paper's table says 89 M
    assert macs(SEResNet(outputs=26), ecgs(1, 1000)) / 1e6 == pytest.approx(88.3, abs=0.1)


def test_patch_transformer_size() -> None:
    d = 192
    layer = 4 * d * d + 4 * d + 2 * 4 * d * d + 5 * d + 4 * d
    assert 6 * layer + (12 * 20 * d + d) + 50 * d + 5 * d + 5 == 2_726_021 == parameters(PatchTransformer())


# ---- properties ----------------------------------------------------------------------------------------------------------


def test_the_two_logits_of_xception_time() -> None:
    """As published, no logit is below zero, so that no sigmoid is below one half; ours has both signs."""
    torch.manual_seed(0)
    published = settled(XceptionTime(width=2, last_relu=True, outputs=40), 250)(ecgs(8)).logits
    ours = settled(XceptionTime(width=2, outputs=40), 250)(ecgs(8)).logits
    assert (published >= 0).all() and (published == 0).any()
    assert (ours < 0).any() and (ours > 0).any()


def test_xception_times_head_takes_fifty_positions() -> None:
    model = XceptionTime()
    assert model.backbone(ecgs(2, 1000)).head_input.shape == (2, 512, 50)
    assert model(ecgs(2, 1000)).embedding.shape == (2, 512)
    kept = model.head.first[0].weight
    model.new_head(3)
    assert model.head.first[0].weight is kept and model.head.last.out_channels == 3


def test_depthwise_convolutions_do_not_mix_channels() -> None:
    """A change in one channel of a module's bottleneck stays in that channel until the 1x1 convolution."""
    block = XceptionTime(width=4).blocks[0]
    depthwise = block.convs[0][0]
    x = torch.zeros(1, 4, 100)
    x[0, 2, 50] = 1.0
    moved = depthwise(x)[0].abs().sum(1) > 0
    assert moved.tolist() == [False, False, True, False]


def test_a_residual_branch_of_xresnet_starts_silent() -> None:
    block = XResNet(widths=[4] * 4, depths=[2] * 4, stem=[4, 4, 8]).stages[1][1]
    x = torch.rand(2, 16, 50)
    assert torch.equal(block.train()(x), x)  # branch zero, shortcut nothing, ReLU of what is positive


def test_se_resnet_sees_constants_as_a_bias() -> None:
    """Without the five features, and with their weights added to the bias, the logits are the same."""
    torch.manual_seed(0)
    whole = settled(SEResNet(widths=[8, 8, 16, 16], depth=1, reduction=4), 250)
    bare = SEResNet(**{**whole.config, "features": []}).eval()
    state = dict(whole.state_dict())
    weight = state["head.weight"]
    state["head.weight"], extra = weight[:, :16], weight[:, 16:]
    state["head.bias"] = state["head.bias"] + extra @ torch.tensor(whole.config["features"])
    bare.load_state_dict(state)
    torch.testing.assert_close(bare(ecgs(4)).logits, whole(ecgs(4)).logits)
    assert whole(ecgs(4)).embedding.shape == (4, 16)


def test_se_resnet_shrinks_by_whole_steps() -> None:
    shapes = [tuple(m.shape[1:]) for m in SEResNet().eval()(ecgs(1, 1000)).maps]
    assert shapes == [(16, 1000), (32, 250), (64, 62), (128, 15)]


def test_own_layer_is_torchs() -> None:
    """Our pre-normalised layer = torch's, with its weights: attention, GELU, order of the normalisations."""
    torch.manual_seed(0)
    ours = Layer(16, 4, 4, 0.0).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).train()  # no fast path
    pairs = {
        "self_attn.in_proj_weight": ours.attention.qkv.weight, "self_attn.in_proj_bias": ours.attention.qkv.bias,
        "self_attn.out_proj.weight": ours.attention.out.weight, "self_attn.out_proj.bias": ours.attention.out.bias,
        "linear1.weight": ours.mlp[0].weight, "linear1.bias": ours.mlp[0].bias,
        "linear2.weight": ours.mlp[2].weight, "linear2.bias": ours.mlp[2].bias,
        "norm1.weight": ours.norm1.weight, "norm1.bias": ours.norm1.bias,
        "norm2.weight": ours.norm2.weight, "norm2.bias": ours.norm2.bias,
    }  # fmt: skip
    theirs.load_state_dict(pairs)
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(ours(x), theirs(x))


def test_tape_is_its_formula() -> None:
    n, d = 7, 6
    found = tape(n, d).numpy()
    for position in range(n):
        for i in range(d // 2):
            angle = position * 10_000 ** (-2 * i / d) * d / n
            assert found[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_transformer_refuses_what_does_not_fit() -> None:
    with pytest.raises(EcgError, match="patches of 20"):
        PatchTransformer(samples=990)
    with pytest.raises(EcgError, match="1000 samples got 500"):
        PatchTransformer()(ecgs(1, 500))


# ---- CardX ---------------------------------------------------------------------------------------------------------------


def small(**options: object) -> CardX:
    torch.manual_seed(0)
    made: CardX = settled(CardX(**{"samples": 250, "width": 2, "embedding": 16, **options}), 250)
    with torch.no_grad():  # so that ECGs part ways
        mean = made.router.convs(ecgs(64)).mean(-1)
        weight = made.router.logits.weight.normal_(0, 100)
        made.router.logits.bias.copy_(-(mean @ weight.T).mean(0))
    return made


def test_cardx_is_as_large_as_the_paper_says() -> None:
    model = CardX(outputs=2)
    assert parameters(model) / 1e6 == pytest.approx(15, abs=0.2)
    assert parameters(model.head) == 1026  # "Finetuned parameters"
    assert largest_macs(model, ecgs(1, 1000)) / 1e6 == pytest.approx(201, rel=0.01)
    assert model(ecgs(2, 1000)).embedding.shape == (2, 512)


def test_sparse_is_dense() -> None:
    model, x = small(), ecgs(24)
    best, _, _, _ = model.route(x)
    assert len({tuple(row) for row in best.tolist()}) > 2  # ECGs go different ways
    for sparse, dense in zip(model._sparse(x, best), model._all(x, best), strict=True):
        torch.testing.assert_close(sparse, dense)


def test_experts_that_are_not_chosen_do_not_run() -> None:
    model, seen = small(), []
    for e, expert in enumerate(model.experts):
        expert.register_forward_hook(lambda _, given, __, e=e: seen.append((e, len(given[0]))))
    best = model(ecgs(24)).aux["chosen"]
    assert dict(seen) == {e: int((best == e).sum()) for e in range(4) if (best == e).any()}
    seen.clear()
    model(ecgs(1))
    assert len(seen) == 2


def test_the_embedding_is_the_weighted_experts_side_by_side() -> None:
    model, x = small(), ecgs(6)
    out = model(x)
    for i in range(6):
        route = out.aux["route"][i]
        first, second = sorted(route.topk(2).indices.tolist())
        gates = 2 * route[[first, second]] / route[[first, second]].sum()
        halves = [gate * model.experts[e](x[i : i + 1])[1][0] for gate, e in zip(gates, (first, second), strict=True)]
        torch.testing.assert_close(out.embedding[i], torch.cat(halves))


def test_route_losses_are_their_formulas() -> None:
    model, x = small(), ecgs(16)
    with torch.no_grad():
        out = model(x)
    logits = model.router(x)[1].detach().double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    share = np.bincount(out.aux["chosen"].flatten().numpy(), minlength=4) / 32
    assert float(out.aux["balance_loss"]) == pytest.approx(4 * (share * p.mean(0)).sum(), rel=1e-5)
    assert float(out.aux["entropy_loss"]) == pytest.approx(1 + (p * np.log(p)).sum(1).mean() / math.log(4), abs=1e-5)
    alike = small()
    with torch.no_grad():
        alike.router.logits.weight.zero_()
        alike.router.logits.bias.zero_()
        aux = alike(x).aux
    assert float(aux["balance_loss"]) == pytest.approx(1.0) and float(aux["entropy_loss"]) == pytest.approx(0.0, abs=1e-6)


def test_the_route_is_noisy_in_training_alone() -> None:
    model, x = small(), ecgs(8)
    assert torch.equal(model.route(x)[3]["route"], model.route(x)[3]["route"])
    model.router.train()
    noisy = [model.route(x)[3]["route"] for _ in range(2)]
    assert not torch.equal(*noisy)
    model.router.eval()
    warm = model.route(x)[3]["route"].max(1).values
    model.temperature.fill_(0.5)
    cold = model.route(x)[3]["route"].max(1).values
    assert (cold > warm).all()  # a lower temperature is surer of the same order
    assert "temperature" in model.state_dict()


def test_the_router_learns_from_the_task() -> None:
    model = small()
    model(ecgs(8)).logits.square().sum().backward()
    assert model.router.logits.weight.grad.any()


def test_positions_are_averaged_by_their_share() -> None:
    assert torch.equal(averaged(6, 3), torch.tensor([[0.5, 0, 0]] * 2 + [[0, 0.5, 0]] * 2 + [[0, 0, 0.5]] * 2))
    for n, m in ((16, 20), (200, 20), (7, 3), (4, 5)):
        matrix = averaged(n, m)
        torch.testing.assert_close(matrix.sum(0), torch.ones(m))
        torch.testing.assert_close(torch.arange(n).float().mean(), (torch.arange(n).float() @ matrix).mean())
    torch.testing.assert_close(averaged(7, 3)[:, 0], torch.tensor([3 / 7, 3 / 7, 1 / 7, 0, 0, 0, 0]))


def test_experts_are_an_option() -> None:
    model = small(experts=["transformer"] * 3 + ["xresnet"], chosen=1)
    assert model(ecgs(2)).embedding.shape == (2, 16) and len(model.experts) == 4
    with pytest.raises(EcgError, match=f"no expert lstm .*{EXPERTS[0]}"):
        CardX(experts=["lstm", "xresnet"])
    with pytest.raises(EcgError, match="multiple of 50"):
        CardX(samples=990)


def test_heads_say_what_pretraining_asks() -> None:
    heads = Heads(embedding=16, leads=12, samples=250, datasets=3, features=7, width=16)
    said = heads(torch.randn(4, 16))
    assert {k: tuple(v.shape) for k, v in said.items()} == {
        "aligned": (4, 12, 250), "qtc": (4,), "dataset": (4, 3), "features": (4, 7),
    }  # fmt: skip
