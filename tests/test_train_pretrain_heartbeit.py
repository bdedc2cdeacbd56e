"""HeartBEiT's pre-training: blocks hide exactly as many patches as asked, the losses are what numpy says, the loss falls, and
a run cut off ends with the weights of one that was not."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from data_examples import ptbxl  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from einthoven.cli import app  # noqa: E402
from einthoven.data import Choice  # noqa: E402
from einthoven.data import load as load_data  # noqa: E402
from einthoven.models.convert import contents, load, objective  # noqa: E402
from einthoven.models.image.dvae import DiscreteVAE  # noqa: E402
from einthoven.models.table import MODELS, build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.represent.images import by_form  # noqa: E402
from einthoven.train import pretrain_heartbeit as room  # noqa: E402
from einthoven.train.pretrain_heartbeit import (  # noqa: E402
    ASPECT,
    FIGURES,
    STATE,
    SUMMARY,
    TOKENIZER,
    TOKENIZER_STATE,
    Batch,
    Drawing,
    Feed,
    Indexed,
    Masking,
    PretrainRecipe,
    Source,
    Synth,
    groups,
    hide,
    new_model,
    patches,
    pretrain,
    rate,
    smaller,
)

torch.set_num_threads(1)
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class Made(Source):
    """Grey images of 32 x 32 with a black column in one of four places, all rows alike: what is hidden can be told."""

    def __init__(self, train: int = 16, held: int = 6) -> None:
        self.train, self.held = train, held

    def example(self, epoch: int, place: int) -> np.ndarray:
        picture = np.full((32, 32), 255, np.uint8)
        first = 8 * (place % 4)
        picture[:, first : first + 4] = 0
        return picture

    def kept(self, place: int) -> np.ndarray:
        return self.example(0, place)


def recipe(**changes: object) -> PretrainRecipe:
    words = {
        "model": "beit-tiny",
        "form": "heartbeit-32",
        "options": {"patch": 8, "width": 16, "depth": 2, "heads": 2},
        "masked": 6,
        "block": 2,
        "codes": 8,
        "hidden": 4,
        "batch": 8,
        "tokenizer_batch": 8,
        "epochs": 3,
        "tokenizer_epochs": 2,
        "warmup": 1,
        "device": "cpu",
        "checkpoint_every": 1,
        **changes,
    }
    return PretrainRecipe.from_dict(words)


def rows(folder: Path, name: str = FIGURES) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


# ---- masks ---------------------------------------------------------------------------------------------------------------


def beit_s_own(rng: np.random.Generator, masked: int) -> np.ndarray:
    """The masks of BEiT's paper, algorithm 1, as its code draws them: up to ten tries a block, and an end where none fits."""
    mask, count = np.zeros((14, 14), bool), 0
    while count < masked:
        for _ in range(10):
            area = 16 + (masked - count - 16) * rng.uniform()
            aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w < 14 and h < 14:
                top, left = rng.integers(0, 14 - h, endpoint=True), rng.integers(0, 14 - w, endpoint=True)
                new = h * w - mask[top : top + h, left : left + w].sum()
                if 0 < new <= masked - count:
                    mask[top : top + h, left : left + w] = True
                    count += int(new)
                    break
        else:
            break
    return mask


@pytest.mark.parametrize("masked", [75, 78])
def test_blocks_hide_exactly_as_many(masked: int) -> None:
    rng, share, areas = np.random.default_rng(0), np.zeros((14, 14)), []
    for _ in range(400):
        mask, blocks = hide(rng, (14, 14), masked, 16)
        assert mask.sum() == masked
        again = np.zeros((14, 14), bool)
        for top, left, h, w in blocks:
            assert h * w >= 16 and top >= 0 and left >= 0 and top + h <= 14 and left + w <= 14
            assert (h + 0.5) / (w - 0.5) > ASPECT and (w + 0.5) / (h - 0.5) > ASPECT  # as rounded
            again[top : top + h, left : left + w] = True
            areas.append(h * w)
        assert np.array_equal(mask, again)
        share += mask / 400
    theirs = np.mean([beit_s_own(rng, masked) for _ in range(400)], axis=0)
    assert share.mean() == pytest.approx(masked / 196) and share.min() > 0
    assert theirs.mean() <= masked / 196 and theirs.mean() > 0.97 * masked / 196
    assert abs(share - theirs).max() < 0.12 and abs(share - theirs).mean() < 0.04  # the same places, no more than by chance
    assert np.mean(areas) > 20


def test_masks_of_other_grids() -> None:
    for grid, masked, block in (((28, 28), 314, 16), ((4, 8), 13, 4), ((2, 2), 2, 1)):
        assert hide(np.random.default_rng(1), grid, masked, block).mask.sum() == masked
    for masked, block in ((197, 16), (10, 16)):
        with pytest.raises(EcgError, match="cannot be hidden"):
            hide(np.random.default_rng(1), (14, 14), masked, block)


def test_masks_follow_from_the_seed() -> None:
    feed = Feed(Made(), recipe(), (4, 4), 0, 8, 0, 1)
    assert torch.equal(feed[1].masked, feed[1].masked) and not torch.equal(feed[0].masked, feed[1].masked)
    assert not torch.equal(feed[0].masked, Feed(Made(), recipe(), (4, 4), 1, 8, 0, 1)[0].masked)
    assert feed[0].masked.sum(1).tolist() == [6] * 8 and feed[0].images.shape == (8, 1, 32, 32)
    halves = [Feed(Made(), recipe(), (4, 4), 0, 8, r, 2)[1] for r in range(2)]
    assert torch.equal(torch.cat([h.masked for h in halves]), feed[1].masked)


# ---- the losses ----------------------------------------------------------------------------------------------------------


def test_patches_stand_row_by_row() -> None:
    image = torch.arange(2 * 3 * 16 * 24.0).reshape(2, 3, 16, 24)
    found = patches(image, 8)
    assert found.shape == (2, 6, 192) and torch.equal(found[1, 4], image[1, :, 8:16, 8:16].flatten())


def test_eight_pixels_a_patch_are_the_means() -> None:
    image = torch.rand(2, 1, 32, 64)
    small = smaller(image, 16)
    assert small.shape == (2, 1, 16, 32)
    assert torch.allclose(small[0, 0, 3, 5], image[0, 0, 6:8, 10:12].mean())
    assert smaller(image, 8) is image


def batch() -> Batch:
    feed = Feed(Made(), recipe(), (4, 4), 0, 8, 0, 1)
    return feed[0]


def test_the_words_loss_is_cross_entropy_of_the_hidden() -> None:
    torch.manual_seed(0)
    tokenizer = DiscreteVAE(channels=1, codes=8, hidden=4)
    net = Masking(new_model(recipe()), by_form("heartbeit-32"), recipe(), tokenizer).eval()
    given = batch()
    found = net(given, 0.0)
    pixels = given.images.float() / 255
    seen = pixels.expand(-1, 3, -1, -1) * 2 - 1  # 0.5 and 0.5
    said = net.head(net.model, seen, given.masked).detach().double().numpy()
    words = tokenizer.words(pixels).numpy()[given.masked.numpy()]
    chance = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    assert found["loss"].item() == pytest.approx(-np.log(chance[np.arange(48), words]).mean(), rel=1e-5)
    assert float(found["accuracy"]) == pytest.approx((said.argmax(1) == words).mean())
    assert not any(p.requires_grad for p in tokenizer.parameters())
    assert not any(k.startswith("beside") for k in net.state_dict())


@pytest.mark.parametrize("normalise", [True, False])
def test_the_pixels_loss_is_of_each_hidden_patch(normalise: bool) -> None:
    torch.manual_seed(0)
    chosen = recipe(target="pixels", normalise_pixels=normalise)
    net = Masking(new_model(chosen), by_form("heartbeit-32"), chosen, None).eval()
    given = batch()
    seen = given.images.float().expand(-1, 3, -1, -1) / 255 * 2 - 1
    said = net.head(net.model, seen, given.masked).detach().numpy()
    wanted = patches(seen, 8).numpy()[given.masked.numpy()].astype(np.float64)
    if normalise:
        wanted = (wanted - wanted.mean(1, keepdims=True)) / np.sqrt(wanted.var(1, ddof=1, keepdims=True) + 1e-6)
    assert float(net(given, 0.0)["loss"]) == pytest.approx(((said - wanted) ** 2).mean(), rel=1e-4)


def test_what_is_hidden_is_not_seen() -> None:
    """Pixels of a hidden patch change nothing that is said."""
    torch.manual_seed(0)
    net = Masking(new_model(recipe()), by_form("heartbeit-32"), recipe(), DiscreteVAE(channels=1, codes=8, hidden=4)).eval()
    x, masked = torch.randn(1, 3, 32, 32), torch.zeros(1, 16, dtype=torch.bool)
    masked[0, 5] = True
    other = x.clone()
    other[:, :, 8:16, 8:16] += 3
    with torch.no_grad():
        assert torch.equal(net.head(net.model, x, masked), net.head(net.model, other, masked))
        other[:, :, 0, 0] += 3
        assert not torch.equal(net.head(net.model, x, masked), net.head(net.model, other, masked))


# ---- only what is shown --------------------------------------------------------------------------------------------------


def alone(**changes: object) -> PretrainRecipe:
    words = {"patch": [16, 8], "width": 16, "depth": 2, "heads": 2, "positions": "waves"}
    return recipe(
        **{
            **{"target": "pixels", "visible_only": True, "masking": "patches", "masked": 6, "options": words},
            **{"decoder_width": 8, "decoder_heads": 2, "decoder_depth": 1, **changes},
        }
    )


def test_the_shown_patches_alone_are_those_of_the_whole_image() -> None:
    model = new_model(alone()).eval()
    assert model.grid == (2, 4)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        every = torch.arange(8).expand(2, -1)
        torch.testing.assert_close(model.of_patches(patches(x, (16, 8)), every), model.tokens(x))
        order = torch.tensor([[3, 0, 7], [1, 2, 4]])  # attention does not ask for an order
        few = model.of_patches(patches(x, (16, 8)).gather(1, order[:, :, None].expand(-1, -1, 384)), order)
        again = model.of_patches(patches(x, (16, 8)).gather(1, order.flip(1)[:, :, None].expand(-1, -1, 384)), order.flip(1))
    assert few.shape == (2, 4, 16)
    torch.testing.assert_close(few[:, 1:], again[:, 1:].flip(1))


def test_only_what_is_shown_is_seen_and_only_what_is_hidden_is_drawn() -> None:
    chosen = alone(normalise_pixels=False, cells=[4, 2])
    net = Masking(new_model(chosen), by_form("heartbeit-32"), chosen, None).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8, generator=generator)
    masked = torch.tensor([[1, 1, 1, 0, 1, 1, 0, 1], [1, 0, 1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    said = []
    hook = net.head.say.register_forward_hook(lambda _module, _given, found: said.append(found.detach().clone()))
    loss = net(Batch(images, masked), 0.0)["loss"]
    assert said[0].shape == (12, 8)
    # By hand: the first image's patch 1 is its second hidden one; its cells are 4 x 4 pixels, from -1 to 1.
    wanted = patches(images.float() / 255 * 2 - 1, (16, 8)).reshape(2, 8, 4, 4, 2, 4).mean((3, 5)).reshape(2, 8, 8)
    torch.testing.assert_close(wanted[0, 1, 0], images[0, 0, :4, 8:12].float().mean() / 255 * 2 - 1)
    assert float(loss) == pytest.approx(float(((said[0] - wanted[masked]) ** 2).mean()), rel=1e-5)
    other = images.clone()
    other[0, 0, :16, 8:16] = 7  # hidden
    net(Batch(other, masked), 0.0)
    assert torch.equal(said[0], said[1])
    other[0, 0, 0, 24] = 255 - other[0, 0, 0, 24]  # patch 3 is shown
    net(Batch(other, masked), 0.0)
    hook.remove()
    assert not torch.equal(said[0][:6], said[2][:6]) and torch.equal(said[0][6:], said[2][6:])


def test_patches_are_hidden_alone_anywhere() -> None:
    share = np.zeros(8)
    for seed in range(400):
        mask = room.hidden(alone(), np.random.default_rng(seed), (2, 4))
        assert mask.sum() == 6
        share += mask / 400
    assert abs(share - 0.75).max() < 0.1
    with pytest.raises(EcgError, match="one is to be seen"):
        room.hidden(alone(masked=8), np.random.default_rng(0), (2, 4))
    with pytest.raises(EcgError, match="positions of their own"):
        pretrain(alone(options={**alone().options, "positions": "shared"}), Path("nowhere"), source=Made())
    with pytest.raises(EcgError, match="visible_only"):
        recipe(visible_only=True)


def test_the_loss_of_the_drawn_falls(tmp_path: Path) -> None:
    weights = pretrain(alone(epochs=60, learning_rate=3e-3), tmp_path, source=Made())
    held = [row["validation"]["loss"] for row in rows(tmp_path) if "validation" in row]
    assert held[-1] < 0.7 * held[0]
    state, name, config = contents(weights)
    assert config["patch"] == [16, 8]
    assert set(load(weights, build(name, **{**config, "outputs": 2}))) == {"head.weight", "head.bias"}
    assert {"mask", "say.weight"} <= set(objective(weights)) and not any(k.startswith("head.") for k in state)


def test_the_tokenizer_s_loss() -> None:
    torch.manual_seed(0)
    net = Drawing(DiscreteVAE(channels=1, codes=8, hidden=4), 8, recipe(usage=0.5)).train()
    found = net(batch(), 0.3)
    assert float(found["loss"]) == pytest.approx(float(found["error"] + 0.5 * found["idle"]), rel=1e-5)
    assert 0 <= float(found["idle"]) <= math.log(8)
    assert 1 <= float(net.eval()(batch(), 1.0)["perplexity"]) <= 8


def test_the_rate_rises_and_falls_as_beit_s() -> None:
    paper = PretrainRecipe()
    rates = [rate(paper, step, 10) for step in range(3000)]
    assert rates[0] == pytest.approx(1e-6) and max(rates) == rates[49] == pytest.approx(5e-4)
    assert rates[-1] == pytest.approx(1e-5) and rates[49 + 1475] == pytest.approx((5e-4 + 1e-5) / 2, rel=1e-2)
    assert all(a >= b for a, b in pairwise(rates[50:]))


def test_vectors_and_positions_have_no_weight_decay() -> None:
    net = Masking(new_model(recipe()), by_form("heartbeit-32"), recipe(), None)
    with_decay, without = groups(net, 0.05)
    names = {id(p): n for n, p in net.named_parameters()}
    free = {names[id(p)] for p in without["params"]}
    assert {"model.token", "model.bias.table", "head.mask", "model.layers.0.scale1", "model.layers.1.attention.q_bias"} <= free
    assert with_decay["weight_decay"] == 0.05 and not without["weight_decay"]
    assert "model.layers.0.attention.qkv.weight" in {names[id(p)] for p in with_decay["params"]}
    assert len(with_decay["params"]) + len(without["params"]) == len(names)


# ---- runs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["words", "pixels"])
def test_the_loss_falls(tmp_path: Path, target: str) -> None:
    chosen = recipe(
        target=target, epochs=50, learning_rate=3e-3, tokenizer_epochs=10, options={**recipe().options, "drop_path": 0.0}
    )
    weights = pretrain(chosen, tmp_path, source=Made())
    held = [row["validation"]["loss"] for row in rows(tmp_path) if "validation" in row]
    assert held[-1] < 0.8 * held[0]
    about = json.loads((tmp_path / SUMMARY).read_text())
    assert about["validation"]["loss"] == held[-1] and about["trained_on"] == 16
    assert (tmp_path / TOKENIZER).exists() == (target == "words")
    state, name, config = contents(weights)
    assert name == "beit-tiny" and config["positions"] == "relative"
    assert torch.equal(state["layers.0.bias.table"], state["layers.1.bias.table"])
    assert "mask" in objective(weights) and not any(k.startswith("head.") for k in state)


def test_the_weights_are_for_fine_tuning(tmp_path: Path) -> None:
    weights = pretrain(recipe(target="pixels"), tmp_path, source=Made())
    _, name, config = contents(weights)
    model = build(name, **{**config, "outputs": 2}).eval()
    assert set(load(weights, model)) == {"head.weight", "head.bias"}
    trained = new_model(recipe()).eval()  # as the run's own
    state = torch.load(tmp_path / STATE, weights_only=True)["net"]
    trained.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(x).head_input, trained.backbone(x).head_input)
    further = pretrain(
        recipe(target="pixels", weights=str(weights), learning_rate=1e-9, first_rate=0.0, last_rate=0.0, epochs=1),
        tmp_path / "more",
        source=Made(),
    )
    ours, before = load_file(further), load_file(weights)
    assert all(torch.allclose(ours[k], before[k], atol=1e-6) for k in before)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = (load_file(pretrain(recipe(), tmp_path / n, source=Made())) for n in "ab")
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = load_file(pretrain(recipe(seed=1), tmp_path / "c", source=Made()))
    assert any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize("where", ["tokenizer", "masking", "between"])
def test_a_run_cut_off_ends_as_one_that_was_not(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_file(pretrain(recipe(), tmp_path / "whole", source=Made()))

    class Killed(Exception):
        pass

    write, left = room.checkpoint.write, {"tokenizer": 3, "masking": 8, "between": 4}[where]

    def dying(path: Path, state: dict[str, object]) -> None:
        nonlocal left
        write(path, state)
        left -= 1
        if left == 0:
            raise Killed

    monkeypatch.setattr(room.checkpoint, "write", dying)
    with pytest.raises(Killed):
        pretrain(recipe(), tmp_path / "cut", source=Made())
    monkeypatch.setattr(room.checkpoint, "write", write)
    again = load_file(pretrain(recipe(), tmp_path / "cut", source=Made()))
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    told = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "cut")]
    assert told == [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "whole")]
    with pytest.raises(EcgError, match=r"another recipe .*learning_rate"):
        pretrain(recipe(learning_rate=1e-2), tmp_path / "cut", source=Made())


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    pretrain(recipe(), tmp_path / "a", source=Made())
    given = str(tmp_path / "a" / TOKENIZER)
    weights = load_file(pretrain(recipe(tokenizer=given), tmp_path / "b", source=Made()))
    first = load_file(tmp_path / "a" / "weights.safetensors")
    assert all(torch.equal(first[k], weights[k]) for k in first)
    assert not (tmp_path / "b" / TOKENIZER_STATE).exists()
    with pytest.raises(EcgError, match="holds beit-tiny, no tokenizer"):
        pretrain(recipe(tokenizer=str(tmp_path / "a" / "weights.safetensors")), tmp_path / "c", source=Made())


def test_what_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match=r"the loss is (nan|inf)"):
        pretrain(recipe(target="pixels", learning_rate=1e30, clip=1e30, warmup=0), tmp_path, source=Made())


def test_sources(tmp_path: Path) -> None:
    synth = Synth(PretrainRecipe(records=6))
    assert synth.example(0, 1).shape == (224, 224) and not np.array_equal(synth.example(0, 1), synth.example(1, 1))
    assert np.array_equal(synth.kept(0), synth.kept(0)) and synth.held == 2
    index = load_data(ptbxl(tmp_path / "set").path, choice=Choice(rate=500))
    chosen = PretrainRecipe(validation=0.3, leave_out_folds=(), jobs=1, form="heartbeit-64")
    found = Indexed([index], chosen, tmp_path / "images")
    assert found.train + found.held + found.left_out == len(index)
    assert {i for _, i in found.rows}.isdisjoint(i for _, i in found.rows_kept)
    both = Indexed([index], chosen, tmp_path / "images", simulated=3)
    assert (both.train, both.held) == (found.train + 3, found.held)
    alone = Synth(PretrainRecipe(form="heartbeit-64"))
    assert all(np.array_equal(both._of(len(both.shelves) - 1, i), alone.example(0, i)) for i in range(3))
    order = [found.example(0, i).tobytes() for i in range(found.train)]
    assert sorted(order) == sorted(found.example(1, i).tobytes() for i in range(found.train))


# ---- recipes and doors ---------------------------------------------------------------------------------------------------


def test_recipes() -> None:
    paper = PretrainRecipe.read(RECIPES / "pretrain-heartbeit.yaml")
    model = MODELS[paper.model]
    assert (model.parameters, paper.masked, paper.codes, paper.epochs) == (85_765_829, 78, 8192, 300)
    assert (paper.learning_rate, paper.first_rate, paper.last_rate, paper.betas, paper.clip) == (
        5e-4,
        1e-6,
        1e-5,
        (0.9, 0.999),
        3,
    )
    for name in ("pretrain-heartbeit.yaml", "pretrain-heartbeit-tiny.yaml", "pretrain-heartbeit-short.yaml"):
        read = PretrainRecipe.read(RECIPES / name)
        assert PretrainRecipe.from_dict(read.to_dict()) == read
        assert read.leave_out_folds == (9, 10)


def test_wrong_recipes_are_named(tmp_path: Path) -> None:
    for words, named in (
        ({"maskd": 3}, "maskd"),
        ({"target": "sounds"}, "target"),
        ({"epochs": 0}, "epochs"),
        ({"temperature": [0, 1]}, "temperature"),
        ({"data": []}, "data"),
        ({"betas": [0.9, 1.0]}, "betas"),
    ):
        with pytest.raises(EcgError, match=named):
            PretrainRecipe.from_dict(words)
    with pytest.raises(EcgError, match="not from resnet-152"):
        new_model(recipe(model="resnet-152", options={}))
    with pytest.raises(EcgError, match="cannot be hidden"):
        pretrain(recipe(masked=17), tmp_path, source=Made())


def test_the_command_s_smoke(tmp_path: Path) -> None:
    words = {**recipe(records=4000, precision="bf16", device="cuda", epochs=300, workers=8).to_dict(), "objective": "heartbeit"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(words))
    done = CliRunner().invoke(app, ["pretrain", str(tmp_path / "r.yaml"), "--smoke", "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert len([row for row in rows(tmp_path / "out") if "loss" in row]) == 2
    assert dataclasses.asdict(recipe())["epochs"] == 3


# ---- cells and windows ---------------------------------------------------------------------------------------------------


def test_cells_are_means_of_a_patch_s_pixels() -> None:
    words = recipe(target="pixels", cells=2, normalise_pixels=False)
    net = Masking(new_model(words), by_form(words.form), words, None)
    image = torch.rand(2, 3, 32, 32)
    found = net.drawn(image)
    assert found.shape == (2, 16, 12) and net.head.say.out_features == 12
    # Patch 5 is the second of the second row; its cells are 4 x 4 pixels.
    by_hand = image[1, :, 8:16, 8:16].reshape(3, 2, 4, 2, 4).mean((2, 4)).reshape(12)
    torch.testing.assert_close(found[1, 5], by_hand)
    with pytest.raises(EcgError, match="cells"):
        Masking(new_model(words), by_form(words.form), recipe(target="pixels", cells=9), None)


def test_windows_begin_evenly_and_end_with_the_record(tmp_path: Path) -> None:
    from einthoven.train.reproduce.material import simulated, simulated_index

    index = simulated_index(tmp_path / "index", simulated(records=6))  # 10 s each
    assert room.starts(index, 5.0, 3) == [0.0, 2.5, 5.0]
    assert room.starts(index, 5.0, 1) == [0.0] and room.starts(index, 11.0, 3) == [0.0]
    one = Indexed([index], recipe(windows=1, validation=0.3, leave_out_folds=()), tmp_path / "a")
    two = Indexed([index], recipe(windows=2, validation=0.3, leave_out_folds=()), tmp_path / "a")
    assert (two.train, two.held) == (2 * one.train, 2 * one.held)
    assert {row for _, row in two.rows} == {row for _, row in one.rows}  # a record's windows are on one side
    assert any(not np.array_equal(two._of(0, row), two._of(1, row)) for _, row in one.rows)
