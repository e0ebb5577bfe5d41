"""Still pictures of the charts, for where scripts do not run: inline SVG."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

import vl_convert

from ges_history.reports.page.charts import Spec
from ges_history.reports.page.series import Datasets

WIDTH = 420
"""Pixels; the page scales the picture to its column."""

_RULES = ("selection", "params")


def draw_still(spec: Spec, datasets: Datasets, width: int = WIDTH) -> str:
    """The chart as an SVG element that follows the page's colours."""
    layers = [layer for layer in spec["layer"] if not _is_pointer(layer)]
    frozen = {key: value for key, value in spec.items() if key not in _RULES}
    drawn = {**frozen, "layer": layers, "width": width, "datasets": datasets}
    return _tidy(vl_convert.vegalite_to_svg(drawn, allowed_base_urls=[]))


def _is_pointer(layer: Spec) -> bool:
    return str(layer.get("name", "")).endswith("_pointer")


def _tidy(svg: str) -> str:
    """Without what only a file of its own needs, coordinates to a tenth of a pixel."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"-?\d+\.\d{2,}", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), svg)
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1">', svg, count=1)


def day_paths(verdicts: Sequence[str]) -> dict[str, str]:
    """{verdict: the outline of its days}, a day 1 wide and 10 high; neighbours together."""
    paths, first = dict[str, str](), 0
    for verdict, days in groupby(verdicts):
        length = len(list(days))
        paths[verdict] = paths.get(verdict, "") + f"M{first} 0h{length}v10h-{length}z"
        first += length
    return paths


def sparkline(values: Iterable[float], points: int = 40) -> str:
    """The points of a small line in a box of 100 by 20; empty below two values."""
    found = list(values)
    if len(found) < 2:
        return ""
    step = max((len(found) - 1) / (points - 1), 1)
    picked = [found[round(n * step)] for n in range(min(points, len(found)))]
    low, high = min(picked), max(picked)
    spread = (high - low) or 1
    width = 100 / (len(picked) - 1)
    heights = [10.0 if high == low else 18 - 16 * (value - low) / spread for value in picked]
    return " ".join(f"{n * width:.0f},{y:.0f}" for n, y in enumerate(heights))
