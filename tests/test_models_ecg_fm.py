"""ECG-FM: counted as its authors count it, and equal to Hugging Face's wav2vec 2.0 with the same weights."""

from __future__ import annotations

import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from einthoven.models.signal.ecg_fm import WINDOW, EcgFm  # noqa: E402
from einthoven.models.table import MODELS, build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402

torch.set_num_threads(1)

TINY: dict[str, Any] = dict(MODELS["ecg-fm"].tiny)


def tiny(**options: Any) -> EcgFm:
    torch.manual_seed(0)
    model = build("ecg-fm", **{**TINY, **options}).eval()
    assert isinstance(model, EcgFm)
    return model


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        model = EcgFm(outputs=17)
    assert sum(p.numel() for p in model.encoder.parameters()) == 90_373_248  # the README's 90.9 M hold the pre-training parts
    assert sum(p.numel() for p in model.parameters()) == 90_373_248 + 17 * 769


def test_fourteen_gigamacs_for_five_seconds() -> None:
    """The 14.2 GMAC (28.34 GFLOP) of reference/mlstack.md are those of the weights; queries times keys and weights times
    values, which its count left out, are 12 layers of 2 N^2 D more. Counted by torch itself, on tensors without contents."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        EcgFm().eval()(torch.empty(1, 12, WINDOW))
    mixing = 12 * 2 * 156**2 * 768
    assert counter.get_total_flops() / 2 - mixing == pytest.approx(28.34e9 / 2, rel=0.001)
    assert counter.get_total_flops() / 2 == pytest.approx(14.62e9, rel=0.001)


def test_it_is_hugging_faces_wav2vec2() -> None:
    """The oracle of reference/mlstack.md: its first convolution takes leads, and its feature extractor no extra axis."""
    transformers = pytest.importorskip("transformers")

    ours = tiny()
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    config = transformers.Wav2Vec2Config(
        conv_dim=[8] * 4,
        conv_kernel=[2] * 4,
        conv_stride=[2] * 4,
        num_feat_extract_layers=4,
        feat_extract_norm="group",
        do_stable_layer_norm=False,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    theirs = transformers.Wav2Vec2Model(config).eval()
    extractor = theirs.feature_extractor
    extractor.conv_layers[0].conv = nn.Conv1d(12, 8, 2, 2, bias=False)

    def forward(signal: Tensor) -> Tensor:
        for layer in extractor.conv_layers:
            signal = layer(signal)
        return signal

    extractor.forward = forward
    renames = {
        r"features\.convs\.(\d)": r"feature_extractor.conv_layers.\1.conv",
        r"features\.norm": "feature_extractor.conv_layers.0.layer_norm",
        r"features_norm": "feature_projection.layer_norm",
        r"project\.": "feature_projection.projection.",
        r"position\.bias": "encoder.pos_conv_embed.conv.bias",
        r"position\.gain": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        r"position\.direction": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        r"^norm": "encoder.layer_norm",
        r"layers\.(\d)\.attention\.": r"encoder.layers.\1.attention.",
        r"layers\.(\d)\.attention_norm": r"encoder.layers.\1.layer_norm",
        r"layers\.(\d)\.ffn\.fc1": r"encoder.layers.\1.feed_forward.intermediate_dense",
        r"layers\.(\d)\.ffn\.fc2": r"encoder.layers.\1.feed_forward.output_dense",
        r"layers\.(\d)\.ffn_norm": r"encoder.layers.\1.final_layer_norm",
    }
    state = {}
    for key, value in ours.encoder.state_dict().items():
        pattern = next(p for p in renames if re.match(p, key))
        state[re.sub(pattern, renames[pattern], key, count=1)] = value
    lacking, strange = theirs.load_state_dict(state, strict=False)
    assert lacking == ["masked_spec_embed"] and not strange
    for samples in (250, 600, 1001):
        with torch.no_grad():
            signal = noise(2, 12, samples)
            assert torch.allclose(ours(signal).maps[-1].mT, theirs(signal).last_hidden_state, atol=2e-6)


@pytest.mark.parametrize(("leads", "samples", "tokens"), [(1, 600, 37), (1, 16, 1), (2, 31, 1), (12, 2500, 156), (3, 250, 15)])
def test_any_leads_and_any_length(leads: int, samples: int, tokens: int) -> None:
    out = tiny(leads=leads, outputs=2)(noise(2, leads, samples))
    assert out.logits.shape == (2, 2) and out.embedding.shape == (2, 16)
    assert [m.shape for m in out.maps] == [(2, 16, tokens)] * 2
    assert torch.allclose(out.embedding, out.maps[-1].mean(2), atol=1e-6)


def test_the_logits_of_a_long_ecg_are_the_mean_of_its_windows() -> None:
    whole, part = tiny(window=64), tiny()
    signal = noise(3, 12, 192)
    with torch.no_grad():
        single = torch.stack([part(signal[..., i : i + 64]).logits for i in (0, 64, 128)])
        out = whole(signal)
        assert torch.allclose(out.logits, single.mean(0), atol=1e-6)
        assert out.maps[-1].shape == (3, 16, 12)
        assert torch.equal(whole(signal[..., :64]).logits, part(signal[..., :64]).logits)
    for samples in (70, 15):
        with pytest.raises(EcgError, match=str(samples)):
            whole(noise(1, 12, samples))


def test_an_impossible_width_is_an_ecg_error() -> None:
    for wrong in ({"heads": 3}, {"groups": 5}, {"kernel": 7}):
        with pytest.raises(EcgError, match="ecg-fm"):
            tiny(**wrong)


def test_what_adapters_need_is_there() -> None:
    """Linear modules by name, and what is added to the stream comes out of a module of its own."""
    model = tiny()
    modules = dict(model.named_modules())
    for name in ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj", "ffn.fc1", "ffn.fc2"):
        assert isinstance(modules[f"encoder.layers.1.{name}"], nn.Linear)
    row = MODELS["ecg-fm"]
    assert [n for n in modules if re.fullmatch(row.blocks, n)] == [f"encoder.layers.{i}.ffn" for i in (0, 1)]
    assert [n for n in modules if re.fullmatch(row.attention, n)] == [f"encoder.layers.{i}.attention" for i in (0, 1)]
    silenced = [
        m.register_forward_hook(lambda _m, _i, y: 0 * y) for n, m in modules.items() if n.endswith((".attention", ".ffn"))
    ]
    with torch.no_grad():
        first, last = model(noise(1, 12, 250)).maps
        assert torch.allclose(first, last, atol=1e-4)  # nothing is added, and to normalise twice is to do it once
    for hook in silenced:
        hook.remove()


def test_dropout_is_off_for_an_answer_and_on_in_training() -> None:
    model = tiny(dropout=0.1, attention_dropout=0.1, input_dropout=0.1)
    signal = noise(1, 12, 250)
    assert torch.equal(model(signal).logits, tiny()(signal).logits)
    model.train()
    assert not torch.equal(model(signal).logits, model(signal).logits)
