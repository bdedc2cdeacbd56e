// Millimetre paper on a canvas, for every view; and panels, one a lead, of beats over each other.

export const PX = 96 / 25.4; // of a millimetre, on a screen of 96 pixels to the inch

export type Pen = { c: CanvasRenderingContext2D; colour: (name: string) => string };

/** Makes a canvas so large, in millimetres at this zoom, and rules it; from then on its unit is the millimetre. */
export function sheet(canvas: HTMLCanvasElement, width: number, height: number, zoom: number): Pen {
  const scale = PX * zoom, ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale * ratio);
  canvas.height = Math.round(height * scale * ratio);
  canvas.style.width = `${width * scale}px`;
  canvas.style.height = `${height * scale}px`;
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const c = canvas.getContext("2d")!;
  c.setTransform(scale * ratio, 0, 0, scale * ratio, 0, 0);
  c.fillStyle = colour("--paper");
  c.fillRect(0, 0, width, height);
  for (const [step, thick, name] of [[1, 0.08, "--fine"], [5, 0.18, "--coarse"]] as const) {
    c.beginPath();
    for (let x = 0; x <= width; x += step) { c.moveTo(x, 0); c.lineTo(x, height); }
    for (let y = 0; y <= height; y += step) { c.moveTo(0, y); c.lineTo(width, y); }
    c.lineWidth = thick; c.strokeStyle = colour(name); c.stroke();
  }
  return { c, colour };
}

/** A curve: x and y in millimetres of sample i; gaps where it is NaN. */
export function curve(c: CanvasRenderingContext2D, row: Float32Array, first: number, last: number, x: (i: number) => number, y: (mv: number) => number): void {
  c.beginPath();
  let down = false;
  for (let i = first; i < last; i++) {
    const mv = row[i]!;
    if (Number.isNaN(mv)) { down = false; continue; }
    if (down) c.lineTo(x(i), y(mv)); else c.moveTo(x(i), y(mv));
    down = true;
  }
  c.stroke();
}

const STANDARD = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
export const SPEED = 50, GAIN = 10; // of the panels

/** Where each lead's panel lies, mm: columns of three leads, as on paper. */
export function panels(leads: string[], seconds: number, columns: number): { lead: string; x: number; y: number }[] {
  const order = [...STANDARD.filter((lead) => leads.includes(lead)), ...leads.filter((lead) => !STANDARD.includes(lead))];
  const rows = Math.ceil(order.length / columns);
  return order.map((lead, k) => ({ lead, x: 3 + Math.floor(k / rows) * (seconds * SPEED + 4), y: 22 + (k % rows) * 36 }));
}
export const panelsSize = (count: number, seconds: number, columns: number): { width: number; height: number } => ({
  width: 6 + columns * (seconds * SPEED + 4), height: 6 + Math.ceil(count / columns) * 36,
});
