// What the server tells, and how it is asked. A change carries the header that no other site's form can set.

export type Ecg = {
  id: string; name: string; kind: "recording" | "paper"; format: string; patient: string | null; age: number | null; sex: string | null;
  fs: number | null; duration: number | null; leads: string[]; warnings: string[]; removed: string[]; tags: string[]; labels: string[];
};
export type Arrival = { name: string; id: string | null; error: string | null; known: boolean; warnings: string[]; removed: string[] };
export type Evidence = {
  measurement: string; value: number | string | null; unit: string; threshold: string; leads: string[]; beats: number[];
};
export type Finding = { name: string; text: string; group: string; confidence: string; severity: string; source: string; evidence: Evidence[] };
export type Measurement = {
  value: number | null; unit: string; definition: string; why_not: string | null;
  limits?: { low: number | null; high: number | null; source: string; mark: string | null };
};
export type Said = { name: string; text: string; probability: number; threshold: number | null; present: boolean; rules: string | null };
export type Report = {
  conclusion: string; record: { duration_s: number; leads: string[] }; findings: Finding[]; measurements: Record<string, Measurement>; warnings: string[];
  opinions: { model: string; sees: string; scores: string | null; calibrated: boolean; labels: Said[]; disagreements: string[]; warnings: string[] }[];
  beats: Beats | null;
  quality: { readable: string; flags: string[]; leads: Record<string, { score: number | null; usable: boolean; flags: string[]; noise_uv: number | null; mains_uv: number | null; wander_uv: number | null }> };
};
export type Beats = { fiducials: string[]; kinds: string[]; overall: (number | null)[][]; leads: Record<string, (number | null)[][]> };
export type Model = { name: string; task?: string; labels?: string[]; summary?: string; licence?: string | null; version?: string; trained_here?: boolean; onnx?: boolean; error?: string };
export type Job = {
  id: string; kind: string; state: string; created: number; error: string | null; args: { name?: string }; result: { model?: string; table?: string; done?: number; failed?: number } | null;
};
export type Correction = { seq: number; user: string; at: number; name: string; r: number; to: number | null; lead: string | null; every: boolean };
export type Corrected = { corrections: Correction[]; left_out: string[]; automatic: Record<string, number | null> };
export type Claim = { kind: string; name: string; verdict: string; asserted: boolean; value: number | null; unit: string; leads: string[]; evidence: Evidence[]; why: string };
export type Sentence = { text: string; verdict: string; claims: Claim[] };
export type Answer = {
  seq: number; model: string; question: string; said: string; verdict: number; better: string | null; turns: { role: string; content: string }[];
  grounded: { sentences: Sentence[]; abstain: string | null } | null;
};
export type Paper = {
  why_not: string | null; means: string | null; layout: string | null; speed_mm_s: number | null; gain_mm_mv: number | null; basis: Record<string, string>;
  outline_px: [number, number][] | null; confidence: Record<string, number>; missing_leads: string[]; warnings: string[]; picture_px: [number, number] | null;
  known: { layout?: string; speed?: number; gain?: number; corners?: [number, number][]; page?: number }; sheet: boolean;
};
export type Heat = {
  leads: string[]; fs: number; start: number; end: number; label: string; text: string; model: string; method: string; score: number; probability: number;
  signed: boolean; per_lead: boolean; warnings: string[]; shares: { leads: string[]; waves: string[]; share: number[][]; time: number[][] }; rows: Float32Array[];
};
export type Median = { leads: string[]; fs: number; beats: number; kind: string; fiducials: string[]; at: (number | null)[]; noise_uv: (number | null)[]; rows: Float32Array[] };
export type Overlay = { leads: string[]; fs: number; before: number; beats: number[]; kinds: string[]; of: number; rows: Float32Array[] };

export type Signal = {
  leads: string[]; fs: number; start: number; end: number; duration: number; pairs: boolean; samples: number; step_mv: number;
  mv: Float32Array[];
};

const LOST = -32768;

export class Fault extends Error {
  constructor(readonly status: number, words: string) { super(words); }
}

async function asked(path: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(`api/${path}`, { ...init, headers: { "X-Einthoven": "1", ...init.headers } });
  if (answer.ok) return answer;
  let words = answer.statusText;
  try {
    const told = (await answer.json()).detail;
    words = typeof told === "string" ? told : JSON.stringify(told);
  } catch { /* no JSON: the status must do */ }
  throw new Fault(answer.status, words);
}

export async function get<T>(path: string): Promise<T> { return (await asked(path)).json() as Promise<T>; }

export async function send<T>(method: string, path: string, body?: unknown): Promise<T | null> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await asked(path, init);
  return answer.status === 204 ? null : (answer.json() as Promise<T>);
}

export async function upload(files: { file: File; path: string }[], said: (share: number) => void): Promise<Arrival[]> {
  const form = new FormData();
  for (const { file, path } of files) form.append("files", file, path);
  return new Promise((good, bad) => {
    const ask = new XMLHttpRequest(); // fetch tells nothing of how far an upload is
    ask.open("POST", "api/ecgs");
    ask.setRequestHeader("X-Einthoven", "1");
    ask.upload.onprogress = (event) => said(event.lengthComputable ? event.loaded / event.total : 0);
    ask.onerror = () => bad(new Fault(0, "the server cannot be reached"));
    ask.onload = () => {
      if (ask.status === 200) good(JSON.parse(ask.responseText) as Arrival[]);
      else bad(new Fault(ask.status, (JSON.parse(ask.responseText || "{}") as { detail?: string }).detail ?? ask.statusText));
    };
    ask.send(form);
  });
}

export async function signal(id: string, start: number, end: number, most: number): Promise<Signal> {
  const raw = await (await asked(`ecgs/${id}/signal?start=${start}&end=${end}&most=${most}`)).arrayBuffer();
  return decode(raw);
}

export async function numbers<T>(path: string): Promise<T & { rows: Float32Array[] }> { return unpack<T>(await (await asked(path)).arrayBuffer()); }

export function decode(raw: ArrayBuffer): Signal {
  const { rows, ...head } = unpack<Omit<Signal, "mv">>(raw);
  return { ...head, mv: rows };
}

// Numbers of two bytes, row by row, behind a header of JSON (einthoven/serve/sight.py).
export function unpack<T>(raw: ArrayBuffer): T & { rows: Float32Array[] } {
  const length = new DataView(raw).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(raw.slice(4, 4 + length))) as { samples: number; step_mv?: number; step?: number };
  const told = new Int16Array(raw.slice(4 + length)), step = head.step_mv ?? head.step ?? 1;
  const rows = Array.from({ length: told.length / Math.max(head.samples, 1) }, (_, k) => {
    const row = new Float32Array(head.samples);
    for (let i = 0; i < head.samples; i++) {
      const n = told[k * head.samples + i]!;
      row[i] = n === LOST ? NaN : n * step;
    }
    return row;
  });
  return { ...head, rows } as unknown as T & { rows: Float32Array[] };
}

// A folder that was dropped, file by file, each with its path in it.
export async function dropped(items: DataTransferItemList): Promise<{ file: File; path: string }[]> {
  const out: { file: File; path: string }[] = [];
  async function walk(entry: FileSystemEntry): Promise<void> {
    if (entry.isFile) {
      const file = await new Promise<File>((good, bad) => (entry as FileSystemFileEntry).file(good, bad));
      out.push({ file, path: entry.fullPath.replace(/^\//, "") });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((good, bad) => reader.readEntries(good, bad));
      if (some.length === 0) return;
      for (const one of some) await walk(one);
    }
  }
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  for (const entry of entries) await walk(entry);
  return out;
}
