"""Occlusion, waves, the picture and the command: against networks and evidence that are known. No torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from exchange_bundles import LEADS, bundle, manifest, network
from typer.testing import CliRunner

from einthoven.beats.fiducials import P_OFF, P_ON, QRS_OFF, QRS_ON, R_PEAK, T_OFF, T_ON
from einthoven.cli import app
from einthoven.exchange.predict import Predictor
from einthoven.explain import Explanation, explain, save
from einthoven.explain.explanation import heat_of, shares
from einthoven.explain.occlusion import by_lead_and_wave, occlude_patches, predictor_score
from einthoven.explain.overlay import draw, on_page, to_svg
from einthoven.explain.waves import BETWEEN, QRS, ST, WAVES, P, T, isoelectric, regions, without
from einthoven.io import write
from einthoven.paper.render import prepare
from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.synth import Simulation, simulate


@pytest.fixture(scope="module")
def sim() -> Simulation:
    return simulate("stemi_inferior", seed=3, duration=4.0)


# ---- waves --------------------------------------------------------------------------------------------------------------


def test_each_sample_is_of_the_wave_that_the_fiducials_say(sim: Simulation) -> None:
    record, beats = sim.record, sim.beats
    where = regions(beats, record.leads, record.fs, record.signal.shape[1])
    row, times = where[record.leads.index("II")], beats.lead("II")[1]
    for wave, on, off in ((P, P_ON, P_OFF), (QRS, QRS_ON, QRS_OFF), (ST, QRS_OFF, T_ON), (T, T_ON, T_OFF)):
        a, b = round(times[on] * record.fs), round(times[off] * record.fs)
        assert b - a < 3 or (row[a:b] == wave).mean() > 0.95
    assert row[round((times[P_OFF] + times[QRS_ON]) / 2 * record.fs)] == BETWEEN
    # The same stretch, seen from its second second on, at another rate.
    later = regions(beats, ("II",), 100.0, 200, start=2.0)[0]
    assert (later == row[round(2 * record.fs) :][:: round(record.fs / 100)][:200]).mean() > 0.9  # but for edges


def test_an_ecg_without_beats_lies_between() -> None:
    vf = simulate(seed=1, duration=4.0)
    from dataclasses import replace

    none = replace(
        vf.beats, times=np.empty((0, 12, 9)), overall=np.empty((0, 9)), kinds=(), confidence=np.empty(0),
        lone_p=np.empty((0, 12, 3)), lone_p_overall=np.empty((0, 3)),
    )  # fmt: skip
    assert (regions(none, STANDARD_LEADS, 500.0, 2000) == BETWEEN).all()
    level = isoelectric(vf.record, none)
    assert level[1] == pytest.approx(np.full(2000, np.median(vf.record.lead("II"))))


def test_what_is_taken_out_lies_on_the_isoelectric_line_and_the_rest_stays(sim: Simulation) -> None:
    record = sim.record
    where = regions(sim.beats, record.leads, record.fs, record.signal.shape[1])
    level = isoelectric(record, sim.beats)
    mask = (where == QRS) & (np.array(record.leads) == "V2")[:, None]
    made = without(record, mask, level)
    share = np.stack([np.convolve(row, np.ones(11) / 11, "same") for row in mask])  # edges of 20 ms fade
    assert made.signal[share > 0.999] == pytest.approx(level[share > 0.999], abs=1e-5)
    assert np.array_equal(made.signal[share < 1e-9], record.signal[share < 1e-9])
    onset = sim.beats.overall[1, QRS_ON]
    row = record.leads.index("V2")
    assert level[row, round(onset * record.fs)] == pytest.approx(
        np.median(record.signal[row, round((onset - 0.02) * record.fs) : round(onset * record.fs)]), abs=1e-4
    )


# ---- occlusion ----------------------------------------------------------------------------------------------------------


def test_effects_are_those_of_a_known_network(tmp_path: Path, sim: Simulation) -> None:
    """Logit k is 100 times the mean of lead k: without a wave it falls by 100 times what the wave adds to the mean."""
    predictor = Predictor(bundle(tmp_path / "b", model_onnx=network(gain=100.0)))
    record = sim.record
    effects = by_lead_and_wave(predictor_score(predictor, 1), record, sim.beats, LEADS)  # lead II
    assert effects.leads == LEADS and effects.cells.shape == (3, len(WAVES))
    assert np.abs(effects.cells[[0, 2]]).max() < 1e-4  # other leads have no part in it
    level = isoelectric(record, sim.beats)[record.leads.index("II")]
    whole = 100 * float((record.lead("II") - level).mean())
    assert effects.by_lead[1] == pytest.approx(whole, rel=0.01)
    assert effects.cells[1].sum() == pytest.approx(effects.by_lead[1], rel=1e-3)  # of a linear network, the parts add up
    assert effects.by_wave == pytest.approx(effects.cells[1], abs=1e-4)
    st = np.where(effects.where[1] == ST, record.lead("II") - level, 0).mean() * 100
    assert effects.cells[1, ST] == pytest.approx(st, rel=0.1) and effects.cells[1, ST] > 0  # ST elevation
    assert effects.values.sum() == pytest.approx(effects.cells.sum())
    assert np.abs(effects.heat).max() == 1


def test_where_a_model_has_no_answer_there_is_no_evidence(sim: Simulation) -> None:
    def score(records: Sequence[Record]) -> np.ndarray:
        """The peak of all leads; a model that needs V6."""
        found = [float(r.signal.max()) if np.ptp(r.lead("V6")) > 1e-6 else np.nan for r in records]
        return np.array(found)

    effects = by_lead_and_wave(score, sim.record, sim.beats)
    assert np.isnan(effects.by_lead[-1]) and np.isfinite(effects.by_lead[:-1]).all()
    assert np.isfinite(effects.values).all() and np.isfinite(effects.heat).all()


def test_patches_of_an_array() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = occlude_patches(lambda batch: batch.astype(np.float64).sum((1, 2, 3)), x, (2, 2))
    assert found.shape == (3, 4) and found.sum() == pytest.approx(x.sum())
    assert found[0, 0] == pytest.approx((x[:, :2, :2].sum()) / 4) and found[2, 3] == pytest.approx(x[:, 2, 2:].sum() / 2)


def test_an_onnx_bundle_is_explained_without_torch(tmp_path: Path, sim: Simulation) -> None:
    path = bundle(tmp_path / "b", model_onnx=network(gain=100.0)).path
    write(sim.record, tmp_path / "ecg.npz")
    code = (
        "import sys; from einthoven.cli import app; import einthoven.explain\n"
        "try: app(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'onnx'} & set(sys.modules)"
    )
    words = ["explain", str(tmp_path / "ecg.npz"), "-m", str(path), "--label", "MI", "-o", str(tmp_path / "o.png")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert "share" not in done.stderr and "QRS" in done.stdout and (tmp_path / "o.png").stat().st_size > 10_000


def test_long_records_are_explained_in_a_stretch_and_say_so(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b").path
    record = simulate(seed=5, duration=12.0).record
    made = explain(record, path, "MI", start=6.0)
    assert (made.start, made.stop) == (6.0, 10.0) and any("6 to 10 s" in w for w in made.warnings)
    assert made.probability == Predictor.load(path).predict(record).labels["MI"]
    assert explain(record, path, "MI", start=11.0).start == 8.0  # the last whole stretch
    with pytest.raises(EcgError, match="within"):
        explain(record, path, "MI", start=12.0)
    with pytest.raises(EcgError, match="no label STEMI"):
        explain(record, path, "STEMI")
    with pytest.raises(EcgError, match="no method"):
        explain(record, path, "MI", "magic")


# ---- the table and the picture ------------------------------------------------------------------------------------------


def planted(sim: Simulation, lead: str, on: float, off: float, *, per_lead: bool = True) -> Explanation:
    """Evidence for in one lead between two times, and evidence against in V6 at the same times."""
    fs, leads = 100.0, STANDARD_LEADS
    values = np.zeros((12, round(sim.record.duration * fs)))
    values[leads.index(lead), round(on * fs) : round(off * fs)] = 1.0
    values[leads.index("V6"), round(on * fs) : round(off * fs)] = -1.0
    if not per_lead:
        values = np.repeat(np.abs(values).max(0, keepdims=True), 12, axis=0)
    where = regions(sim.beats, leads, fs, values.shape[1])
    return Explanation(
        "planted", "model", "MI", leads, fs, 0.0, values, heat_of(values, fs, blur_s=1e-3), 1.0, 0.8,
        shares(values, where, leads, per_lead=per_lead), per_lead=per_lead, signed=per_lead,
    )  # fmt: skip


def test_shares_by_lead_and_wave(sim: Simulation) -> None:
    qrs = sim.beats.overall[1]
    made = planted(sim, "III", qrs[QRS_ON] + 0.02, qrs[QRS_OFF] - 0.02)
    assert made.shares.largest()[0][:2] == ("III", "QRS") and np.abs(made.shares.share).sum() == pytest.approx(1)
    assert made.shares.largest(1, -1) == [("V6", "QRS", pytest.approx(0.5))]
    assert made.shares.against == pytest.approx(0.5) and made.shares.time.sum() == pytest.approx(1)
    assert made.shares.text().splitlines()[0].split() == [*WAVES, "sum"]
    assert planted(sim, "III", 1.0, 1.2, per_lead=False).shares.leads == ("all",)


def test_the_ink_is_on_the_wave_it_belongs_to(sim: Simulation) -> None:
    """Pixels at (lead, time) of the evidence are orange, those of the same lead elsewhere and of other leads are not."""
    r = float(sim.beats.overall[1, R_PEAK])
    made = planted(sim, "II", r - 0.1, r + 0.1)
    image, page = draw(sim.record, made, layout="12x1", dpi=100)

    def colour(lead: str, at: float) -> np.ndarray:
        mv = float(np.interp(at, np.arange(sim.record.signal.shape[1]) / sim.record.fs, sim.record.lead(lead)))
        x, y = page.to_pixel(lead, at, mv)
        column, row = round(float(x)), round(float(y))
        # The paper beside the trace, under the pen.
        return image[row - 6 : row + 7, column - 2 : column + 3].reshape(-1, 3).max(0).astype(int)

    red, _, blue = colour("II", r + 0.06)
    assert red - blue > 100
    red, _, blue = colour("V6", r + 0.06)
    assert blue - red > 100
    for lead, at in (("II", r + 0.4), ("III", r + 0.06), ("V1", r + 0.06)):
        red, _, blue = colour(lead, at)
        assert abs(red - blue) < 10
    svg = to_svg(sim.record, made)
    assert svg.count("<polyline") >= 2 and svg.index('class="evidence"') < svg.index('class="trace"')
    assert to_svg(sim.record, planted(sim, "II", 1.0, 1.2, per_lead=False)).count("<rect") > 12


def test_evidence_over_pixels_comes_back_to_lead_and_time(sim: Simulation) -> None:
    page = prepare(sim.record, layout="6x2", dpi=100, size=(300, 200))
    heat = np.zeros(page.shape)
    strip = page.strip("V2", 1.5)
    x, y = page.to_pixel(strip, [1.45, 1.55], [0.2, 0.2])
    rows, columns = slice(round(float(y[0])) - 3, round(float(y[0])) + 3), slice(round(float(x[0])), round(float(x[1])) + 1)
    heat[rows, columns] = 2.0
    heat[2, 2] = 12.0  # in the margin
    values, off = on_page(heat, page, STANDARD_LEADS, 100.0, 400)
    row = STANDARD_LEADS.index("V2")
    inside = heat.sum() - 12
    assert values.sum() == pytest.approx(inside) and values[row, 143:158].sum() == pytest.approx(inside)
    assert off == pytest.approx(12 / heat.sum())


def test_files_by_suffix(tmp_path: Path, sim: Simulation) -> None:
    made = planted(sim, "II", 1.0, 1.2)
    for name in ("a.png", "a.svg", "a.json"):
        save(sim.record, made, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    said = json.loads((tmp_path / "a.json").read_text())
    assert said["label"] == "MI" and np.shape(said["evidence"]) == (12, 400) and said["shares"]["leads"] == list(STANDARD_LEADS)
    with pytest.raises(EcgError, match="png"):
        save(sim.record, made, tmp_path / "a.gif")


def test_the_command(tmp_path: Path, sim: Simulation) -> None:
    path = bundle(tmp_path / "b", manifest("NORM", "MI", "other"), model_onnx=network(gain=100.0)).path
    write(sim.record, tmp_path / "ecg.npz")
    run = CliRunner().invoke
    words = ["explain", str(tmp_path / "ecg.npz"), "--model", str(path)]
    done = run(app, [*words, "--label", "MI", "--json", "-o", str(tmp_path / "x.svg")])
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["method"] == "occlusion" and said["leads"] == list(LEADS) and (tmp_path / "x.svg").exists()
    assert "without ST" in said["facts"] and "without II" in said["facts"]
    assert run(app, [*words, "--label", "nothing"]).exit_code == 2
    assert run(app, [*words, "--method", "magic"]).exit_code == 2
    assert run(app, [*words, "-o", str(tmp_path / "x.gif")]).exit_code == 2
