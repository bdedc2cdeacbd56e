"""`Measurements`: what is measured of an ECG, each figure with its unit, its definition and the beats it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

NAN = float("nan")


@dataclass(frozen=True)
class Quantity:
    """One figure. `value` is NaN where it cannot be measured, and then `why` says what is missing.

    beats: indices into Beats of the beats it rests on. definition: what exactly was measured, with its source.
    """

    value: float
    unit: str
    definition: str
    beats: tuple[int, ...] = ()
    why: str = ""

    def __bool__(self) -> bool:
        return self.value == self.value

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class LeadMeasurements:
    """Amplitudes (mV, signed, against the isoelectric level before QRS) and durations (ms) of one lead's median beat.

    A wave that is not there has amplitude 0 and duration 0; a lead that cannot be measured has NaN everywhere.
    Q is the first negative wave before any R, R the first positive wave, S the negative wave after R, R' and S' the
    next ones. A QRS with no positive wave is QS: `qs` is true, its depth and width are in q_mv and q_ms.

    p_mv: largest (signed) P deflection. p_ms: P duration in this lead.
    p_initial_mv, p_terminal_mv: largest positive part and the terminal negative part of P (0 where there is none).
    p_terminal_force_mvms: |terminal negative amplitude| x its duration in mV ms (Morris index, V1).
    qrs_ms: QRS duration in this lead. r_peak_time_ms: QRS onset to the (last) R peak (intrinsicoid deflection).
    notches: local reversals of slope inside QRS that do not cross the baseline. delta_mv, delta_ms: slurred initial part.
    st_j_mv, st_j60_mv, st_j80_mv: ST level at J, J + 60 ms, J + 80 ms. st_slope_mv_s: slope from J to J + 80 ms.
    t_mv: largest signed T deflection; t_negative_mv: deepest negative part of a biphasic T (0 where there is none).
    t_symmetry: time onset-peak over peak-offset. u_mv: U wave or 0. noise_uv: RMS of what is left after the median beat.
    """

    p_mv: float = NAN
    p_ms: float = NAN
    p_initial_mv: float = NAN
    p_terminal_mv: float = NAN
    p_terminal_force_mvms: float = NAN
    q_mv: float = NAN
    q_ms: float = NAN
    r_mv: float = NAN
    r_ms: float = NAN
    s_mv: float = NAN
    s_ms: float = NAN
    r2_mv: float = NAN
    r2_ms: float = NAN
    s2_mv: float = NAN
    qs: bool = False
    qrs_ms: float = NAN
    r_peak_time_ms: float = NAN
    notches: int = 0
    delta_mv: float = NAN
    delta_ms: float = NAN
    st_j_mv: float = NAN
    st_j60_mv: float = NAN
    st_j80_mv: float = NAN
    st_slope_mv_s: float = NAN
    t_mv: float = NAN
    t_negative_mv: float = NAN
    t_symmetry: float = NAN
    u_mv: float = NAN
    noise_uv: float = NAN

    @property
    def qrs_peak_to_peak_mv(self) -> float:
        """Largest positive minus largest negative QRS deflection, mV (0 where there is no QRS)."""
        return max(self.r_mv, self.r2_mv) - min(self.q_mv, self.s_mv, self.s2_mv)


@dataclass(frozen=True)
class Measurements:
    """All figures of one ECG: `quantities` by name (unit in the name), `leads` by lead name.

    Names that always exist (value NaN where it cannot be measured):
    rate_bpm (ventricular, from the mean RR), rr_ms (mean), rr_min_ms, rr_max_ms, rr_sd_ms (normal-to-normal), rr_rmssd_ms,
    rr_irregularity (mean |successive difference| / mean RR over beats that are not premature), atrial_rate_bpm,
    p_fraction (share of QRS preceded by a P wave), p_per_qrs (all P waves, lone ones too, per QRS), pr_ms, pr_sd_ms, p_ms,
    qrs_ms, qt_ms, jt_ms, qtc_bazett_ms, qtc_fridericia_ms, qtc_framingham_ms, qtc_hodges_ms, p_axis_deg, qrs_axis_deg,
    t_axis_deg, qrs_t_angle_deg, f_wave_hz and f_wave_power (dominant atrial frequency 3..12 Hz and its share of power, see
    atrial.f_waves),
    spikes (pacing spikes found), n_beats, n_ventricular, n_supraventricular, n_paced.
    """

    quantities: Mapping[str, Quantity]
    leads: Mapping[str, LeadMeasurements] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> float:
        """The value of one quantity (NaN where it could not be measured)."""
        return self.quantities[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.quantities)
