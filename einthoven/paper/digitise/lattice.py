"""Finds millimetre paper in an image, and the map from the paper's millimetres to the image's pixels.

The grid is a carrier wave, in two directions. Its frequencies are found in local windows of the image, as peaks of their
spectra: 1 mm lines at f, 5 mm lines at f/5 and its multiples. A homography explains how they change over the image; what
it leaves (curl, folds, lenses) is read from the phases of the carriers on the rectified sheet, as in fringe analysis (Takeda
1982), and bends the map smoothly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.page import Floats
from einthoven.record import EcgError

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

SCALE = 8  # pixels to the millimetre of the rectified sheet
_SQUARE = 5 * SCALE  # pixels of a large square
_FEW, _WORK = 2000, 3000  # longer side, pixels, at which frequencies are looked for, and phases measured
_WINDOW = 256
_SHORTEST_SIDE, _LONGEST_SIDE = 45.0, 520.0  # mm that an image's longer side may show
_LEAST = 3.0  # how far a carrier must stand out of its surroundings


@dataclass(frozen=True)
class Lattice:
    """The grid of an image.

    homography: (3, 3), mm of the sheet -> pixels of the image. bend: (h, w, 2) float32, mm to be added to sheet
    coordinates (at steps of 5 mm) before the homography. size: mm of the sheet. origin: mm of the first 5 mm line in x
    and y (0 to 5). clear: (h, w, 2), how clear the lines are in x and y, at every 5 mm.
    """

    homography: Floats
    bend: Field
    size: tuple[float, float]
    origin: tuple[float, float] = (0.0, 0.0)
    clear: Field = field(default_factory=lambda: np.ones((1, 1, 2), np.float32))

    def by_height(self) -> Floats:
        """How clear the grid is at every 5 mm down the sheet, (h,), against the height at which it is clearest."""
        mean = np.sqrt(self.clear[:, :, 0] * self.clear[:, :, 1]).mean(axis=1)
        return np.asarray(mean / mean.max(), np.float64)

    def on_grid(self) -> NDArray[np.bool_]:
        """Where there is grid, (h, w) at steps of 5 mm: where its lines are a third as clear as in its clearer half."""
        both = np.sqrt(self.clear[:, :, 0] * self.clear[:, :, 1])
        good: NDArray[np.bool_] = both > 0.33 * np.percentile(both, 75)
        return good


def paleness(image: Image) -> tuple[Image, Image]:
    """Darkness of an image against its own paper, (H, W) uint8 each: in the darkest and in the palest channel.

    Lines in colour show in the first only, black ink in both.
    """
    import cv2

    share = cv2.split(cv2.divide(image, paper_of(image), scale=255))
    darkest = cv2.min(cv2.min(share[0], share[1]), share[2])
    palest = cv2.max(cv2.max(share[0], share[1]), share[2])
    return cv2.bitwise_not(darkest), cv2.bitwise_not(palest)


def paper_of(image: Image, reach: int = 0) -> Image:
    """The bare paper's colour everywhere, (H, W, 3): the image without what is thinner than `reach` pixels."""
    import cv2

    h, w = image.shape[:2]
    reach = reach or max(h, w) // 60
    factor = max(reach // 6, 1)
    small = cv2.resize(image, (max(w // factor, 8), max(h // factor, 8)), interpolation=cv2.INTER_AREA)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (reach // factor) // 2 * 2 + 1,) * 2)
    # Averaging a square has darkened paper by its grid; the closing takes the palest that is near.
    small = cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel)
    small = cv2.GaussianBlur(small, (0, 0), max(reach / factor, 1.0))
    return cv2.max(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), 8)  # type: ignore[no-any-return]


def find_lattice(image: Image, corners: Floats | None = None) -> Lattice:
    """The lattice of an RGB image. corners: (4, 2) pixels of the paper's corners, from the upper left clockwise.

    Raises EcgError where no grid can be found.
    """
    if corners is not None:
        return _within(image, corners)
    # Frequencies are looked for in a picture in which lines as fine as a pixel have become grey, phases in a sharper one.
    small, work = _reduced(image, _FEW), _reduced(image, _WORK)
    faint, level, spectra, centres, jacobian = _seen(small)
    fields, weights = _follow(spectra, centres, jacobian)
    to_mm = _projective(centres, fields, weights, small.shape) @ np.linalg.inv(_enlarging(small.shape, work.shape))
    to_mm, size = _placed(to_mm, *work.shape[1::-1])
    lattice = _bent(paleness(work), np.asarray(np.linalg.inv(to_mm), np.float64), size, level, faint)
    return replace(lattice, homography=_enlarging(work.shape, image.shape) @ lattice.homography)


def _reduced(image: Image, longest: int) -> Image:
    """An image whose longer side has no more pixels than `longest`."""
    import cv2

    shrink = longest / max(image.shape[:2])
    if shrink >= 1:
        return image
    return cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


def _enlarging(small: tuple[int, ...], large: tuple[int, ...]) -> Floats:
    """(3, 3): pixels of a reduced image -> those of the image, by their shapes. Pixel i reaches from i - 0.5 to i + 0.5."""
    sx, sy = large[1] / small[1], large[0] / small[0]
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1.0]])


def _seen(image: Image) -> tuple[bool, float, Field, Floats, Floats]:
    """Whether the grid is seen best as what is far paler than ink; how dark a line is; the grid's spectra, their centres, and
    the first guess of it.

    Raises EcgError where there is none.
    """
    dark, black = paleness(image)
    fault: EcgError | None = None
    best: tuple[bool, Field, Floats, Floats] | None = None
    clearest = 0.0
    # Where most of what is printed is as dark as ink, it is the grid's lines (a copy), or there is little grid (a faint one).
    level = _typical(dark)
    for faint in (False, True) if level > _DARK else (False,):
        spectra, centres = _spectra(_levelled(_lines(dark, black, level, faint), _NEAR))
        try:
            jacobian, clear = _first_guess(spectra, max(image.shape[:2]))
        except EcgError as found:
            fault = fault or found
            continue
        if best is None or clear > clearest:
            clearest, best = clear, (faint, spectra, centres, jacobian)
    if best is None:
        raise fault or EcgError("no millimetre grid was found")
    return best[0], level, *best[1:]


_DARK = 85.0  # darkness from which a line may be ink
_PALE = 110  # darker than this is no faint grid
_NEAR = 31  # pixels


def _typical(dark: Image) -> float:
    """How dark a line is: half of all that is not paper is grid."""
    some = dark[::3, ::3]
    some = some[some > 5]
    return float(np.percentile(some, 75)) if len(some) else 25.0


def _lines(dark: Image, black: Image, level: float, faint: bool) -> Image:
    """How much of a grid's line is in each pixel, (H, W) uint8; ink is cut off. level: how dark a line is. faint: all that is
    dark is ink."""
    import cv2

    if faint:
        # The rim of ink is as pale as a faint line.
        return cv2.bitwise_and(dark, cv2.compare(cv2.dilate(black, np.ones((5, 5), np.uint8)), _PALE, cv2.CMP_LE))  # type: ignore[no-any-return]
    # What is darker than twice the typical line is ink, and counts as paper.
    paper = cv2.compare(black, round(min(max(2.0 * level, 90), 255)), cv2.CMP_LE)
    return cv2.bitwise_and(cv2.min(dark, round(min(1.5 * level, 255))), paper)  # type: ignore[no-any-return]


def _levelled(lines: Image, near: int) -> Field:
    """Lines without their mean over `near` pixels."""
    import cv2

    whole = lines.astype(np.float32)
    return cv2.subtract(whole, cv2.blur(whole, (near, near)))  # type: ignore[no-any-return]


def _spectra(lines: Field) -> tuple[Field, Floats]:
    """Spectra of overlapping windows (N, W, W / 2 + 2), as logarithms of amplitude over its surroundings; and the windows'
    centres (N, 2). Rows: frequencies down from -1/2 on; columns: those across, from one step below 0 on."""
    import cv2

    h, w = lines.shape
    size = _WINDOW
    if min(h, w) < size:
        lines = np.pad(lines, ((0, max(size - h, 0)), (0, max(size - w, 0))))
        h, w = lines.shape
    ys = np.linspace(0, h - size, max(round((h - size) / (size * 0.6)) + 1, 1)).astype(int)
    xs = np.linspace(0, w - size, max(round((w - size) / (size * 0.6)) + 1, 1)).astype(int)
    hann = np.hanning(size).astype(np.float32)
    window = hann[:, None] * hann[None, :]
    out = np.empty((len(ys) * len(xs), size, size // 2 + 2), np.float32)
    centres = np.array([(x + size / 2 - 0.5, y + size / 2 - 0.5) for y in ys for x in xs], np.float64)
    near, opposite = 12, -np.arange(size) % size
    half = np.empty((size, size // 2 + 1), np.float32)
    for k, (y, x) in enumerate((y, x) for y in ys for x in xs):
        packed = cv2.dft(lines[y : y + size, x : x + size] * window)
        np.sqrt(packed[:, 1:-1:2] ** 2 + packed[:, 2:-1:2] ** 2, out=half[:, 1:-1])
        for side in (0, -1):  # frequencies 0 and 1/2 across are packed into one column each
            column = packed[:, side]
            half[0, side], half[size // 2, side] = abs(column[0]), abs(column[-1])
            half[1 : size // 2, side] = np.hypot(column[1:-1:2], column[2::2])
            half[size // 2 + 1 :, side] = half[size // 2 - 1 : 0 : -1, side]
        amplitude = np.roll(np.concatenate([half[opposite, near + 1 : 0 : -1], half], axis=1), size // 2, axis=0)
        around = cv2.blur(amplitude, (2 * near + 1, 2 * near + 1)) + np.float32(0.05 * float(amplitude.mean()) + 1e-6)
        cv2.log((cv2.GaussianBlur(amplitude, (5, 5), 0.7) / around + np.float32(1e-6))[:, near:], out[k])
    return out, centres


def _first_guess(spectra: Field, longest: int) -> tuple[Floats, float]:
    """(2, 2): the frequency vectors (cycles a pixel) of the millimetre lines across and down, for the image as a whole; and how
    clear they are."""
    mean = spectra.mean(axis=0)
    steps = np.exp(np.arange(np.log(_SHORTEST_SIDE), np.log(_LONGEST_SIDE), 0.012))  # mm that the longer side may show
    frequencies = steps / longest
    frequencies = frequencies[frequencies / 5 < 0.3]
    angles = np.deg2rad(np.arange(-44, 45, 0.5))
    scores = [_comb(mean, frequencies, angles + turn) for turn in (0.0, np.pi / 2)]
    # Both families have one spacing (to a few percent where the paper is tilted) and stand nearly upright to each other.
    best, found = -1.0, (0, 0, 0)
    across = scores[0]
    down = scores[1]
    wide = max(round(0.06 / 0.012), 1)
    import cv2

    loose = cv2.dilate(down, np.ones((2 * wide + 1, 41), np.uint8))  # over spacings (rows) and angles (columns)
    total = across + loose
    k, a = (int(i) for i in np.unravel_index(int(np.argmax(total)), total.shape))
    low, high = max(k - wide, 0), min(k + wide + 1, len(frequencies))
    left, right = max(a - 20, 0), min(a + 21, len(angles))
    part = down[low:high, left:right]
    m, b = np.unravel_index(int(np.argmax(part)), part.shape)
    found = (int(k), int(low + m), int(left + b))
    best = float(total[k, a])
    if best < 2 * _LEAST or min(float(across[k, a]), float(part[m, b])) < 0.4 * _LEAST:
        raise EcgError(f"no millimetre grid was found (clearness {best:.1f})")
    f, g = frequencies[found[0]], frequencies[found[1]]
    alpha, beta = angles[a], angles[found[2]] + np.pi / 2
    return np.array([[f * np.cos(alpha), f * np.sin(alpha)], [g * np.cos(beta), g * np.sin(beta)]]), best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _at(spectrum: Field, fx: float, fy: float) -> float:
    """A logarithmic spectrum at a frequency (cycles a pixel); 0, the surroundings' level, beyond its edge.

    By parabolas through the nearest bins: on a logarithmic scale a Hann window's peak is one.
    """
    size = spectrum.shape[0]
    if fx < 0:
        fx, fy = -fx, -fy
    x, y = fx * size + 1, fy * size + size // 2
    i, j = int(x + 0.5), int(y + 0.5)
    if j < 1 or i > size // 2 or j > size - 2:
        return 0.0
    u, v = x - i, y - j
    c, w, e, n, s = spectrum[j, i], spectrum[j, i - 1], spectrum[j, i + 1], spectrum[j - 1, i], spectrum[j + 1, i]
    return float(c + 0.5 * (u * (e - w) + u * u * (e + w - 2 * c) + v * (s - n) + v * v * (n + s - 2 * c)))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _comb_at(spectrum: Field, fx: float, fy: float) -> float:
    """How far a logarithmic spectrum stands out at the harmonics of a grid whose 1 mm lines have the frequency (fx, fy)."""
    total = 0.0
    weights = (1.0, 1.0, 0.8, 0.8, 1.6, 0.4)
    factors = (0.2, 0.4, 0.6, 0.8, 1.0, 2.0)
    for k in range(6):
        a, b = factors[k] * fx, factors[k] * fy
        if max(abs(a), abs(b)) < 0.47:
            total += weights[k] * max(_at(spectrum, a, b), 0.0)
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _comb(spectrum: Field, frequencies: Floats, angles: Floats) -> Field:
    out = np.zeros((len(frequencies), len(angles)), np.float32)
    for i in range(len(frequencies)):
        for j in range(len(angles)):
            out[i, j] = _comb_at(spectrum, frequencies[i] * np.cos(angles[j]), frequencies[i] * np.sin(angles[j]))
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _refined(spectrum: Field, f: Floats, width: float, steps: int) -> tuple[Floats, float]:
    """The frequency vector near f where a spectrum's comb is clearest, and how clear. width: relative reach, which each step
    makes narrower."""
    best = f.copy()
    top = -1.0
    for step in range(steps):
        centre = best.copy()
        reach = width / 4.0**step
        fine = 6 if step == 0 else 4
        for i in range(-fine, fine + 1):
            for j in range(-fine, fine + 1):
                # Along f (spacing) and across (turn).
                s, t = 1 + reach * i / fine, reach * j / fine
                x, y = centre[0] * s - centre[1] * t, centre[1] * s + centre[0] * t
                score = _comb_at(spectrum, x, y)
                if score > top:
                    top = score
                    best[0], best[1] = x, y
    return best, top


def _follow(spectra: Field, centres: Floats, guess: Floats) -> tuple[Floats, Floats]:
    """Each window's frequency vectors (N, 2, 2) and their clearness (N, 2), from the clearest window outwards."""
    n = len(spectra)
    found, clear = np.zeros((n, 2, 2)), np.zeros((n, 2))
    for i in range(n):
        for k in range(2):
            found[i, k], clear[i, k] = _refined(spectra[i], guess[k].copy(), 0.1, 2)
    seed = int(np.argmax(clear.min(axis=1)))
    for k in range(2):
        found[seed, k], clear[seed, k] = _refined(spectra[seed], found[seed, k], 0.02, 3)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    done = [seed]
    todo = np.ones(n, np.bool_)
    todo[seed] = False
    gap = apart[seed].copy()  # to the nearest of those that are known
    while todo.any():
        # The window next to those known; its guess is what they say.
        i = int(np.argmin(np.where(todo, gap - 3 * clear.min(axis=1), np.inf)))
        near = np.array(done)[np.argsort(apart[i, done], kind="stable")[:4]]
        for k in range(2):
            trust = np.maximum(clear[near, k], 0.1)
            start = (found[near, k] * trust[:, None]).sum(axis=0) / trust.sum()
            found[i, k], clear[i, k] = _refined(spectra[i], start, 0.05, 3)
        todo[i] = False
        done.append(i)
        gap = np.minimum(gap, apart[i])
    return found, clear


def _projective(centres: Floats, fields: Floats, clear: Floats, shape: tuple[int, ...]) -> Floats:
    """The homography, pixels -> mm, whose derivatives at the windows' centres are the frequencies found there (robustly)."""
    middle = np.array([shape[1] / 2, shape[0] / 2])
    unit = max(shape[:2]) / 2.0
    x, y = ((centres - middle) / unit).T
    weight = np.clip(clear - _LEAST, 0.0, 10.0)
    if (weight.min(axis=1) > 0).sum() < 1:
        raise EcgError("no millimetre grid was found that holds together")
    weight = np.sqrt(weight / weight.max())
    scale = np.linalg.norm(np.median(fields[weight.min(axis=1) > 0], axis=0)) * unit

    def derivatives(p: Floats) -> Floats:
        a, b, c, d, g, h = p
        w = 1 + g * x + h * y
        u, v = a * x + b * y, c * x + d * y
        made: Floats = np.stack([(a * w - u * g), (b * w - u * h), (c * w - v * g), (d * w - v * h)], axis=1) / (w**2)[:, None]
        return made

    measured = (fields * unit / scale).reshape(-1, 4)
    each = np.repeat(weight, 2, axis=1)

    def gap(p: Floats) -> Floats:
        # A weak pull keeps a sheet of which little is seen flat.
        return np.concatenate([((derivatives(p) - measured) * each).ravel(), 0.02 * p[4:]])

    fit = _robust(gap, np.concatenate([np.median(measured[weight.min(axis=1) > 0], axis=0), [0.0, 0.0]]), 0.01)
    a, b, c, d, g, h = fit
    if (1 + g * x + h * y).min() < 0.3:
        raise EcgError("the paper is seen too much from the side to be read")
    to_unit = np.array([[1 / unit, 0, -middle[0] / unit], [0, 1 / unit, -middle[1] / unit], [0, 0, 1]])
    found: Floats = np.diag([scale, scale, 1.0]) @ np.array([[a, b, 0], [c, d, 0], [g, h, 1]]) @ to_unit
    return found


def _robust(gap: Callable[[Floats], Floats], start: Floats, scale: float) -> Floats:
    """The parameters at which gaps are least, as sum of 2 scale^2 (sqrt(1 + (gap / scale)^2) - 1), by Levenberg's and
    Marquardt's steps. (scipy.optimize does it too; loading that takes longer than all of the grid.)"""

    def cost(rest: Floats) -> float:
        return float((np.sqrt(1 + (rest / scale) ** 2) - 1).sum())

    p, rest = start, gap(start)
    least, damp = cost(rest), 1e-3
    for _ in range(200):
        step = 1e-7 * np.maximum(np.abs(p), 1e-2)
        slope = np.stack([(gap(p + step[k] * np.eye(len(p))[k]) - rest) / step[k] for k in range(len(p))], axis=1)
        weight = 1 / np.sqrt(1 + (rest / scale) ** 2)
        normal, pull = (slope * weight[:, None]).T @ slope, slope.T @ (weight * rest)
        moved = p - np.linalg.solve(normal + damp * np.diag(np.diag(normal) + 1e-12), pull)
        new = gap(moved)
        now = cost(new)
        if now < least:
            done = least - now < 1e-9 * least
            p, rest, least, damp = moved, new, now, max(damp / 5, 1e-9)
            if done:
                break
        else:
            damp *= 5
            if damp > 1e6:
                break
    return p


def _placed(to_mm: Floats, w: int, h: int) -> tuple[Floats, tuple[float, float]]:
    """The map moved so that the image's outline begins at (0, 0), and the sheet's size, mm."""
    outline = np.array([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]])
    at = np.c_[outline, np.ones(4)] @ to_mm.T
    at = at[:, :2] / at[:, 2:]
    low, high = at.min(axis=0), at.max(axis=0)
    size = high - low
    if not (np.isfinite(size).all() and 20 < size.min() and size.max() < 1.6 * _LONGEST_SIDE):
        raise EcgError(f"the grid would make this a sheet of {size[0]:.0f} x {size[1]:.0f} mm")
    return np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]]) @ to_mm, (float(size[0]), float(size[1]))


def _within(image: Image, corners: Floats) -> Lattice:
    """The lattice inside corners that the caller gives: they flatten the sheet, and the grid on it gives the millimetres."""
    import cv2

    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = max(sides[0], sides[2]), max(sides[1], sides[3])
    if not (np.isfinite(corners).all() and min(width, height) >= 100):
        raise EcgError("the corners enclose no sheet")
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    flat_to_image = cv2.getPerspectiveTransform(target, corners.astype(np.float32)).astype(np.float64)
    flat = cv2.warpPerspective(
        image, flat_to_image, (round(width), round(height)), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    inner = find_lattice(flat)
    return replace(inner, homography=flat_to_image @ inner.homography)


_FLAT = 0.12  # mm: what a homography leaves on flat paper, by rounding and noise


def _bent(shades: tuple[Image, Image], to_pixel: Floats, size: tuple[float, float], level: float, faint: bool) -> Lattice:
    """The lattice of a picture's `paleness`, made exact by the carriers' phases on the rectified sheet: first the homography,
    then what it leaves."""
    lattice = Lattice(to_pixel, _no_bend(size), size)
    for _ in range(2):
        step, clear = _measured(shades, lattice, level, faint)
        moved = _refit(step, clear)
        h, w = shades[0].shape
        to_mm, size = _placed(np.asarray(np.linalg.inv(lattice.homography @ moved), np.float64), w, h)
        lattice = Lattice(np.asarray(np.linalg.inv(to_mm), np.float64), _no_bend(size), size)
        if np.abs(step - step.mean(axis=(0, 1))).max() < 0.1:
            break
    step, clear = _measured(shades, lattice, level, faint)
    # The whole lattice may stand anywhere on the sheet: the mean says where the first line is, and bends nothing.
    origin = np.array([np.average(step[:, :, k], weights=clear[:, :, k] ** 2) for k in (0, 1)], np.float32)
    for _ in range(2):
        step = step - origin
        sure = clear > 0.5 * np.median(clear, axis=(0, 1))
        if np.sqrt(np.mean(step[sure] ** 2)) < _FLAT:
            break
        lattice = replace(lattice, bend=lattice.bend + step)
        step, clear = _measured(shades, lattice, level, faint)
    return replace(lattice, origin=(float(origin[0] % 5), float(origin[1] % 5)), clear=clear)


def _no_bend(size: tuple[float, float]) -> Field:
    return np.zeros((int(np.ceil(size[1] / 5)) + 1, int(np.ceil(size[0] / 5)) + 1, 2), np.float32)


_FINE = 6  # pixels to the millimetre of the sheet on which phases are measured


def _measured(shades: tuple[Image, Image], lattice: Lattice, level: float, faint: bool) -> tuple[Field, Field]:
    """How far (mm) the lines stand from multiples of 5 mm at every 5 mm, (h, w, 2) in x and y, and how clear they are there."""
    import cv2

    w, h = (round(v * _FINE) for v in lattice.size)
    at_x, at_y = sheet_to_image(lattice, w, h, _FINE)
    # Straight lines between pixels would blur the millimetre lines, and more in one place than in another; and so would ink
    # that is cut off before.
    dark, black = (cv2.remap(s, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE) for s in shades)
    flat = _levelled(_lines(dark, black, level, faint), 4 * _FINE | 1)
    shape = lattice.bend.shape[:2]
    moves, clear = zip(*(_displacement(flat, axis, shape) for axis in (0, 1)), strict=True)
    return np.stack(moves, axis=2), np.stack(clear, axis=2)


def _refit(step: Field, clear: Field) -> Floats:
    """The homography (3, 3) nearest to x -> x + step(x) (mm), by weighted least squares, robustly."""
    h, w = step.shape[:2]
    x, y = (v.ravel() * 5.0 for v in np.meshgrid(np.arange(w), np.arange(h)))
    move = (step - np.average(step, axis=(0, 1), weights=clear**2)).reshape(-1, 2).astype(np.float64)
    weight = clear.reshape(-1, 2).astype(np.float64)
    weight = np.where(weight > 0.3 * np.median(weight, axis=0), weight, 0.0)
    unit = max(float(x.max()), float(y.max()), 1.0)
    x, y, move = x / unit, y / unit, move / unit
    zero, one = np.zeros_like(x), np.ones_like(x)
    fit = np.zeros(8)
    trust = weight.copy()
    for _ in range(4):
        u, v = x + move[:, 0], y + move[:, 1]
        rows = np.concatenate(
            [
                np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=1) * trust[:, :1],
                np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=1) * trust[:, 1:],
            ]
        )
        fit = np.linalg.lstsq(rows, np.concatenate([u * trust[:, 0], v * trust[:, 1]]), rcond=1e-9)[0]
        z = 1 + fit[6] * x + fit[7] * y
        gap = np.stack([(fit[0] * x + fit[1] * y + fit[2]) / z - u, (fit[3] * x + fit[4] * y + fit[5]) / z - v], axis=1)
        trust = weight / (1 + (gap * unit / 0.5) ** 2)
    scale = np.diag([1 / unit, 1 / unit, 1.0])
    return np.asarray(np.linalg.inv(scale) @ np.append(fit, 1.0).reshape(3, 3) @ scale)


def _displacement(lines: Field, axis: int, shape: tuple[int, int]) -> tuple[Field, Field]:
    """How far (mm) the lines stand from multiples of 5 mm in x (axis 0) or y (1), at every 5 mm; and how clear they are."""
    import cv2

    square = 5 * _FINE
    h, w = lines.shape
    rows, columns = h // square, w // square
    part = lines[: rows * square, : columns * square]
    # Both carriers go through all their phases in a square: the mean along the lines first, then once across them.
    if axis == 0:
        mean = cv2.resize(part, (columns * square, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns, square)
    else:
        mean = cv2.resize(part, (columns, rows * square), interpolation=cv2.INTER_AREA).T.reshape(columns, rows, square)
    x = np.arange(square)

    def carrier(period: float) -> tuple[NDArray[np.complex64], Field]:
        wave = np.exp(-2j * np.pi * (x + 0.5) / period) / square
        mixed = [np.ascontiguousarray(mean @ side.astype(np.float32)) for side in (wave.real, wave.imag)]
        smooth = [cv2.GaussianBlur(m, (0, 0), 1.6, borderType=cv2.BORDER_REPLICATE) for m in mixed]
        whole = (smooth[0] + 1j * smooth[1]).astype(np.complex64)
        return whole, np.abs(whole).astype(np.float32)

    five, clear5 = carrier(square)
    one, clear1 = carrier(_FINE)
    coarse = -np.angle(five) / (2 * np.pi) * 5.0
    coarse = _unwrapped(coarse, clear5, 5.0)
    fine = -np.angle(one) / (2 * np.pi)
    fine = fine + np.round(_smooth(coarse, clear5) - fine)
    # The millimetre lines are five times as exact where they can be seen.
    trust5, trust1 = clear5**2, 25 * clear1**2
    whole = (coarse * trust5 + fine * trust1) / (trust5 + trust1 + 1e-12)
    clear = np.hypot(clear5, clear1)
    smooth = _smooth(whole, clear**2)
    # Block k stands in the middle of square k; the field is wanted at the lines, 0, 5, 10, ... mm.
    out_h, out_w = (shape[1], shape[0]) if axis else shape
    at_x, at_y = np.meshgrid(np.arange(out_w, dtype=np.float32) - 0.5, np.arange(out_h, dtype=np.float32) - 0.5)
    moved, clear = (
        cv2.remap(f.astype(np.float32), at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for f in (smooth, clear)
    )
    if axis == 1:
        moved, clear = np.ascontiguousarray(moved.T), np.ascontiguousarray(clear.T)
    return moved, clear


def _unwrapped(value: Field, clear: Field, period: float) -> Field:
    """A field known up to multiples of a period, made smooth: from its clearest place outwards."""
    return np.asarray(_grow(value.astype(np.float64), clear.astype(np.float64), period), np.float32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _grow(value: Floats, clear: Floats, period: float) -> Floats:
    h, w = value.shape
    out = value.copy()
    done = np.zeros((h, w), np.bool_)
    edge, edges = np.empty(h * w, np.int64), 0  # what stands beside those that are done
    beside = np.zeros((h, w), np.bool_)
    at = int(np.argmax(clear))
    for step in range(h * w):
        ti, tj = at // w, at % w
        if step > 0:
            top, best = -1.0, 0
            for k in range(edges):
                here = clear[edge[k] // w, edge[k] % w]
                if here > top:
                    top, best = here, k
            ti, tj = edge[best] // w, edge[best] % w
            edges -= 1
            edge[best] = edge[edges]
            total, weight = 0.0, 1e-12
            for i in range(max(ti - 2, 0), min(ti + 3, h)):
                for j in range(max(tj - 2, 0), min(tj + 3, w)):
                    if done[i, j]:
                        total += clear[i, j] * out[i, j]
                        weight += clear[i, j]
            out[ti, tj] += period * np.round((total / weight - out[ti, tj]) / period)
        done[ti, tj] = True
        beside[ti, tj] = True
        for i, j in ((ti - 1, tj), (ti + 1, tj), (ti, tj - 1), (ti, tj + 1)):
            if 0 <= i < h and 0 <= j < w and not beside[i, j]:
                beside[i, j] = True
                edge[edges] = i * w + j
                edges += 1
    return out


def _smooth(value: Field, weight: Field, sigma: float = 2.0) -> Field:
    """Weighted Gaussian mean; where there is hardly any weight, what is known further off."""
    import cv2

    value, weight = value.astype(np.float32), weight.astype(np.float32) + 1e-12
    out = np.zeros_like(value)
    sure = np.zeros_like(value)
    for s in (sigma, 3 * sigma, 12 * sigma):
        den = cv2.GaussianBlur(weight, (0, 0), s, borderType=cv2.BORDER_REFLECT)
        num = cv2.GaussianBlur(value * weight, (0, 0), s, borderType=cv2.BORDER_REFLECT)
        share = np.clip(den / (0.15 * float(weight.max())), 0, 1) * (1 - sure) if s < 12 * sigma else 1 - sure
        out += share * num / np.maximum(den, 1e-20)
        sure += share
    return out


def rectify(image: Image, lattice: Lattice) -> Image:
    """The sheet as seen from straight above, SCALE pixels to the millimetre, RGB."""
    import cv2

    w, h = (round(v * SCALE) for v in lattice.size)
    at_x, at_y = sheet_to_image(lattice, w, h)
    return cv2.remap(image, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[no-any-return]


def sheet_to_image(lattice: Lattice, w: int, h: int, scale: int = SCALE) -> tuple[Field, Field]:
    """Where each pixel of the rectified sheet (h, w), `scale` pixels to the mm, lies in the image: x, y (h, w) float32."""
    step = 5 * scale // 2
    x, y = (_dense(node, w, h, step) for node in _nodes(lattice, w, h, scale))
    return x, y


def _nodes(lattice: Lattice, w: int, h: int, scale: int) -> tuple[Field, Field]:
    """Where points of the sheet lie in the image, at every 2.5 mm from half a step outside on; the map is straight between them
    (to 1/50 pixel even where the paper is seen at 45 degrees)."""
    import cv2

    # Rectified pixel i is at (i + 0.5) / scale mm; bend's entry k stands at 5 k mm.
    step = 5 * scale // 2
    nodes_w, nodes_h = w // step + 3, h // step + 3
    mm_x = ((np.arange(nodes_w, dtype=np.float32) - 0.5) * step / scale)[None]
    mm_y = ((np.arange(nodes_h, dtype=np.float32) - 0.5) * step / scale)[:, None]
    at_x, at_y = (np.ascontiguousarray(np.broadcast_to(v / 5, (nodes_h, nodes_w))) for v in (mm_x, mm_y))
    bend = cv2.remap(lattice.bend, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x, y = mm_x.astype(np.float64) + bend[:, :, 0], mm_y.astype(np.float64) + bend[:, :, 1]
    m = lattice.homography
    z = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    at = [((m[row, 0] * x + m[row, 1] * y + m[row, 2]) / z).astype(np.float32) for row in (0, 1)]
    return at[0], at[1]


def _dense(node: Field, w: int, h: int, step: int) -> Field:
    """What is known at nodes, straight between them, at the pixels of a sheet (h, w)."""
    import cv2

    dense = cv2.resize(node, (node.shape[1] * step, node.shape[0] * step), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(dense[step : step + h, step : step + w])


def unseen(lattice: Lattice, shape: tuple[int, ...], source: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of the rectified sheet (H, W) the image (of shape `source`) does not show."""
    x, y = _nodes(lattice, shape[1], shape[0], SCALE)
    edge = 1.0
    inside = np.minimum(np.minimum(x, y) - edge, np.minimum(source[1] - 1 - edge - x, source[0] - 1 - edge - y))
    return np.asarray(_dense(inside.astype(np.float32), shape[1], shape[0], _SQUARE // 2) < 0)
