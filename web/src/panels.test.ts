import { describe, expect, it } from "vitest";
import { SPEED, kept, panels, panelsSize } from "./canvas";

describe("panels", () => {
  it("stand in columns of three, in the order of paper, whatever order the leads come in", () => {
    const made = panels(["V6", "V5", "V4", "V3", "V2", "V1", "aVF", "aVL", "aVR", "III", "II", "I"], 0.8, 4);
    expect(made.map((one) => one.lead)).toEqual(["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]);
    expect(made[3]!.x - made[0]!.x).toBe(0.8 * SPEED + 4);
    expect(made[1]!.y - made[0]!.y).toBe(36);
    expect(panelsSize(12, 0.8, 4)).toEqual({ width: 6 + 4 * 44, height: 6 + 3 * 36 });
    expect(panels(["II", "V1"], 0.8, 1).map((one) => one.y)).toEqual([22, 58]);
  });
});

describe("curves", () => {
  it("draw of a column of pixels the first, lowest, highest and last sample, and gaps stay gaps", () => {
    const row = new Float32Array([0, 3, -1, 2, 1, 5, 4, 6, NaN, 7, 7, 7]);
    expect(kept(row, 0, 12, 4)).toEqual([0, 1, 2, 3, 4, 7, -1, 9, 11]);
    const noise = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i * i) * (i % 97 === 0 ? 9 : 1));
    for (const per of [4, 5.3, 17.9, 400]) {
      const drawn = new Set(kept(noise, 0, 5000, per)), columns = Math.ceil(5000 / per);
      for (let column = 0; column < columns; column++) {
        const all = [...noise.keys()].filter((i) => Math.floor(i / per) === column), some = all.filter((i) => drawn.has(i)).map((i) => noise[i]!);
        expect([Math.min(...some), Math.max(...some)]).toEqual([Math.min(...all.map((i) => noise[i]!)), Math.max(...all.map((i) => noise[i]!))]);
      }
      expect(drawn.size).toBeLessThanOrEqual(4 * columns);
    }
    expect(kept(row, 0, 9, 1)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, -1]);
  });
});
