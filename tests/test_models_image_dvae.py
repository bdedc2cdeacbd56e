"""The discrete VAE: DALL-E's encoder layer by layer, its words, and that it can learn to draw."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from einthoven.models.image.dvae import DALL_E, DiscreteVAE, dall_e, fitting  # noqa: E402
from einthoven.record import EcgError  # noqa: E402

torch.set_num_threads(1)


class PublishedConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5)
        self.b = nn.Parameter(0.1 * torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.w, self.b, padding=(self.w.shape[-1] - 1) // 2)


class PublishedBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.gain, narrow = 1 / layers**2, outputs // 4
        self.id_path = PublishedConv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (a, b, k) in enumerate(((inputs, narrow, 3), (narrow, narrow, 3), (narrow, narrow, 3), (narrow, outputs, 1)), 1):
            parts[f"relu_{i}"], parts[f"conv_{i}"] = nn.ReLU(), PublishedConv(a, b, k)
        self.res_path = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + self.gain * self.res_path(x)


class Published(nn.Module):
    """DALL-E's encoder with the names of its checkpoint, from its description; fed with mapped pixels."""

    def __init__(self, hidden: int, codes: int, blocks: int = 2) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(input=PublishedConv(3, hidden, 7))
        before = hidden
        for g, wide in enumerate((1, 2, 4, 8), 1):
            group: OrderedDict[str, nn.Module] = OrderedDict()
            for i in range(blocks):
                group[f"block_{i + 1}"] = PublishedBlock(before if i == 0 else wide * hidden, wide * hidden, 4 * blocks)
            if g < 4:
                group["pool"] = nn.MaxPool2d(2)
            parts[f"group_{g}"], before = nn.Sequential(group), wide * hidden
        parts["output"] = nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=PublishedConv(8 * hidden, codes, 1)))
        self.blocks = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(0.8 * x + 0.1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_dall_e_s_encoder_by_its_names(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    published, path = Published(8, 20), tmp_path / f"encoder{suffix}"
    if suffix == ".pt":
        torch.save(published.state_dict(), path)
    else:
        save_file(published.state_dict(), path)
    model = dall_e(path)
    x = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), published(x), rtol=1e-5, atol=1e-6)
        assert torch.equal(model.words(x), published(x).argmax(1).flatten(1))
    assert model.words(x).shape == (2, 4 * 6)
    assert (model.config["codes"], model.config["hidden"], model.config["drawing"]) == (20, 8, False)
    with pytest.raises(EcgError, match="no pen"):
        model.drawn(model.words(x), (4, 6))


def test_the_published_size() -> None:
    with torch.device("meta"):
        ours, theirs = DiscreteVAE(**DALL_E, drawing=False, balance=0.0), Published(256, 8192)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 53_786_240


def test_other_files_are_refused(tmp_path: Path) -> None:
    state = Published(8, 20).state_dict()
    save_file({**state, "blocks.strange": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(EcgError, match="unknown meaning"):
        dall_e(tmp_path / "a.safetensors")
    save_file({k: v for k, v in state.items() if "input" not in k}, tmp_path / "b.safetensors")
    with pytest.raises(EcgError, match="first or last layer"):
        dall_e(tmp_path / "b.safetensors")
    save_file({k: v for k, v in state.items() if "group_3.block_2" not in k}, tmp_path / "c.safetensors")
    with pytest.raises(EcgError, match="not DALL-E's encoder"):
        dall_e(tmp_path / "c.safetensors")
    torch.save(Published(8, 20), tmp_path / "encoder.pkl")  # as it is published: a whole module
    with pytest.raises(EcgError, match="could run code"):
        dall_e(tmp_path / "encoder.pkl")


def test_grey_and_colours() -> None:
    grey, colours = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(fitting(grey, 3)[:, 2], grey[:, 0]) and fitting(colours, 3) is colours
    assert torch.allclose(fitting(colours, 1)[0, 0, 1, 2], (colours[0, :, 1, 2] * torch.tensor([0.299, 0.587, 0.114])).sum())


def test_it_learns_to_draw_two_signs() -> None:
    """Patches of two kinds, one half black to the left, one to the right: drawn again from words alone."""
    generator = torch.Generator().manual_seed(1)
    kind = torch.randint(0, 2, (32, 2, 2), generator=generator)
    tile = torch.ones(2, 8, 8)
    tile[0, :, :4], tile[1, :, 4:] = 0.0, 0.0
    image = tile[kind].permute(0, 1, 3, 2, 4).reshape(32, 1, 16, 16)
    torch.manual_seed(0)
    model = DiscreteVAE(channels=1, codes=8, hidden=8, blocks=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    steps = 200
    for step in range(steps):
        drawn, _ = model(image, (1 / 16) ** (step / steps))
        loss = (drawn - image).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    words = model.eval().words(image)
    assert len(words.unique()) > 1
    assert float((model.drawn(words, (2, 2)) - image).square().mean()) < 0.25 * float(image.var())


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(EcgError, match="cannot be"):
        DiscreteVAE(hidden=6)
