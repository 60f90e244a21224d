"""The figures as bars: an SVG that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import Figures
from bench.stacks import BY_NAME
from bench.tables import OURS, number, title

WIDTH, LABELS, VALUES, MARGIN = 760, 190, 110, 16
BAR, GAP, HEAD = 16, 8, 34

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 }
.ours { font-weight: 600 }
.bar { fill: #8c959f }
.bar.ours { fill: #0969da }
.span { stroke: #1f2328; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 }
  .bar.ours { fill: #4493f8 }
  .span { stroke: #e6edf3 }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One group of bars: which figure of which case, and whether more of it is better."""

    title: str
    figures: Figures
    case: str
    metric: str
    more_is_better: bool
    worker: bool  # whether only the stacks' workers count


def chart(panels: Sequence[Panel]) -> str:
    """An SVG with a bar for each stack: the median, and a line from the least to the greatest value."""
    y, parts = MARGIN, []
    for panel in panels:
        names = [name for name in BY_NAME if panel.figures.has(name, panel.case, panel.metric)]
        spreads = {name: panel.figures.spread(name, panel.case, panel.metric) for name in names}
        names.sort(key=lambda name: spreads[name].median, reverse=panel.more_is_better)
        scale = (WIDTH - LABELS - VALUES) / max(spread.greatest for spread in spreads.values())
        better = "more" if panel.more_is_better else "less"
        parts.append(f'<text class="head" x="{MARGIN}" y="{y + 14}">{escape(panel.title)} ({better} is better)</text>')
        y += HEAD - GAP
        for name in names:
            figure, mark = spreads[name], " ours" if name == OURS else ""
            middle, end = y + BAR / 2, LABELS + figure.greatest * scale
            parts += [
                f'<text class="label{mark}" x="{LABELS - 8}" y="{y + 13}" text-anchor="end">'
                f"{escape(title(name, worker=panel.worker).strip('*'))}</text>",
                f'<rect class="bar{mark}" x="{LABELS}" y="{y}" width="{figure.median * scale:.1f}" height="{BAR}"/>',
                f'<path class="span" d="M{LABELS + figure.least * scale:.1f} {middle}H{end:.1f}"/>',
                f'<text class="value{mark}" x="{end + 8:.1f}" y="{y + 13}">{number(figure.median)}</text>',
            ]
            y += BAR + GAP
        y += MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">\n'
        f"<title>Trigger beside its peers</title>\n<style>{_STYLE}</style>\n"
    )
    return head + "\n".join(parts) + "\n</svg>\n"
