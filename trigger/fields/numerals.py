"""Regular expressions (ECMA-262's, as JSON Schema has them) for the texts that count as a number within bounds.

They allow nothing that a call would be refused for. They leave out a few texts that it would not be: the very largest
numbers, and exponents where there are bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

_DIGITS = 18  # so many, whatever they are, are within what an integer may be
_LARGEST = 10**_DIGITS - 1
_FRACTION = r"\.[0-9]{1,100}"


def integer(low: float | None, high: float | None) -> str | None:
    """For the whole numbers from `low` to `high`, None for no bound; None when there are none."""
    if low is None and high is None:
        return f"^-?[0-9]{{1,{_DIGITS}}}$"
    return _anchored(_whole(low, high))


def number(low: float | None, high: float | None) -> str | None:
    """For the numbers from `low` to `high`, None for no bound; None when there are none that can be said."""
    if low is None and high is None:
        return rf"^-?[0-9]{{1,{_DIGITS}}}(?:{_FRACTION})?(?:[eE][-+]?[0-9]{{1,2}})?$"
    # Whatever comes after its point, n.… is from n to below n + 1, and -n.… from above -n - 1 to -n.
    least, most = _clamped(low, high, _LARGEST + 1)
    positive = _natural(max(0, math.ceil(least)), math.floor(most) - 1)
    negative = _natural(max(0, math.ceil(-most)), math.floor(-least) - 1)
    fractions = [*(text + _FRACTION for text in positive), *(f"-{text}{_FRACTION}" for text in negative)]
    return _anchored([*(f"{text}(?:\\.0{{1,100}})?" for text in _whole(low, high)), *fractions])


def _anchored(alternatives: list[str]) -> str | None:
    return f"^(?:{'|'.join(alternatives)})$" if alternatives else None


def _clamped(low: float | None, high: float | None, largest: int) -> tuple[float, float]:
    return max(-largest if low is None else low, -largest), min(largest if high is None else high, largest)


def _whole(low: float | None, high: float | None) -> list[str]:
    least, most = _clamped(low, high, _LARGEST)
    negative = _natural(max(1, math.ceil(-most)), math.floor(-least))
    return [*_natural(max(0, math.ceil(least)), math.floor(most)), *(f"-{text}" for text in negative)]


def _natural(low: int, high: int) -> list[str]:
    """For the numbers from `low`, which is not negative, to `high`, also with zeros in front: one or none."""
    if low > high:
        return []
    zeros = _DIGITS - len(str(high))
    parts = list(_pieces(low, high))
    text = parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"
    return [f"0{{0,{zeros}}}{text}" if zeros > 0 else text]


def _pieces(low: int, high: int) -> Iterator[str]:
    """For numbers as they are usually written, in order: those of a piece have the same in front, anything behind."""
    while low <= high:
        digits = len(str(low))
        widest = len(str(high + 1)) - 1  # all numbers of so many digits are within
        if low in (0, 10 ** (digits - 1)) and widest >= digits:
            yield _any(1, widest) if low == 0 else "[1-9]" + _any(digits - 1, widest - 1)
            low = 10**widest
            continue
        free = 0  # digits behind that may be any
        while low % 10 ** (free + 1) == 0 and low + 10 ** (free + 1) - 1 <= high:
            free += 1
        front, first = divmod(low // 10**free, 10)
        last = min(9, first + (high - low + 1) // 10**free - 1)
        yield f"{front or ''}{first if first == last else f'[{first}-{last}]'}{_any(free, free)}"
        low += (last - first + 1) * 10**free


def _any(least: int, most: int) -> str:
    """For so many digits."""
    if most == 0:
        return ""
    if least == most:
        return "[0-9]" if most == 1 else f"[0-9]{{{most}}}"
    return f"[0-9]{{{least},{most}}}"
