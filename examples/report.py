"""The nightly report: two functions that gather, and one that writes when everything is there."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).with_name("figures")


def sales(day: str) -> dict[str, Any]:
    """How many pieces were sold on a day, and for how much."""
    sold = [row for row in _rows("sales.csv") if row["day"] == day]
    print(f"{len(sold)} sales on {day}")  # a line in the step's log
    return {
        "pieces": sum(int(row["count"]) for row in sold),
        "turnover": sum(int(row["count"]) * float(row["price"]) for row in sold),
    }


def stock(_: dict[str, Any]) -> list[dict[str, Any]]:
    """What is left of each article. Without `with` the argument is the input."""
    return [{"sku": row["sku"], "count": int(row["count"])} for row in _rows("stock.csv")]


def write(day: str, sales: dict[str, Any], low: list[str], visitors: int) -> str:
    """The report, as text."""
    return (
        f"Report of {day}\n"
        f"{visitors} visitors, {sales['pieces']} pieces sold for {sales['turnover']:.2f}\n"
        f"Running low: {', '.join(low) or 'nothing'}\n"
    )


def _rows(name: str) -> list[dict[str, str]]:
    with (FIGURES / name).open(newline="") as file:
        return list(csv.DictReader(file))
