"""Each preset against a few lines of scipy (and PyWavelets) that do what the paper or its code says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.ndimage import median_filter
from scipy.signal import butter, filtfilt, iirnotch, medfilt, sosfiltfilt
from scipy.signal import resample as fourier

from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.signal.presets import PRESETS, STEPS, Preset, Step, apply, by_name, ecg_fm_global, prepared
from einthoven.signal.wavelet import analyse, denoise, synthesise
from einthoven.synth import simulate

INNER = slice(600, -600)  # filters differ in how they begin and end: compared is what lies between


def settling(hz: float) -> int:
    """Where a high-pass must be continued as far as it is here, because it remembers longer than the record."""
    return min(round(500 / hz) + 6, 4999)


@pytest.fixture(scope="module")
def record() -> Record:
    return simulate(rate=71, noise=15.0, seed=4).record


def x64(record: Record, leads: tuple[str, ...] = STANDARD_LEADS) -> np.ndarray:
    return record.pick(leads).signal.astype(np.float64)


def test_none_changes_nothing(record: Record) -> None:
    assert np.array_equal(apply("none", record), record.signal)


def test_diagnostic_and_monitor_are_their_bands(record: Record) -> None:
    for name, low, high in (("diagnostic", 0.05, 150), ("monitor", 0.5, 40)):
        truth = sosfiltfilt(butter(1, low, "high", fs=500, output="sos"), x64(record), axis=1, padlen=settling(low))
        truth = sosfiltfilt(butter(2, high, "low", fs=500, output="sos"), truth, axis=1, padlen=4999)
        assert apply(name, record)[:, INNER] == pytest.approx(truth[:, INNER], abs=1e-5)


def test_heartbeit_is_butterworth_then_median_on_eight_leads_of_five_seconds(record: Record) -> None:
    x = x64(record, ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))[:, :2500]
    band = sosfiltfilt(butter(4, [0.5, 40], "bandpass", fs=500, output="sos"), x, axis=1, padlen=1024)
    got = apply("heartbeit", record)
    assert got.shape == (8, 2500)
    assert got == pytest.approx(np.stack([medfilt(row, 3) for row in band]), abs=1e-5)
    base = median_filter(median_filter(band, (1, 101)), (1, 301))
    assert apply("heartbeit-baseline", record) == pytest.approx(band - base, abs=1e-5)


def test_cardx_is_the_papers_sentence(record: Record) -> None:
    x = fourier(x64(record), 1000, axis=1)
    x = x - median_filter(x, (1, 21), mode="reflect")
    low, high = np.quantile(x, 0.01, axis=1, keepdims=True), np.quantile(x, 0.99, axis=1, keepdims=True)
    assert apply("cardx", record) == pytest.approx(np.clip(x, low, high), abs=1e-5)


def test_exchangeai_is_what_its_code_does(record: Record) -> None:
    x = fourier(x64(record), 1000, axis=1)
    low, high = np.percentile(x, 1, axis=1, keepdims=True), np.percentile(x, 99, axis=1, keepdims=True)
    x = np.clip(x, low - 1.5 * (high - low), high + 1.5 * (high - low))
    x = x - np.stack([median_filter(row, 2 * 100 + 1, mode="reflect") for row in x])
    assert apply("exchangeai", record) == pytest.approx(x, abs=1e-5)
    scaled = 2 * (x - x.min()) / (x.max() - x.min()) - 1
    assert apply("exchangeai-minmax", record) == pytest.approx(scaled, abs=1e-5)


def test_short_records_are_filled_and_long_ones_cut(record: Record) -> None:
    short = replace(record, signal=record.signal[:, :2000])
    got = apply("exchangeai", short)
    assert got.shape == (12, 1000) and not got[:, 400:].any() and got[:, :400].any()
    assert apply("ecg-fm", short).shape == (12, 2500)
    assert np.isnan(apply("heartbeit", short)[:, 2000:]).all()


def test_dsail_is_min_max_and_forgets_the_voltage(record: Record) -> None:
    x = record.signal
    assert apply("dsail", record) == pytest.approx(2 * (x - x.min()) / (x.max() - x.min()) - 1, abs=1e-6)
    tenfold = replace(record, signal=10 * record.signal)
    assert apply("dsail", tenfold) == pytest.approx(apply("dsail", record), abs=1e-5)


def test_ecg_fm_z_scores(record: Record) -> None:
    whole = x64(record)
    z = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)  # as the code does: whole recording, then 5 s
    assert apply("ecg-fm", record) == pytest.approx(z[:, :2500], abs=1e-4)
    assert apply("ecg-fm-10s", record) == pytest.approx(z, abs=1e-4)
    flat = replace(record, signal=np.concatenate([record.signal[:11], np.full((1, 5000), 0.3, np.float32)]))
    assert not apply("ecg-fm", flat)[11].any()
    x = whole[:, :2500]
    assert apply("ecg-fm-record", record) == pytest.approx((x - x.mean()) / np.sqrt(x.var() + 1e-5), abs=1e-4)
    by_lead = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    assert apply("ecg-fm-lead", record) == pytest.approx(by_lead, abs=1e-3)
    assert apply(ecg_fm_global(0.01, 0.25), record) == pytest.approx((x - 0.01) / 0.25, abs=1e-5)


def test_ecg_founder_is_what_its_code_does(record: Record) -> None:
    for name, leads in (("ecg-founder", STANDARD_LEADS), ("ecg-founder-1", ("I",))):
        x = filtfilt(*iirnotch(50, 30, fs=500), x64(record, leads), axis=1, padlen=1024)
        x = filtfilt(*butter(4, [0.67, 40], "bandpass", fs=500), x, axis=1, padlen=1024)
        x = x - np.stack([medfilt(row, 201) for row in x])
        got = apply(name, record)
        z = (x - x.mean()) / x.std()
        assert got.shape == (len(leads), 5000)
        assert got[:, INNER] == pytest.approx(z[:, INNER], abs=0.01)  # how the filters begin moves mean and scale a little


def test_ecg_bench_is_its_four_filters_and_its_cubic_grid(record: Record) -> None:
    pywt = pytest.importorskip("pywt")
    order = ("I", "II", "III", "aVL", "aVR", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    x = x64(record, order)

    def grid(y: np.ndarray) -> np.ndarray:
        n = y.shape[1]
        return interp1d(np.linspace(0, 10, n), y, kind="cubic", axis=1)(np.linspace(0, 10, n // 2))[:, :1250]

    assert apply("ecg-bench-head", record) == pytest.approx(grid(x), abs=1e-5)
    for hz in (50, 60):
        x = filtfilt(*iirnotch(hz, 30, fs=500), x, axis=1)
    x = sosfiltfilt(butter(4, [0.5, 100], "bandpass", fs=500, output="sos"), x, axis=1, padlen=1024)
    x = sosfiltfilt(butter(4, 0.05, "high", fs=500, output="sos"), x, axis=1, padlen=4999)
    rows = []
    for row in x:
        bands = pywt.wavedec(row, "db6", level=4)
        limit = np.median(np.abs(bands[1])) / 0.6745
        rows.append(pywt.waverec([bands[0], *(pywt.threshold(d, limit, "soft") for d in bands[1:])], "db6")[: row.size])
    got, truth = apply("ecg-bench", record), grid(np.stack(rows))
    assert got.shape == (12, 1250)
    assert np.abs(got - truth)[:, 300:].max() < 2e-3  # the notch begins differently, and the wavelet's threshold with it


def test_the_wavelet_is_pywavelets_db6() -> None:
    pywt = pytest.importorskip("pywt")
    for n in (17, 100, 5000, 5001):
        x = np.random.default_rng(n).standard_normal((2, n)).cumsum(1)
        for mine, theirs in zip(analyse(x), pywt.dwt(x, "db6", mode="symmetric", axis=1), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-9)
        assert synthesise(*analyse(x))[:, :n] == pytest.approx(x, abs=1e-9)
        assert denoise(x, 0) == pytest.approx(x)


def test_wavelet_denoising_takes_noise_not_beats() -> None:
    sim = simulate(seed=5)
    rng = np.random.default_rng(0)
    noisy = sim.clean.astype(np.float64) + 0.03 * rng.standard_normal(sim.clean.shape)
    assert np.std(denoise(noisy) - sim.clean) < 0.7 * 0.03


def test_presets_survive_a_manifest(record: Record) -> None:
    for preset in (*PRESETS.values(), ecg_fm_global(0.0, 0.2)):
        words = json.dumps(preset.to_dict(), allow_nan=False)
        assert Preset.from_dict(json.loads(words)) == preset
        assert preset.fs is None or apply(preset, record).shape[1] == preset.length


@pytest.mark.parametrize(
    "fault",
    [
        {"steps": [{"name": "os.system"}]},
        {"steps": [{"name": "bandpass", "low": 0.5}]},
        {"steps": [{"name": "bandpass", "low": 0.5, "high": "40", "order": 4}]},
        {"steps": [{"name": "notch", "hz": 50.0, "q": 30.0, "more": 1}]},
        {"steps": [{"name": "notch", "hz": True, "q": 30.0}]},
        {"steps": 3},
        {"steps": ["notch"]},
        {"leads": 7},
        {"fs": "fast"},
    ],
)
def test_a_manifest_that_is_not_one_is_refused(fault: dict[str, object]) -> None:
    words = PRESETS["none"].to_dict() | fault
    with pytest.raises(EcgError):
        Preset.from_dict(words)
    with pytest.raises(EcgError):
        Preset.from_dict({k: v for k, v in words.items() if k != "fs"})


@pytest.mark.parametrize(
    "step",
    [
        Step("fit", {"length": 10**12, "fill": 0.0}),
        Step("median_smooth", {"samples": 10**9}),
        Step("wavelet_denoise", {"levels": 10**6}),
        Step("bandpass", {"low": 0.5, "high": 40.0, "order": 10**6}),
        Step("resample_fourier", {"to": 1e12}),
        Step("resample", {"to": 1e12}),
        Step("clip_quantiles", {"q": 2.0, "reach": 0.0}),
        Step("z_score", {"over": "dataset", "eps": 0.0}),
        Step("standardize", {"mean": 0.0, "std": 0.0}),
        Step("nothing of the kind"),
    ],
)
def test_absurd_numbers_are_refused(step: Step, record: Record) -> None:
    with pytest.raises(EcgError):
        apply(Preset("absurd", (step,)), record)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 40, 400])
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_no_preset_fails_otherwise_than_by_an_ecg_error(n: int, value: float) -> None:
    flat = Record(np.full((12, n), value, np.float32), 500.0, STANDARD_LEADS)
    for preset in PRESETS.values():
        got = apply(preset, flat)
        assert got.dtype == np.float32 and got.shape[0] == len(preset.leads or STANDARD_LEADS)
        assert preset.length is None or got.shape[1] == preset.length or n == 0


def test_leads_go_by_name_and_limb_leads_are_derived(record: Record) -> None:
    turned = record.pick(STANDARD_LEADS[::-1])
    assert np.array_equal(apply("cardx", turned), apply("cardx", record))
    eight = record.pick(("V6", "V5", "V4", "V3", "V2", "V1", "II", "I"))
    assert apply("exchangeai", eight) == pytest.approx(apply("exchangeai", record), abs=0.01)
    with pytest.raises(EcgError):
        apply("cardx", record.pick(("I", "II")))


def test_gaps_stay_gaps_unless_a_step_fills_them(record: Record) -> None:
    x = record.signal.copy()
    x[6, 1000:2000] = np.nan
    x[9] = np.nan
    holed = replace(record, signal=x)
    got = apply("exchangeai", holed)
    assert np.isnan(got[9]).all() and np.isnan(got[6, 201:399]).all() and not np.isnan(got[[0, 5, 11]]).any()
    assert np.isfinite(apply("ecg-fm", holed)).all() and np.isfinite(apply("ecg-bench", holed)).all()


def test_a_record_stays_in_millivolts(record: Record) -> None:
    got = prepared("heartbeit", record)
    assert got.fs == 500 and got.leads == PRESETS["heartbeit"].leads and got.duration == 5
    with pytest.raises(EcgError):
        prepared("dsail", record)
    with pytest.raises(EcgError):
        by_name("heart-beat")


def test_every_step_is_used_and_every_used_step_exists() -> None:
    used = {step.name for preset in (*PRESETS.values(), ecg_fm_global(0, 1)) for step in preset.steps}
    assert used == set(STEPS)
