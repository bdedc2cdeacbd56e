"""The experiments on language models run from the beginning to their tables, and go on where they were cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from einthoven.record import EcgError
from einthoven.train.reproduce import ecg_bench, llama_ecg


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    from einthoven.train.reproduce.material import simulated, simulated_index

    folder = tmp_path_factory.mktemp("language") / "index"
    simulated_index(folder, simulated(records=80))
    return str(folder)


def test_llama_ecg_smoke(data: str, tmp_path: Path) -> None:
    arms = ("LoRA, rank 64", "projector and cross-attention layers")
    sheet = llama_ecg.reproduce(llama_ecg.Settings(data, "smoke", arms=arms), tmp_path)
    rows = json.loads((tmp_path / "llama-ecg.json").read_text())["rows"]
    assert len(rows) == 8 and [r["paper"] for r in rows[:4]] == [0.98, 0.74, 0.11, 0.854]
    assert rows[4]["paper"] is None and rows[0]["ours"] is not None and rows[0]["ours, before"] is not None
    assert "impossible" in sheet.markdown() and "random weights" in sheet.markdown()
    # Cut off and called again: nothing is trained twice.
    kept = (tmp_path / "trials.jsonl").read_text()
    assert llama_ecg.reproduce(llama_ecg.Settings(data, "smoke", arms=arms), tmp_path).rows == sheet.rows
    assert (tmp_path / "trials.jsonl").read_text() == kept


def test_ecg_bench_smoke(data: str, tmp_path: Path) -> None:
    arms = ("signal, encoder-free, patches", "symbols, as published, rows as drawn")
    sheet = ecg_bench.reproduce(ecg_bench.Settings(data, size="smoke", arms=arms), tmp_path)
    assert [row["representation"] for row in sheet.rows] == ["signal", "symbols, as published"]
    for row in sheet.rows:
        assert row["accuracy"] is not None and row["signal gain"] is not None
        assert all(row[c] is not None for c in ("zeros", "noise", "another patient", "text only", "majority"))


def test_every_arm_is_a_recipe_at_every_size() -> None:
    from einthoven.models.language.look import REPRESENTATIONS

    for room in (llama_ecg, ecg_bench):
        for size in room.SIZES:
            for arm in room.ARMS:
                room.recipe_of(room.Settings(size=size), arm)  # type: ignore[arg-type,attr-defined]
        with pytest.raises(EcgError, match="no arm"):
            room.Settings(arms=("foo",))
    seen = {view["represent"] for arm in ecg_bench.ARMS for view in arm.views}
    assert seen == set(REPRESENTATIONS)
