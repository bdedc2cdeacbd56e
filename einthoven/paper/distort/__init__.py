"""Pictures of paper: what scanners, cameras, copiers, pockets and years do to a page, with the truth carried along.

    image, page = render(record)
    picture, truth = distort(image, page, "photo", seed=7)
    truth.traces(record)            # polylines in the picture's pixels

All geometric steps make one map (`Warp`), and the page is resampled once. `table.py` is the list of all distortions.
"""

from einthoven.paper.distort.presets import PRESETS, Step
from einthoven.paper.distort.run import distort
from einthoven.paper.distort.table import DISTORTIONS
from einthoven.paper.distort.truth import Truth
from einthoven.paper.distort.warp import Bend, Warp

__all__ = ["DISTORTIONS", "PRESETS", "Bend", "Step", "Truth", "Warp", "distort"]
