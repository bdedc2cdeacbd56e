// Millimetre paper on a canvas, for every view; and panels, one a lead, of beats over each other.

export const PX = 96 / 25.4; // of a millimetre, on a screen of 96 pixels to the inch

export type Pen = { c: CanvasRenderingContext2D; colour: (name: string) => string };

const MOST_PX = 32e6; // of one canvas: beyond that browsers draw slowly, and some not at all

/** Makes a canvas so large, in millimetres at this zoom, and rules it; from then on its unit is the millimetre. */
export function sheet(canvas: HTMLCanvasElement, width: number, height: number, zoom: number): Pen {
  const { c, colour } = clear(canvas, width, height, zoom);
  c.fillStyle = colour("--paper");
  c.fillRect(0, 0, width, height);
  // Rectangles: a browser without a GPU fills them several times faster than it strokes lines.
  for (const [step, thick, name] of [[1, 0.08, "--fine"], [5, 0.18, "--coarse"]] as const) {
    c.fillStyle = colour(name);
    for (let x = 0; x <= width; x += step) c.fillRect(x - thick / 2, 0, thick, height);
    for (let y = 0; y <= height; y += step) c.fillRect(0, y - thick / 2, width, thick);
  }
  return { c, colour };
}

/** The same without paper: an empty canvas, for what lies over it. */
export function clear(canvas: HTMLCanvasElement, width: number, height: number, zoom: number): Pen {
  const scale = PX * zoom, ratio = Math.min(window.devicePixelRatio || 1, Math.sqrt(MOST_PX / (width * height)) / scale);
  const across = Math.round(width * scale * ratio), down = Math.round(height * scale * ratio);
  const c = canvas.getContext("2d")!;
  if (canvas.width !== across || canvas.height !== down) { canvas.width = across; canvas.height = down; }
  else { c.setTransform(1, 0, 0, 1, 0, 0); c.clearRect(0, 0, across, down); }
  sized(canvas, width, height, zoom);
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  c.setTransform(scale * ratio, 0, 0, scale * ratio, 0, 0);
  return { c, colour };
}

/** How large a canvas is shown, true to the millimetre at this zoom, however finely it is drawn. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number, zoom: number): void {
  canvas.style.width = `${width * PX * zoom}px`;
  canvas.style.height = `${height * PX * zoom}px`;
}

/** Which samples must be drawn so that no pixel changes: of those in one column of pixels the first, the lowest, the highest and the last.
 * `per` samples of one column. -1 stands for a gap. */
export function kept(row: Float32Array, first: number, last: number, per: number): number[] {
  const out: number[] = [];
  if (per < 4) { for (let i = first; i < last; i++) out.push(Number.isNaN(row[i]!) ? -1 : i); return out; }
  let column = -1, low = -1, high = -1, begun = -1, end = -1;
  const close = (): void => { if (begun >= 0) for (const i of [...new Set([begun, Math.min(low, high), Math.max(low, high), end])]) out.push(i); begun = -1; };
  for (let i = first; i < last; i++) {
    const at = Math.floor((i - first) / per), mv = row[i]!;
    if (at !== column) { close(); column = at; }
    if (Number.isNaN(mv)) { close(); if (out.at(-1) !== -1) out.push(-1); continue; }
    if (begun < 0) begun = low = high = i;
    else if (mv < row[low]!) low = i;
    else if (mv > row[high]!) high = i;
    end = i;
  }
  close();
  return out;
}

/** A curve: x and y in millimetres of sample i, x at a steady pace; gaps where it is NaN. */
export function curve(c: CanvasRenderingContext2D, row: Float32Array, first: number, last: number, x: (i: number) => number, y: (mv: number) => number): void {
  const pixels = Math.abs(x(last) - x(first)) * c.getTransform().a; // columns that it covers
  c.beginPath();
  let down = false;
  for (const i of kept(row, first, last, (last - first) / Math.max(pixels, 1))) {
    if (i < 0) { down = false; continue; }
    if (down) c.lineTo(x(i), y(row[i]!)); else c.moveTo(x(i), y(row[i]!));
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
