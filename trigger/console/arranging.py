"""Where the boxes of a drawing of steps stand, and how the lines between them run.

Boxes stand in rows, each in one below those of all that it needs, as high as that allows; a row of more than ACROSS is
cut into several. A line that passes a row has a place of its own there, a bend, so that none runs through a box. The
order in each row is found by the barycentre method (Sugiyama, Tagawa, Toda: Methods for Visual Understanding of
Hierarchical System Structures, 1981), and the places across by least squares (pool adjacent violators).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

ACROSS = 6  # boxes side by side
HEIGHT = 42  # of a box
GAP = 18  # between neighbours in a row

_NARROW, _WIDE = 24, 60  # between two rows: more where lines go far to the side
_SLOPE = 0.1  # how much more, for each unit that they go
_SWEEPS = 8  # how often the rows are put into order, down and up in turn
_PATIENCE = 3  # how many of them may be of no use
_STIFF = 8.0  # how much more than a box a bend wants to stand where its line is straight


@dataclass(frozen=True, slots=True)
class Bend:
    """Where lines pass a row: all of the long ones that lead to a box, or all of those that come from it."""

    row: int
    box: str
    leads: bool


Place = str | Bend


@dataclass(frozen=True, slots=True)
class Link:
    """From the lower edge of the box that is needed to the upper edge of the one that needs it.

    Between the points it runs sideways and straight down by turns: across the space between two rows, then past a row.
    """

    needed: str
    box: str
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The upper left corner of each box by its name, and the lines; all of it between 0 and `width`, 0 and `height`."""

    width: int
    height: int
    boxes: Mapping[str, tuple[int, int]]
    lines: tuple[Link, ...]


def rows_of(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The names in rows; `needs` has each name, in the order that they are told in, with those that it needs.

    What is needed and has no name of its own counts for nothing.
    """
    depths = dict.fromkeys(needs, 0)
    for _ in needs:  # a circle, which no config has, ends here too
        deeper = {
            name: max((depths[n] + 1 for n in needed if n in depths), default=0) for name, needed in needs.items()
        }
        if deeper == depths:
            break
        depths = deeper
    levels: dict[int, list[str]] = {}
    for name, depth in depths.items():
        levels.setdefault(depth, []).append(name)
    return [row for depth in sorted(levels) for row in _cut(levels[depth])]


def arrange(rows: Sequence[Sequence[str]], needs: Mapping[str, Sequence[str]], width: int) -> Arrangement:
    """Boxes of that width, standing in `rows` as `rows_of` gives them."""
    at = {name: index for index, row in enumerate(rows) for name in row}
    routes = _routes(needs, at)
    grid = _Grid.of(rows, [[needed, *bends, name] for (needed, name), bends in routes.items()])
    grid.untangle()
    across = grid.spread(width)
    tops = grid.tops(across)
    boxes = {name: (across[name] - width // 2, tops[at[name]]) for name in at}
    lines = []
    for (needed, name), bends in routes.items():
        points = [(across[needed], tops[at[needed]] + HEIGHT)]
        for bend in bends:
            points += [(across[bend], tops[bend.row]), (across[bend], tops[bend.row] + HEIGHT)]
        lines.append(Link(needed, name, (*points, (across[name], tops[at[name]]))))
    right = max((x + width for x, _ in boxes.values()), default=0)
    total = max(right, *across.values()) if across else 0
    return Arrangement(total, tops[-1] + HEIGHT if tops else 0, boxes, tuple(lines))


def _cut(level: Sequence[str]) -> list[list[str]]:
    """A level in as few rows as may be, none much shorter than the others."""
    count = -(-len(level) // ACROSS)
    edges = [round(index * len(level) / count) for index in range(count + 1)]
    return [list(level[start:end]) for start, end in pairwise(edges)]


def _routes(needs: Mapping[str, Sequence[str]], at: Mapping[str, int]) -> dict[tuple[str, str], list[Bend]]:
    """The bends of each line, by its ends.

    Long ones share their bends with others of the box that has more of them: twelve lines into one box are one line
    past the rows before it. What is shared leads to one box or comes from one, so it can't be misread.
    """
    pairs = [
        (n, name) for name, needed in needs.items() for n in dict.fromkeys(needed) if at.get(n, len(at)) < at[name]
    ]
    long = [(needed, name) for needed, name in pairs if at[name] - at[needed] > 1]
    leaving, arriving = Counter(needed for needed, _ in long), Counter(name for _, name in long)
    routes = {}
    for needed, name in pairs:
        leads = arriving[name] > leaving[needed]
        box = name if leads else needed
        routes[needed, name] = [Bend(row, box, leads) for row in range(at[needed] + 1, at[name])]
    return routes


@dataclass(slots=True)
class _Grid:
    """The rows with their bends, and what each place is joined with in the row above and in the row below."""

    rows: list[list[Place]]
    above: dict[Place, list[Place]]
    below: dict[Place, list[Place]]

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]], routes: Sequence[Sequence[Place]]) -> _Grid:
        filled: list[list[Place]] = [list(row) for row in rows]
        for bend in dict.fromkeys(place for route in routes for place in route if isinstance(place, Bend)):
            filled[bend.row].append(bend)
        places = [place for row in filled for place in row]
        grid = cls(filled, {place: [] for place in places}, {place: [] for place in places})
        for upper, lower in dict.fromkeys(pair for route in routes for pair in pairwise(route)):
            grid.above[lower].append(upper)
            grid.below[upper].append(lower)
        return grid

    def untangle(self) -> None:
        """Puts the places of each row into an order in which few lines cross."""
        best, fewest = self.rows, inf
        for side in (1, 0):
            least, since = inf, 0  # of this beginning, and for how many sweeps
            for rows in self._sweeps(self._sided(side)):
                crossings = sum(self._crossings(upper, lower) for upper, lower in pairwise(rows))
                if crossings < fewest:
                    best, fewest = rows, crossings
                least, since = (crossings, 0) if crossings < least else (least, since + 1)
                if not fewest or since == _PATIENCE:
                    break
        self.rows = best

    def _sided(self, side: int) -> list[list[Place]]:
        """The rows with the bends of one line to the left of the boxes, those of the next to the right, and so on."""
        trunks = dict.fromkeys(
            (place.box, place.leads) for row in self.rows for place in row if isinstance(place, Bend)
        )
        sides = {trunk: (index + side) % 2 * 2 - 1 for index, trunk in enumerate(trunks)}  # -1 is left, 1 right

        def key(place: Place) -> int:
            return sides[place.box, place.leads] if isinstance(place, Bend) else 0

        return [sorted(row, key=key) for row in self.rows]

    def _sweeps(self, rows: list[list[Place]]) -> Iterator[list[list[Place]]]:
        """These rows, and others, each made from those before by a look at the rows above, or below."""
        yield rows
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            rows = list(rows)
            for index in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
                beside, joined = (rows[index - 1], self.above) if down else (rows[index + 1], self.below)
                rows[index] = _ordered(rows[index], beside, joined)
            yield rows

    def _crossings(self, upper: Sequence[Place], lower: Sequence[Place]) -> int:
        """How many pairs of the lines between two rows cross."""
        at = {place: index for index, place in enumerate(lower)}
        found, ends = 0, list[int]()  # of the lines further left
        for place in upper:
            own = [at[end] for end in self.below[place]]
            found += sum(len(ends) - bisect_right(ends, end) for end in own)
            for end in own:
                insort(ends, end)
        return found

    def spread(self, width: int) -> dict[Place, int]:
        """The middle of each place, so that lines are short and neighbours keep apart."""
        across: dict[Place, float] = {}
        for row in self.rows:
            across.update(zip(row, _apart([0.0] * len(row), [1.0] * len(row), _distances(row, width)), strict=True))
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            joined = self.above if down else self.below
            for row in self.rows if down else reversed(self.rows):
                wanted = [_mean([across[end] for end in joined[place]], across[place]) for place in row]
                weights = [_STIFF if isinstance(place, Bend) else float(len(joined[place]) or 0.1) for place in row]
                across.update(zip(row, _apart(wanted, weights, _distances(row, width)), strict=True))
        self.straighten(across, width)
        left = min((middle - _half(place, width) for place, middle in across.items()), default=0.0)
        return {place: round(middle - left) for place, middle in across.items()}

    def straighten(self, across: dict[Place, float], width: int) -> None:
        """Puts the bends of the same lines straight below each other, below or above their box if they can be."""
        trunks: dict[tuple[str, bool], list[tuple[Bend, list[Place], int]]] = {}
        for row in self.rows:
            for index, bend in enumerate(row):
                if isinstance(bend, Bend):
                    trunks.setdefault((bend.box, bend.leads), []).append((bend, row, index))
        for (box, leads), bends in trunks.items():
            run, low, high = list[Bend](), -inf, inf
            for bend, row, index in reversed(bends) if leads else bends:
                least, most = _room(row, index, across, width)
                if max(low, least) > min(high, most):
                    across.update(dict.fromkeys(run, min(max(across[box], low), high)))
                    run, low, high = [], -inf, inf
                run.append(bend)
                low, high = max(low, least), min(high, most)
            across.update(dict.fromkeys(run, min(max(across[box], low), high)))

    def tops(self, across: Mapping[Place, int]) -> list[int]:
        """The upper edge of each row."""
        tops = [0] if self.rows else []
        for row in self.rows[:-1]:
            far = max((abs(across[end] - across[place]) for place in row for end in self.below[place]), default=0)
            tops.append(tops[-1] + HEIGHT + round(min(_WIDE, _NARROW + _SLOPE * far)))
        return tops


def _ordered(row: Sequence[Place], beside: Sequence[Place], joined: Mapping[Place, Sequence[Place]]) -> list[Place]:
    """The row ordered by the mean place of what each is joined with in the row beside; what is joined with nothing
    stays where it is."""
    at = {place: index for index, place in enumerate(beside)}
    means = {place: _mean([at[end] for end in joined[place]], 0.0) for place in row if joined[place]}
    ordered = iter(sorted(means, key=means.__getitem__))
    return [next(ordered) if place in means else place for place in row]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _half(place: Place, width: int) -> float:
    return 0.0 if isinstance(place, Bend) else width / 2


def _distances(row: Sequence[Place], width: int) -> list[float]:
    """How far the middle of each place has to be from that of the one before."""
    return [_half(a, width) + _half(b, width) + GAP for a, b in pairwise(row)]


def _room(row: Sequence[Place], index: int, across: Mapping[Place, float], width: int) -> tuple[float, float]:
    """Between which values the neighbours of a bend let it be."""
    low = across[row[index - 1]] + _half(row[index - 1], width) + GAP if index else -inf
    high = across[row[index + 1]] - _half(row[index + 1], width) - GAP if index + 1 < len(row) else inf
    return low, high


def _apart(wanted: Sequence[float], weights: Sequence[float], distances: Sequence[float]) -> list[float]:
    """The values nearest to those wanted (by least squares) that grow from one to the next by at least `distances`."""
    offsets = [0.0]
    for distance in distances:
        offsets.append(offsets[-1] + distance)
    groups: list[tuple[float, float, int]] = []  # those that touch: what they want in the mean, their weight and count
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        mean, count = want - offset, 1
        while groups and groups[-1][0] >= mean:
            before, heavy, many = groups.pop()
            mean = (before * heavy + mean * weight) / (heavy + weight)
            weight += heavy
            count += many
        groups.append((mean, weight, count))
    starts = [mean for mean, _, count in groups for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=False)]
