# SPDX-License-Identifier: Apache-2.0
"""The picture: two reformats along the spine, with every centroid named."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.files import write_bytes
from spinefinder_fast.scan.read import Scan, ScanFile
from spinefinder_fast.scan.sample import sample
from spinefinder_fast.spine import Spine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REGION_COLOURS: Final = {"C": "#ffb454", "T": "#56c8f5", "L": "#9fe26a", "S": "#ff8fb1"}
_REGIONS: Final = {"C": "cervical", "T": "thoracic", "L": "lumbar", "S": "sacral"}
_PAPER: Final = "#0c0e13"
_INK: Final = "#e9ebee"
_FAINT: Final = "#8b919c"
_WINDOW_HU: Final = (-200.0, 800.0)
_SLAB_MM: Final = (-1.5, 0.0, 1.5)
"""A thin slab instead of a plane: less noise, and no bone is lost."""
_DPI: Final = 160
_MAX_INCH_PER_MM: Final = 0.05
_MAX_HEIGHT_INCH: Final = 8.5
_MAX_WIDTH_INCH: Final = 7.5
_GUTTER_INCH: Final = 0.5
_ROW_INCH: Final = 0.165
_FONT_PT: Final = 9.0


@dataclass(frozen=True)
class _View:
    """A curved plane that shows one patient axis across and z upwards.

    Attributes:
        title: what it is called.
        across: world axis shown across: 1 (front to back) in the sagittal view, 0 (right to left) in the coronal one.
        ends: patient direction at the left and the right edge.
        margins_mm: what is shown beyond the spine to the left and to the right.
    """

    title: str
    across: int
    ends: tuple[str, str]
    margins_mm: tuple[float, float]

    @property
    def through(self) -> int:
        """The world axis along which the plane bends."""
        return 1 - self.across


_VIEWS: Final = (_View("sagittal", 1, ("A", "P"), (75.0, 75.0)), _View("coronal", 0, ("R", "L"), (75.0, 75.0)))


def draw_spine(scan: Scan | ScanFile, spine: Spine, path: Path, truth: Spine | None = None) -> None:
    """Draw the mid-sagittal and the mid-coronal plane along the spine as a PNG.

    Each plane follows a smooth curve through the centroids and goes on straight beyond the first and the last, so
    that a bent spine stays in the picture. Without centroids both are the plain middle planes.

    Args:
        scan: the scan; one in its file is read once more, and never held.
        spine: centroids to draw as dots with names.
        path: PNG file to write.
        truth: annotated centroids to draw as hollow rings.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    low, high = _box(scan)
    guide = spine if len(spine) or truth is None else truth
    shown = [_shown(view, guide, low, high) for view in _VIEWS]
    widths_mm, height_mm = [stop - start for start, stop in shown], high[2] - low[2]
    scale = min(_MAX_INCH_PER_MM, _MAX_HEIGHT_INCH / height_mm, _MAX_WIDTH_INCH / sum(widths_mm))

    # Between places nearer than half a voxel nothing is new; the drawing interpolates there.
    step_mm = max(1 / (scale * _DPI), 0.5 * min(scan.grid.spacing_mm))
    planes = [
        _plane(scan, view, guide, across, (low[2], high[2]), step_mm)
        for view, across in zip(_VIEWS, shown, strict=True)
    ]
    # All at once: a scan may have to be read for it.
    values = sample(scan, np.concatenate([plane.reshape(-1, 3) for plane in planes]))
    ends = np.cumsum([plane.size // 3 for plane in planes])[:-1]
    images = [
        of_view.reshape(plane.shape[:-1]).mean(axis=0)
        for of_view, plane in zip(np.split(values, ends), planes, strict=True)
    ]

    edge, gap, head, foot = 0.3, 0.2, 0.87, 0.6
    used = scale * sum(widths_mm) + 2 * _GUTTER_INCH + gap
    width, height = max(used + 2 * edge, 5.0), scale * height_mm + head + foot
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_PAPER)
    left = (width - used) / 2
    for view, (start, stop), image in zip(_VIEWS, shown, images, strict=True):
        inches = scale * (stop - start)
        axes = figure.add_axes((left / width, foot / height, inches / width, scale * height_mm / height))
        axes.imshow(image, cmap="gray", vmin=_WINDOW_HU[0], vmax=_WINDOW_HU[1], origin="lower",
                    extent=(start, stop, low[2], high[2]), interpolation="bilinear", aspect="equal")  # fmt: skip
        axes.set_axis_off()
        _draw_directions(axes, view)
        _draw_points(axes, view, spine, truth, scale)
        left += inches + _GUTTER_INCH + gap
    _draw_scale_bar(figure.axes[0], scale)
    _draw_frame(figure, scan, spine, truth)
    picture = io.BytesIO()
    quick = {"compress_level": 2}  # half the time of the default, for files a quarter larger
    figure.savefig(picture, format="png", facecolor=_PAPER, metadata={"Software": None}, pil_kwargs=quick)
    write_bytes(path, picture.getvalue())


def _box(scan: Scan | ScanFile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest world coordinates of the scan's voxels, LPS mm."""
    corners = np.stack(np.meshgrid(*((-0.5, n - 0.5) for n in scan.grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    world = scan.grid.to_lps(corners)
    return world.min(axis=0), world.max(axis=0)


def _shown(view: _View, guide: Spine, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[float, float]:
    """Range of the axis across that is shown, mm: the neighbourhood of the spine, or all of it without one."""
    first, last = float(low[view.across]), float(high[view.across])
    if not len(guide):
        return first, last
    positions = guide.lps()[:, view.across].clip(first, last)
    return max(first, positions.min() - view.margins_mm[0]), min(last, positions.max() + view.margins_mm[1])


def _curve(guide: Spine, heights: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the spine's curve at the world heights z, LPS mm, shape (n, 3)."""
    from scipy.interpolate import PchipInterpolator

    if not len(guide):
        return np.column_stack([np.broadcast_to(middle[:2], (len(heights), 2)), heights])
    points = guide.lps()[np.argsort(guide.lps()[:, 2])]
    # Two centroids at one height leave no curve over z: neighbours closer than 2 mm become their mean.
    group = np.concatenate([[0], np.cumsum(np.diff(points[:, 2]) > 2.0)])
    knots = np.array([points[group == g].mean(axis=0) for g in range(group[-1] + 1)])
    if len(knots) == 1:
        return np.column_stack([np.broadcast_to(knots[0, :2], (len(heights), 2)), heights])
    inside = PchipInterpolator(knots[:, 2], knots[:, :2])(heights.clip(knots[0, 2], knots[-1, 2]))
    # Beyond the ends along the chord of the last few centroids, which noise in a single one cannot throw off.
    few = min(3, len(knots) - 1)
    slopes = [(knots[few] - knots[0]) / (knots[few, 2] - knots[0, 2]),
              (knots[-1] - knots[-1 - few]) / (knots[-1, 2] - knots[-1 - few, 2])]  # fmt: skip
    below, above = (heights - knots[0, 2]).clip(max=0), (heights - knots[-1, 2]).clip(min=0)
    inside += below[:, None] * slopes[0][:2] + above[:, None] * slopes[1][:2]
    return np.column_stack([inside, heights])


def _plane(
    scan: Scan | ScanFile,
    view: _View,
    guide: Spine,
    across: tuple[float, float],
    up: tuple[float, float],
    step_mm: float,
) -> NDArray[np.float64]:
    """Points of the curved plane, LPS mm, shape (layers of the slab, rows upwards, columns, 3): pixel centres."""
    columns = _centres(across, step_mm)
    heights = _centres(up, step_mm)
    low, high = _box(scan)
    curve = _curve(guide, heights, (low + high) / 2).clip(low, high)
    points = np.empty((len(_SLAB_MM), len(heights), len(columns), 3))
    points[..., view.across] = columns
    points[..., 2] = heights[:, None]
    points[..., view.through] = curve[:, view.through, None] + np.array(_SLAB_MM)[:, None, None]
    return points


def _centres(span: tuple[float, float], step_mm: float) -> NDArray[np.float64]:
    n = max(round((span[1] - span[0]) / step_mm), 2)
    return span[0] + (np.arange(n) + 0.5) * (span[1] - span[0]) / n


def _draw_points(axes: Axes, view: _View, spine: Spine, truth: Spine | None, scale: float) -> None:
    """Truth as rings, centroids as dots, empty where inferred; the names in a column beside, each on its row."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    outline = _outline(1.6)
    for vertebra in truth or ():
        axes.plot(vertebra.lps[view.across], vertebra.lps[2], "o", markersize=9, markerfacecolor="none",
                  markeredgecolor="white", markeredgewidth=1.1, clip_on=False, path_effects=_outline(2.2))  # fmt: skip
    points = sorted(spine, key=lambda v: v.lps[2])
    row_mm = min(_ROW_INCH / scale, (top - bottom) / max(len(points), 1))
    rows = _spread([v.lps[2] for v in points], row_mm, (bottom + row_mm / 2, top - row_mm / 2))
    font = _FONT_PT * row_mm * scale / _ROW_INCH
    for vertebra, row in zip(points, rows, strict=True):
        x, z = vertebra.lps[view.across], vertebra.lps[2]
        colour = REGION_COLOURS[anatomy.region_of(vertebra.name)]
        knee = right + 0.10 / scale
        axes.plot([x, right, knee], [z, z, row], color=colour, linewidth=0.7, alpha=0.45,
                  clip_on=False, solid_joinstyle="round")  # fmt: skip
        edge, fill = (colour, "none") if vertebra.inferred else (_PAPER, colour)
        axes.plot(x, z, "o", markersize=4.6, markerfacecolor=fill, markeredgecolor=edge, markeredgewidth=0.8,
                  clip_on=False)  # fmt: skip
        axes.text(knee + 0.04 / scale, row, vertebra.name, color=colour, fontsize=font, fontweight="bold",
                  ha="left", va="center_baseline", path_effects=outline)  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _spread(wanted: Sequence[float], apart: float, within: tuple[float, float]) -> list[float]:
    """Ascending positions as close as can be to the ascending `wanted` (least squares), at least `apart` apart.

    Without the spacing ``i * apart`` this is isotonic regression: runs that would overlap share their mean.
    """
    runs: list[tuple[float, int]] = []
    for i, position in enumerate(wanted):
        mean, size = position - i * apart, 1
        while runs and runs[-1][0] > mean:
            before, n = runs.pop()
            mean, size = (before * n + mean * size) / (n + size), n + size
        runs.append((mean, size))
    room = max(within[0], within[1] - (len(wanted) - 1) * apart)
    free = [min(max(mean, within[0]), room) for mean, size in runs for _ in range(size)]
    return [position + i * apart for i, position in enumerate(free)]


def _draw_directions(axes: Axes, view: _View) -> None:
    # Outside the picture, where no bone hides them and no leader crosses them.
    for letter, x, y, align in ((view.ends[0], 0, 0, "left"), ("I", 0.5, 0, "center"), (view.ends[1], 1, 0, "right"),
                                ("S", 0.5, 1, "center")):  # fmt: skip
        axes.annotate(letter, (x, y), xytext=(0, 4 if y else -4), textcoords="offset points", xycoords="axes fraction",
                      color=_INK, fontsize=9, ha=align, va="bottom" if y else "top")  # fmt: skip
    axes.annotate(view.title, (0, 1), xytext=(0, 5), textcoords="offset points",
                  xycoords="axes fraction", color=_FAINT, fontsize=8, ha="left", va="bottom")  # fmt: skip


def _draw_scale_bar(axes: Axes, scale: float) -> None:
    left, right = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    length = next(n for n in (50, 20, 10, 5, 2, 1) if n < 0.45 * (right - left) or n == 1)
    x, y = left + 0.1 / scale, bottom + 0.1 / scale
    axes.plot([x, x + length], [y, y], color=_INK, linewidth=2, solid_capstyle="butt", path_effects=_outline(3.2))
    axes.text(x + length / 2, y + 0.04 / scale, f"{length} mm", color=_INK, fontsize=7, ha="center", va="bottom",
              path_effects=_outline(1.6))  # fmt: skip


def _draw_frame(figure: Figure, scan: Scan | ScanFile, spine: Spine, truth: Spine | None) -> None:
    """Title above, legend and notice below."""
    width, height = figure.get_size_inches()
    margin = 0.3 / width
    title = "".join(c if c.isprintable() and ord(c) < 0x180 else "?" for c in scan.name)
    size = min(13.0, 13.0 * (width - 0.6) / (0.125 * max(len(title), 1)))
    figure.text(margin, 1 - 0.16 / height, title, color=_INK, fontsize=size, fontweight="bold",
                ha="left", va="top", parse_math=False)  # fmt: skip
    count = sum(not vertebra.inferred for vertebra in spine)
    inferred = "".join(f" · {vertebra.name} inferred" for vertebra in spine if vertebra.inferred)
    found = (
        f"{count} {'vertebra' if count == 1 else 'vertebrae'} found{inferred} · planes along the spine"
        if count
        else "no vertebra found"
    )
    figure.text(
        margin, 1 - 0.41 / height, found, color=_FAINT if count else "#ff6b6b", fontsize=9.5, ha="left", va="top"
    )

    x = margin
    present = {anatomy.region_of(v.name) for v in spine}
    entries = [(REGION_COLOURS[r], name, True) for r, name in _REGIONS.items() if r in present]
    entries += [("white", "annotated", False)] if truth is not None and len(truth) else []
    from matplotlib.lines import Line2D

    for colour, name, filled in entries:
        figure.add_artist(Line2D([x + 0.04 / width], [0.3 / height], marker="o", markersize=5 if filled else 6,
                                 color=colour, markerfacecolor=colour if filled else "none", linestyle=""))  # fmt: skip
        figure.text(x + 0.12 / width, 0.3 / height, name, color=_INK, fontsize=8, va="center_baseline")
        x += (0.28 + 0.068 * len(name)) / width
    figure.text(1 - margin, 0.12 / height, "spinefinder_fast · research software, not a medical device", color=_FAINT,
                fontsize=6.5, ha="right", va="center_baseline")  # fmt: skip


def _outline(width: float) -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=_PAPER)]
