import { describe, expect, it } from "vitest";
import { decode } from "./api";
import { MARGIN, caliper, peak, plan, under, xOf, yOf } from "./paper";

const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];

describe("paper", () => {
  it("puts a second on 25 mm and a millivolt on 10", () => {
    const p = plan("12x1", LEADS, 0, 10, 25, 10);
    const s = p.strips[0]!;
    expect(xOf(p, s, 1) - xOf(p, s, 0)).toBe(25);
    expect(yOf(p, s, 0) - yOf(p, s, 1)).toBe(10);
    expect(p.width).toBe(MARGIN + 250 + 4);
  });
  it("shows 3 x 4 leads of a quarter each, and the rhythm strip", () => {
    const p = plan("3x4+1", LEADS, 0, 10, 25, 10);
    expect(p.strips.map((s) => s.lead)).toEqual([...LEADS, "II"]);
    expect(p.strips[3]).toMatchObject({ lead: "aVR", t0: 2.5, t1: 5, x: MARGIN + 62.5 });
    expect(p.strips[12]).toMatchObject({ lead: "II", t0: 0, t1: 10 });
  });
  it("knows what is under the pointer", () => {
    const p = plan("6x2", LEADS, 2, 10, 50, 20);
    const v4 = p.strips.find((s) => s.lead === "V4")!;
    const found = under(p, xOf(p, v4, 9), yOf(p, v4, 0.5))!;
    expect(found.strip.lead).toBe("V4");
    expect(found.t).toBeCloseTo(9);
    expect(found.mv).toBeCloseTo(0.5);
    expect(under(p, MARGIN / 2, 30)).toBeNull();
  });
  it("measures with calipers", () => {
    const p = plan("12x1", LEADS, 0, 10, 25, 10);
    const c = caliper(p, { x: 20, y: 50 }, { x: 40, y: 45 });
    expect(c).toEqual({ ms: 800, mv: 0.5, bpm: 75 });
  });
});

describe("signal", () => {
  it("comes as two-byte numbers behind a header", () => {
    const head = new TextEncoder().encode(JSON.stringify({ leads: ["I", "II"], fs: 2, start: 0, end: 1, duration: 1, pairs: false, samples: 2, step_mv: 0.001 }));
    const raw = new ArrayBuffer(4 + head.length + 8);
    new DataView(raw).setUint32(0, head.length, true);
    new Uint8Array(raw, 4).set(head);
    [1000, -32768, -500, 0].forEach((n, i) => new DataView(raw).setInt16(4 + head.length + 2 * i, n, true));
    const made = decode(raw);
    expect(made.mv[0]![0]).toBeCloseTo(1);
    expect(made.mv[0]![1]).toBeNaN();
    expect([...made.mv[1]!]).toEqual([-0.5, 0]);
  });
});

describe("a beat that somebody points at", () => {
  it("has its R where the lead stands farthest from its level, near the place, up or down", () => {
    const row = new Float32Array(1000).fill(0.2), fs = 500;
    row[400] = 1.4; row[700] = -0.9; row[405] = NaN;
    expect(peak(row, 3, fs, 3 + 415 / fs)).toBeCloseTo(3.8, 9);
    expect(peak(row, 3, fs, 3 + 690 / fs)).toBeCloseTo(4.4, 9);
    expect(peak(row, 3, fs, 3 + 440 / fs)).not.toBeCloseTo(3.8, 3); // farther than it reaches
  });
});
