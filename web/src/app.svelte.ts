// What all screens share: who is signed in, the library, the open ECG and its report, models, jobs, and how the reader likes it.

import { Fault, get, numbers, send, upload, type Arrival, type Corrected, type Ecg, type Evidence, type Heat, type Job, type Model, type Report } from "./api";
import type { Layout } from "./paper";

export type Screen = "ecgs" | "tune" | "models" | "settings" | "help";
export type View = "trace" | "beats" | "aligned" | "spectrum" | "compare" | "page";
export type Part = "findings" | "measurements" | "models" | "chat" | "about";
export type Prefs = { theme: "system" | "light" | "dark" | "contrast"; layout: Layout; speed: number; gain: number };

const SCREENS: Screen[] = ["ecgs", "tune", "models", "settings", "help"];
const FIRST: Prefs = { theme: "system", layout: "3x4+1", speed: 25, gain: 10 };

function kept(): Prefs {
  try { return { ...FIRST, ...(JSON.parse(localStorage.getItem("einthoven") ?? "{}") as Partial<Prefs>) }; } catch { return FIRST; }
}

class App {
  me = $state<{ user: string; scope: string; version: string; anonymize: boolean } | null>(null);
  signedOut = $state(false);
  fault = $state("");
  screen = $state<Screen>("ecgs");
  ecgs = $state<Ecg[]>([]);
  total = $state(0);
  search = $state("");
  arrivals = $state<Arrival[]>([]);
  sent = $state<number | null>(null);
  open = $state<Ecg | null>(null);
  report = $state<Report | null>(null);
  hand = $state<Corrected>({ corrections: [], left_out: [], automatic: {} });
  reading = $state(false);
  read = $state(0); // how often the open ECG's report was read: whoever shows something made of it listens
  lit = $state<{ leads: string[]; beats: number[] } | null>(null);
  heat = $state.raw<Heat | null>(null);
  view = $state<View>("trace");
  part = $state<Part>("findings");
  models = $state<Model[]>([]);
  jobs = $state<Job[]>([]);
  touring = $state(-1);
  prefs = $state<Prefs>(kept());
  painted: () => void = () => undefined;
  private readonly first = new Promise<void>((done) => { this.painted = done; setTimeout(done, 1500); });

  may(scope: "write" | "run" | "admin"): boolean {
    const order = ["read", "write", "run", "admin"];
    return order.indexOf(this.me?.scope ?? "read") >= order.indexOf(scope);
  }
  tell(why: unknown): void {
    if (why instanceof Fault && why.status === 401) { this.signedOut = true; return; }
    this.fault = why instanceof Error ? why.message : String(why);
  }
  async begin(): Promise<void> {
    this.paint();
    const named = location.hash.slice(1) as Screen;
    if (SCREENS.includes(named)) this.screen = named;
    try {
      this.me = await get("me"); this.signedOut = false;
      await this.list();
      await this.first; // the first ECG is painted; what stands beside it may come after
      await Promise.all([this.listModels(), this.listJobs()]);
    } catch (why) { this.tell(why); }
  }
  go(screen: Screen): void { this.screen = screen; history.replaceState(null, "", `#${screen}`); }
  paint(): void {
    document.documentElement.dataset["theme"] = this.prefs.theme;
    try { localStorage.setItem("einthoven", JSON.stringify(this.prefs)); } catch { /* a browser that keeps nothing */ }
  }
  async list(): Promise<void> {
    const told = await get<{ total: number; ecgs: Ecg[] }>(`ecgs?most=500&search=${encodeURIComponent(this.search)}`);
    this.ecgs = told.ecgs; this.total = told.total;
    if (!this.open && told.ecgs[0]) void this.show(told.ecgs[0]);
  }
  async listModels(): Promise<void> { this.models = await get("models"); }
  async listJobs(): Promise<void> { this.jobs = await get("jobs"); }
  async show(ecg: Ecg): Promise<void> {
    this.open = ecg; this.report = null; this.lit = null; this.heat = null; this.hand = { corrections: [], left_out: [], automatic: {} };
    if (this.view === "page" && ecg.kind !== "paper") this.view = "trace";
    await this.again();
  }
  // The open ECG's report, once more: something of it was corrected.
  async again(): Promise<void> {
    const ecg = this.open;
    if (!ecg) return;
    this.reading = true;
    await this.first;
    try {
      const [made, hand] = await Promise.all([get<Report>(`ecgs/${ecg.id}/report`), get<Corrected>(`ecgs/${ecg.id}/fiducials`)]);
      if (this.open?.id === ecg.id) { this.report = made; this.hand = hand; this.read++; }
    } catch (why) { this.tell(why); } finally { if (this.open?.id === ecg.id) this.reading = false; }
  }
  async take(files: { file: File; path: string }[]): Promise<void> {
    if (files.length === 0) return;
    this.fault = ""; this.sent = 0; this.arrivals = [];
    try {
      this.arrivals = await upload(files, (share) => (this.sent = share));
      this.open = null; this.screen = "ecgs";
      await this.list();
    } catch (why) { this.tell(why); } finally { this.sent = null; }
  }
  put(ecg: Ecg | null): void {
    if (!ecg) return;
    this.ecgs = this.ecgs.map((one) => (one.id === ecg.id ? ecg : one));
    if (this.open?.id === ecg.id) this.open = ecg;
  }
  async change(body: Partial<Pick<Ecg, "name" | "labels" | "tags">>): Promise<void> {
    if (this.open) try { this.put(await send<Ecg>("PATCH", `ecgs/${this.open.id}`, body)); } catch (why) { this.tell(why); }
  }
  async explain(model: string, label: string, method: string): Promise<void> {
    const id = this.open?.id;
    if (!id) return;
    const asked = new URLSearchParams({ model, label, method });
    const made = await numbers<Omit<Heat, "rows">>(`ecgs/${id}/explain?${asked}`);
    if (this.open?.id === id) { this.heat = made; this.view = "trace"; }
  }
  light(evidence: Evidence[]): void {
    this.lit = { leads: [...new Set(evidence.flatMap((one) => one.leads))], beats: [...new Set(evidence.flatMap((one) => one.beats))] };
  }
}

export const app = new App();

export const NAMES: Record<string, string> = {
  rate_bpm: "Heart rate", pr_ms: "PR", qrs_ms: "QRS", qt_ms: "QT", qtc_fridericia_ms: "QTc (Fridericia)", qtc_bazett_ms: "QTc (Bazett)",
  p_axis_deg: "P axis", qrs_axis_deg: "QRS axis", t_axis_deg: "T axis", p_ms: "P duration",
};
export const number = (value: Evidence["value"]): string => (typeof value === "number" ? String(Math.round(value * 1000) / 1000) : value ?? "");
const WAVES = new Set(["p", "q", "r", "s", "t", "u", "pr", "qrs", "qt", "rr", "st", "jt"]); // written large in a measurement's name
const named = (measurement: string): string => measurement.replace(/_(mv|mvms|ms|deg|bpm|s|hz)$/, "").split("_").map((word) => (WAVES.has(word) ? word.toUpperCase() : word)).join(" ");
const sized = (value: Evidence["value"], unit: string): string => (typeof value !== "number" ? number(value) : ["ms", "deg", "/min"].includes(unit) ? value.toFixed(0) : unit === "mV" ? value.toFixed(2) : number(value));
export const facts = (evidence: Evidence[]): string =>
  evidence.map((one) => [named(one.measurement), sized(one.value, one.unit), one.unit, one.leads.length && `in ${one.leads.join(", ")}`, one.threshold && `(${one.threshold.replace(">=", "≥").replace("<=", "≤")})`].filter(Boolean).join(" ")).join("; ");
export const signed = (mv: number, digits = 2): string => `${mv >= 0 ? "+" : "−"}${Math.abs(mv).toFixed(digits)}`;
