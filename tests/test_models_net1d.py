"""ECGFounder's Net1D: sizes as published. Its outputs are compared with an independent forward in test_models_convert.py."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from einthoven.models.signal.net1d import BLOCKS, FILTERS, Net1D  # noqa: E402
from einthoven.record import EcgError  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("leads", [1, 12])
def test_as_many_parameters_as_its_code(leads: int) -> None:
    """net1d.py with these filters and 150 labels has 30,819,014 with 12 leads; less its batch norms, which it never runs."""
    with torch.device("meta"):
        model = Net1D(leads=leads, outputs=150)
    stages = [(a, b, count) for a, b, count in zip((64, *FILTERS), FILTERS, BLOCKS, strict=False)]
    norms = 2 * 64 + sum(2 * (a + b + b) + (count - 1) * 2 * 3 * b for a, b, count in stages)
    assert norms == 66_368
    assert sum(p.numel() for p in model.parameters()) == 30_819_014 - norms - (12 - leads) * 64 * 16


def test_seven_stages_halve_the_time() -> None:
    with torch.device("meta"):
        out = Net1D(outputs=150)(torch.empty(2, 12, 5000))
    assert out.logits.shape == (2, 150) and out.embedding.shape == (2, 1024)
    assert [tuple(m.shape[1:]) for m in out.maps] == list(zip(FILTERS, (1250, 625, 313, 157, 79, 40, 20), strict=True))


def test_a_giga_and_a_sixth_of_macs() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Net1D(outputs=150)(torch.empty(1, 12, 5000))
    assert counter.get_total_flops() / 2 == pytest.approx(1.169e9, rel=0.001)


@pytest.mark.parametrize("samples", [1, 2, 5, 250, 251])
def test_any_length(samples: int) -> None:
    model = Net1D(leads=2, outputs=3, width=8, filters=(8, 16), blocks=(1, 2), kernel=4, group=4)
    assert model(torch.zeros(1, 2, samples)).logits.shape == (1, 3)


def test_onnxruntime_keeps_the_zero_at_the_end_of_an_odd_length(tmp_path: Path) -> None:
    """Padding before a maximum is fused to -infinity there; `export` compares and would say so."""
    pytest.importorskip("onnx")
    from einthoven.exchange.onnx_out import export

    torch.manual_seed(0)
    model = Net1D(leads=2, outputs=3, width=8, filters=(8, 16), blocks=(1, 1), kernel=4, group=4).eval()
    export(model, tmp_path / "net1d.onnx", samples=101, leads=2)


@pytest.mark.parametrize(
    "wrong", [{"blocks": (1,)}, {"filters": ()}, {"filters": (8, 18)}, {"filters": (16, 8)}, {"width": 64}, {"blocks": (0, 1)}]
)
def test_an_impossible_shape_is_an_ecg_error(wrong: dict[str, object]) -> None:
    options = {"width": 8, "filters": (8, 16), "blocks": (1, 2), "kernel": 4, "group": 4, **wrong}
    with pytest.raises(EcgError, match="net1d"):
        Net1D(**options)
