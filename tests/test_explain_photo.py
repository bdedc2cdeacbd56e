"""Parts of a photo painted over: losses of a score that is known, what the shipped model's map holds, and its ways out."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.exchange.predict import loaded
from einthoven.explain.photo import Looked, look, without_parts
from einthoven.paper.save import save_page
from einthoven.record import EcgError, WrongUse
from einthoven.synth import simulate

run = CliRunner()


def test_a_part_s_loss_is_what_the_score_has_of_it() -> None:
    """A score that counts ink: a part loses the ink in it, and nothing where there is none."""
    picture = np.full((40, 60, 3), 240, np.uint8)
    picture[11:14, 23:27] = 0  # 12 dark pixels in the part of rows 10-20, columns 20-30
    picture[35, 0:5] = 0  # and 5 below on the left

    def ink(pictures: np.ndarray) -> np.ndarray:
        return (pictures[..., 0] < 128).sum((1, 2)).astype(np.float64)

    whole, values, parts = without_parts(ink, picture, parts=4)
    assert whole == 17 and parts.shape == (4, 6) and values.shape == (40, 60)
    wanted = np.zeros((4, 6))
    wanted[1, 2], wanted[3, 0] = 12, 5
    assert np.array_equal(parts, wanted)
    assert values.sum() == pytest.approx(17) and values[10:20, 20:30].sum() == pytest.approx(12)

    seen = Looked("MI", "Infarction", 0.9, whole, picture, values, parts)
    coloured = seen.overlay().astype(int) - picture
    assert (coloured <= 0).all() and np.unravel_index(np.argmin(coloured[..., 2]), (40, 60))[0] in range(8, 22)
    assert not coloured[:3, -5:].any()


def test_of_the_shipped_model_and_through_the_command(tmp_path: Path) -> None:
    save_page(simulate("stemi_anterior", rate=70, seed=3).record, tmp_path / "page.png", dpi=100)
    from einthoven.paper.entry import picture_of

    rgb, _ = picture_of(tmp_path / "page.png")
    predictor = loaded("einthoven-paper-1")
    seen = look(predictor, rgb, parts=4)
    told = predictor.predict_picture(rgb).labels
    assert seen.label == max(told, key=told.__getitem__) and seen.probability == told[seen.label]
    assert seen.values.sum() == pytest.approx(seen.parts.sum()) and np.abs(seen.parts).max() > 0
    with pytest.raises(WrongUse, match="no label STEMI"):
        look(predictor, rgb, "STEMI")
    with pytest.raises(EcgError, match="looks at no pictures"):
        look(loaded("einthoven-12"), rgb)

    done = run.invoke(app, ["explain", str(tmp_path / "page.png"), "--label", "MI", "--json", "-o", str(tmp_path / "why.png")])
    assert done.exit_code == 0, done.output
    words = json.loads(done.stdout)
    assert words["label"] == "MI" and words["model"] == "einthoven-paper-1" and len(words["parts"]) == 8
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    for wrong in (["-o", str(tmp_path / "why.svg")], ["--method", "gradcam"]):
        assert run.invoke(app, ["explain", str(tmp_path / "page.png"), *wrong]).exit_code == 2
