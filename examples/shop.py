"""What a shop knows of its articles: the first step of the workflow `restock`."""

from __future__ import annotations

import logging
from typing import Any

STOCK = {"A1": 3, "B2": 40}
PRICES = {"A1": 2.5, "B2": 19.0}  # of one piece

logger = logging.getLogger(__name__)


def quote(sku: str, count: int) -> dict[str, Any]:
    """How many pieces are missing until there are `count`, and what those cost."""
    if sku not in STOCK:
        raise LookupError(f"there is no article {sku}")
    missing = max(0, count - STOCK[sku])
    logger.info("%d of %s in stock, %d missing", STOCK[sku], sku, missing)
    return {"missing": missing, "total": missing * PRICES[sku]}
