"""What training will need: the counts are the model's, the arithmetic is that of the published configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from einthoven.record import EcgError
from einthoven.train.instruct.plan import plan
from einthoven.train.instruct.recipe import InstructRecipe


def test_arithmetic_of_llama_vision() -> None:
    """One conversation of 256 tokens and four tiles of 448 pixels: 15.7 TFLOP forward, 10.0 of them in the vision tower (LOG
    of the stack; counted by hand from the layers)."""
    recipe = InstructRecipe(family="mllama", processor={"size": {"height": 448, "width": 448}, "max_image_tiles": 4})
    found = plan(recipe, "H200", gpus=4)
    forward = sum(found.flops.values()) - found.flops["head, answers alone"]
    assert found.picture == 4 * 1032
    assert forward == pytest.approx(15.7, rel=0.04) and found.flops["vision"] == pytest.approx(10.0, rel=0.06)
    assert found.training == pytest.approx(3 * forward, rel=0.05)  # forward, again, and backward without gradients of weights
    assert found.trainable.trainable == 269_451_264
    # One tile of 448 pixels, the paper's: less than 60 H200 hours for 3 M conversations at 40 % of the peak.
    one = plan(recipe.with_(processor={"size": {"height": 448, "width": 448}, "max_image_tiles": 1}), "H200")
    assert one.gpu_hours < 60 and one.gpu_hours == pytest.approx(one.training * 3e6 / (989 * 0.4) / 3600)


def test_memory_by_part() -> None:
    recipe = InstructRecipe(family="mllama", batch=16)
    four, one = plan(recipe, "H100", gpus=4), plan(recipe.with_(batch=4), "H100", gpus=1)
    weights = four.memory["frozen weights (bf16)"]
    assert weights == pytest.approx(2 * 10_642_941_475 / 1e9)
    name = next(n for n in four.memory if n.startswith("AdamW"))
    assert one.memory[next(n for n in one.memory if n.startswith("AdamW"))] == pytest.approx(4 * four.memory[name])
    full = plan(recipe.with_(method="full"), "H100", gpus=4)
    assert "does NOT fit" in full.words() and "fits" in four.words() and "computed, not measured" in four.words()
    assert 1.2 < full.training / four.training < 4 / 3  # weights want gradients, too; attention has none
    frozen = plan(recipe.with_(method="projector+attention"), "H100", gpus=4)
    assert frozen.training < four.training - 1.9 * four.flops["vision"]  # no gradient reaches the tower


def test_a_model_assembled_here_and_what_is_not_on_offer() -> None:
    recipe = InstructRecipe.read(Path(__file__).parents[1] / "recipes/language-small.yaml")
    found = plan(recipe, "A100")
    assert found.trainable.trainable > 3_000_000 and found.picture == 16 and found.total_memory < 2
    with pytest.raises(EcgError, match="no GPU abacus"):
        plan(recipe, "abacus")
