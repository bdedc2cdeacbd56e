// Millimetre paper: where each lead of a layout stands, and the maps between millimetres, seconds and millivolts. No drawing.

export type Layout = "3x4+1" | "6x2" | "12x1" | "1";
export type Strip = { lead: string; t0: number; t1: number; x: number; y: number }; // mm; y is the baseline
export type Plan = { width: number; height: number; strips: Strip[]; speed: number; gain: number };

export const LAYOUTS: Layout[] = ["3x4+1", "6x2", "12x1", "1"];
export const MARGIN = 12; // mm on the left, where the calibration pulse stands
const STANDARD = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];

/** Strips of the leads that are there: `seconds` of the recording from `start` on, at `speed` mm/s and `gain` mm/mV. */
export function plan(
  layout: Layout, leads: string[], start: number, seconds: number, speed: number, gain: number, single = "II",
): Plan {
  const row = Math.max(20, 2.5 * gain); // mm: two and a half millivolts
  const known = [...STANDARD.filter((lead) => leads.includes(lead)), ...leads.filter((lead) => !STANDARD.includes(lead))];
  const strips: Strip[] = [];
  const columns = layout === "3x4+1" ? 4 : layout === "6x2" ? 2 : 1;
  const shown = layout === "1" ? [leads.includes(single) ? single : known[0] ?? ""] : known;
  const rows = Math.ceil(shown.length / columns);
  const part = seconds / columns;
  shown.forEach((lead, k) => {
    const column = Math.floor(k / rows);
    strips.push({
      lead, t0: start + column * part, t1: start + (column + 1) * part, x: MARGIN + column * part * speed, y: row * ((k % rows) + 0.6),
    });
  });
  let height = rows;
  if (layout === "3x4+1" && leads.includes("II")) {
    strips.push({ lead: "II", t0: start, t1: start + seconds, x: MARGIN, y: row * (rows + 0.6) });
    height += 1;
  }
  return { width: MARGIN + seconds * speed + 4, height: row * height + 4, strips, speed, gain };
}

export const xOf = (p: Plan, s: Strip, t: number): number => s.x + (t - s.t0) * p.speed;
export const yOf = (p: Plan, s: Strip, mv: number): number => s.y - mv * p.gain;

/** The strip under a place (mm), with the time and voltage there; null in the margin. */
export function under(p: Plan, x: number, y: number): { strip: Strip; t: number; mv: number } | null {
  let best: Strip | null = null;
  for (const strip of p.strips) {
    if (x < strip.x || x > xOf(p, strip, strip.t1)) continue;
    if (best === null || Math.abs(y - strip.y) < Math.abs(y - best.y)) best = strip;
  }
  if (best === null) return null;
  return { strip: best, t: best.t0 + (x - best.x) / p.speed, mv: (best.y - y) / p.gain };
}

export type Caliper = { ms: number; mv: number; bpm: number | null };

/** What lies between two places (mm): time, voltage, and the rate if it is one RR. */
export function caliper(p: Plan, a: { x: number; y: number }, b: { x: number; y: number }): Caliper {
  const ms = (Math.abs(b.x - a.x) / p.speed) * 1000;
  return { ms, mv: (a.y - b.y) / p.gain, bpm: ms > 0 ? 60_000 / ms : null };
}

/** Where within `reach` s of `t` a lead stands farthest from its middle level there: the R of a beat that somebody points at. */
export function peak(row: Float32Array, start: number, rate: number, t: number, reach = 0.06): number {
  const at = (s: number): number => Math.min(row.length - 1, Math.max(0, Math.round((s - start) * rate)));
  const known = [...row.slice(at(t - 4 * reach), at(t + 4 * reach) + 1)].filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
  const level = known[known.length >> 1] ?? 0;
  let best = at(t), high = -1;
  for (let i = at(t - reach); i <= at(t + reach); i++) {
    const far = Math.abs(row[i]! - level);
    if (far > high) { high = far; best = i; }
  }
  return start + best / rate;
}
