# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation: on its page the error of each vertebra (the paper's Fig. 6) and three scans (Fig. 5);
besides, ladders, which show what each vertebra of each scan was called."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np

from spinefinder_fast.evaluation.cases import LIMIT_MM, Case
from spinefinder_fast.evaluation.summary import goodness
from spinefinder_fast.report.picture import draw_spine
from spinefinder_fast.scan import Scan

_INKS: Final = {"#010203": "var(--ink)", "#040506": "var(--faint)", "#070809": "var(--accent)", "#0a0b0c": "var(--bad)"}
"""Colours that stand for those of the page, which has a light and a dark side."""

_INK, _FAINT, _ACCENT, _BAD = _INKS


def box_plot(by_vertebra: Sequence[Mapping[str, Any]]) -> str:
    """The error of each vertebra as an SVG element: box from quartile to quartile with the median, whiskers to the last
    point within one and a half times that, and every point; below, how many of how many have no prediction of their
    name.

    Args:
        by_vertebra: of the document of `summary.summarise`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = [row for row in by_vertebra if row["annotated"]]
    top = max([LIMIT_MM * 1.25, *(e for row in rows for e in row["errors_mm"])]) * 1.06
    figure = Figure(figsize=(max(5.2, 0.36 * len(rows) + 1.0), 3.6))
    axes = figure.add_axes((0.07, 0.2, 0.92, 0.76))
    rng = np.random.default_rng(0)
    for x, row in enumerate(rows):
        errors = row["errors_mm"]
        if len(errors) > 3:
            axes.boxplot([errors], positions=[x], widths=0.62, showfliers=False, medianprops={"color": _ACCENT},
                         boxprops={"color": _FAINT}, whiskerprops={"color": _FAINT},
                         capprops={"color": _FAINT})  # fmt: skip
        spread = rng.uniform(-0.17, 0.17, len(errors)) if len(errors) > 1 else np.zeros(len(errors))
        axes.plot(x + spread, errors, "o", markersize=3.2, color=_ACCENT, alpha=0.6, markeredgewidth=0)
        missing = row["annotated"] - len(errors)
        axes.annotate(f"{missing}/{row['annotated']}", (x, 0), xycoords=("data", "axes fraction"), xytext=(0, -25),
                      textcoords="offset points", ha="center", va="top", fontsize=7.5,
                      color=_BAD if missing else _FAINT)  # fmt: skip
    axes.axhline(LIMIT_MM, color=_FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate("20 mm", (1, LIMIT_MM), xycoords=("axes fraction", "data"), xytext=(0, 3),
                  textcoords="offset points", ha="right", fontsize=7.5, color=_FAINT)  # fmt: skip
    axes.annotate("no prediction", (0, 0), xycoords="axes fraction", xytext=(0, -38), textcoords="offset points",
                  ha="left", va="top", fontsize=7.5, color=_FAINT)  # fmt: skip
    axes.set_xlim(-0.7, len(rows) - 0.3)
    axes.set_ylim(0, top)
    axes.set_xticks(range(len(rows)), [row["name"] for row in rows], fontsize=8.5, color=_INK)
    axes.tick_params(axis="y", labelsize=8.5, colors=_INK)
    axes.tick_params(axis="both", length=0)
    axes.set_ylabel("error, mm", fontsize=8.5, color=_INK)
    axes.yaxis.grid(True, color=_FAINT, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    image = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spinefinder", "font.family": "sans-serif"}):
        figure.savefig(image, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(image.getvalue(), "Error in mm of each vertebra, as a box plot; the table below has the medians")


def _inline(svg: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    # The first tag only: of the page, no fixed size, the page's fonts, a name for those who do not see it.
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 inherit", rest)
    rest = re.sub(r"font-family: [^;\"]*", "font-family: inherit", rest)
    for colour, variable in _INKS.items():
        rest = rest.replace(colour, variable)
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{title}" class="plot">{rest}'


def three_scans(cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """The best, the middle and the worst of the scans that are at hand; fewer where there are fewer."""
    ranked = sorted((case for case in cases if case.scan is not None), key=goodness, reverse=True)
    if not ranked:
        return []
    chosen = {0: "best", (len(ranked) - 1) // 2: "middle", len(ranked) - 1: "worst"}
    if len(ranked) == 2:
        chosen = {0: "best", 1: "worst"}
    if len(ranked) == 1:
        chosen = {0: "the one scan"}
    return [(word, ranked[i]) for i, word in sorted(chosen.items())]


def picture(case: Case, scan: Scan) -> bytes:
    """PNG: predicted centroids as dots, annotated ones as rings, on planes along the spine."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw_spine(scan, case.prediction, path, truth=case.truth)
        return path.read_bytes()


def judged(case: Case, name: str) -> Literal["right", "wrong", "extra"]:
    """Whether a predicted name is right; wrong, where it is the nearest to another vertebra or far from its own; or
    extra: of a vertebra that is not annotated, and of no other."""
    if any(o.name == name and o.fate == "identified" for o in case.outcomes):
        return "right"
    taken = any(o.nearest == name and o.fate == "misnamed" for o in case.outcomes)
    return "wrong" if taken or name in case.truth else "extra"


def ladders(cases: Sequence[Case]) -> bytes:
    """PNG: each scan as a ladder, annotated vertebrae on the left at their heights and predicted ones on the right, the
    best scan first. A line joins a vertebra to the prediction nearest to it; names that are wrong are red.

    The heights alone are drawn, so the picture shows nothing of a scan.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ink, faint, good, bad = "#222222", "#999999", "#1a7f5a", "#c0392b"
    ranked = sorted(cases, key=goodness, reverse=True)
    columns = max(1, min(5, len(ranked)))
    rows = -(-len(ranked) // columns)
    figure = Figure(figsize=(2.1 * columns, 3.4 * max(1, rows)), layout="constrained")
    FigureCanvasAgg(figure)
    every = [[v.lps[2] for v in (*case.truth, *case.prediction)] for case in ranked]
    tallest = max([60.0, *(max(heights) - min(heights) for heights in every if heights)])
    for i, (case, heights) in enumerate(zip(ranked, every, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        middle = 0.5 * (max(heights) + min(heights)) if heights else 0.0
        for vertebra in case.truth:
            z = vertebra.lps[2] - middle
            axes.plot([0], [z], "o", color=faint, markersize=4)
            axes.text(-0.08, z, vertebra.name, ha="right", va="center", fontsize=7, color=ink)
        for outcome in case.outcomes:
            if outcome.fate in ("identified", "misnamed") and outcome.nearest:
                ends = case.truth[outcome.name].lps[2] - middle, case.prediction[outcome.nearest].lps[2] - middle
                axes.plot([0, 1], ends, "-", color=good if outcome.fate == "identified" else bad, linewidth=0.9)
            elif outcome.fate == "missed":
                z = case.truth[outcome.name].lps[2] - middle
                axes.plot([0.12], [z], "x", color=bad, markersize=5)
        for vertebra in case.prediction:
            z = vertebra.lps[2] - middle
            colour = {"right": good, "wrong": bad, "extra": faint}[judged(case, vertebra.name)]
            axes.plot([1], [z], "o", color=colour, markersize=4)
            axes.text(1.08, z, vertebra.name, ha="left", va="center", fontsize=7, color=colour)
        axes.set_title(case.name, fontsize=7.5, color=ink)
        axes.set_xlim(-0.6, 1.6)
        axes.set_ylim(-0.54 * tallest - 8, 0.54 * tallest + 8)
        axes.set_axis_off()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, metadata={"Software": None})
    return image.getvalue()
