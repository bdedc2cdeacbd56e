"""The colours of paper, ink and marked waves, and the widths of lines: what PNG, SVG and PDF have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from einthoven.beats.fiducials import P_OFF, P_ON, QRS_OFF, QRS_ON, T_OFF, T_ON, Beats
from einthoven.paper.page import Box, Page
from einthoven.record import EcgError

Colour = tuple[int, int, int]

TRACE_MM, RULE_MM = 0.32, 0.25  # traces and pulses, lead separators
THIN_MM, THICK_MM = 0.1, 0.2  # lines of the paper

# Paper, 1 mm lines, 5 mm lines, ink.
PALETTES: Mapping[str, tuple[str, str, str, str]] = {
    "pink": ("#fffbfa", "#f8d3d1", "#eba6a3", "#15151c"),
    "red": ("#fff9f8", "#f7c0bb", "#e58680", "#15151c"),
    "blue": ("#fafcff", "#d3dff2", "#a3bbe0", "#12131c"),
    "green": ("#fafdfa", "#cfe6d1", "#9bc9a0", "#101812"),
    "brown": ("#fdfaf5", "#ecdcc6", "#d3b48e", "#1a1512"),
    "grey": ("#ffffff", "#e2e2e2", "#bdbdbd", "#000000"),
    "bw": ("#ffffff", "#c8c8c8", "#8c8c8c", "#000000"),
    "plain": ("#ffffff", "#ffffff", "#ffffff", "#000000"),
}


@dataclass(frozen=True)
class Wave:
    """A wave as it is marked on the page: its first and last fiducial, and its colour."""

    name: str
    on: int
    off: int
    colour: Colour


def rgb(text: str) -> Colour:
    """ "#rrggbb" -> three bytes."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


WAVES = (
    Wave("P", P_ON, P_OFF, rgb("#7fb2ff")),
    Wave("QRS", QRS_ON, QRS_OFF, rgb("#ffc861")),
    Wave("T", T_ON, T_OFF, rgb("#8fd694")),
)


def colours(palette: str) -> tuple[Colour, Colour, Colour, Colour]:
    """Paper, thin lines, thick lines, ink. Raises EcgError for a palette that is not there."""
    if palette not in PALETTES:
        raise EcgError(f"palette must be one of {', '.join(PALETTES)}, not {palette!r}")
    paper, thin, thick, ink = PALETTES[palette]
    return rgb(paper), rgb(thin), rgb(thick), rgb(ink)


def mix(under: Colour, over: Colour, share: float = 0.45) -> Colour:
    """A colour with `share` of another over it."""
    r, g, b = (round(u + (o - u) * share) for u, o in zip(under, over, strict=True))
    return r, g, b


def bands(page: Page, beats: Beats | None) -> list[tuple[int, Box]]:
    """Where P, QRS and T lie on the sheet by each lead's own fiducials: (index into WAVES, box in mm) for each wave."""
    out: list[tuple[int, Box]] = []
    if beats is None:
        return out
    for strip in page.strips:
        known = strip.lead in beats.leads
        rows = beats.lead(strip.lead) if known else beats.overall
        lone = beats.lone_p[:, beats.leads.index(strip.lead)] if known and len(beats.lone_p) else beats.lone_p_overall
        for k, wave in enumerate(WAVES):
            spans = rows[:, [wave.on, wave.off]]
            if wave.name == "P" and len(lone):
                spans = np.concatenate([spans, lone[:, [0, 2]]])
            for a, b in spans.tolist():
                if a < b and b > strip.start and a < strip.stop:
                    x = page.to_mm(strip, [max(a, strip.start), min(b, strip.stop)], 0.0)[0]
                    top, bottom = max(strip.baseline - 12, strip.box.top), min(strip.baseline + 8, strip.box.bottom)
                    out.append((k, Box(float(x[0]), top, float(x[1]), bottom)))
    return out
