// Five minutes on simulated ECGs: what to look at, where it stands, and what the tour does to show it.
import { app } from "./app.svelte";

export type Step = { words: string; at: string; act: () => void | Promise<void> };

const simulated = async (what: string): Promise<void> => {
  app.go("ecgs"); app.view = "trace";
  const found = app.ecgs.find((one) => one.tags.includes("simulated") && one.name.includes(what)) ?? app.ecgs[0];
  if (found && app.open?.id !== found.id) await app.show(found);
};

export const TOUR: Step[] = [
  { words: "This is a simulated ECG: nobody's. Everything here works on it as on a real one. Drop files, folders, ZIPs or photos on the page to add your own; names are removed before anything is kept.", at: "nav", act: () => simulated("normal") },
  { words: "The trace stands on millimetre paper. Drag over it to measure time, rate and voltage; try 50 mm/s, or another layout. At 1:1 a millimetre is a millimetre on a screen of 96 pixels to the inch.", at: ".sheet", act: () => simulated("normal") },
  { words: "This one has a left bundle branch block. Each finding says what it rests on: put the pointer on it (or step to it with Tab), and its leads and beats light up.", at: ".findings", act: async () => { await simulated("left bundle"); app.part = "findings"; } },
  { words: "Every figure has its definition and its normal limits. Where one is wrong, tick “Correct” over the trace and drag the line that marks the wave: the figures are measured again and say so.", at: "aside", act: () => { app.part = "measurements"; } },
  { words: "Beats over each other, and the median beat that stands for all. “Aligned” puts the R peaks on a grid, “Spectrum” shows the mains' hum, “Compare” sets another ECG beside this one.", at: "article", act: () => { app.view = "beats"; } },
  { words: "Models give calibrated probabilities beside the rules. “why” colours the trace by what speaks for a label and what against it.", at: "aside", act: () => { app.view = "trace"; app.part = "models"; } },
  { words: "Put labels of your own on ECGs, one by one or by a labels.csv, and a model learns them with a click: ten ECGs are the least, some dozens in each class teach something. It ends with a report of how good it is, and on whom.", at: ".card", act: () => app.go("tune") },
  { words: "Models are verified, compared, fetched from an exchange and published to it: the model goes, no ECG. That is all. Research use only: not a medical device.", at: ".card", act: () => app.go("models") },
];
