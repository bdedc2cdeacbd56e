import { describe, expect, it } from "vitest";
import { SPEED, panels, panelsSize } from "./canvas";

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
