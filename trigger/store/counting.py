"""Figures of APIs, of workflows and of the whole service, as count.lua and ending.lua write them; `counters` reads.

Each API and each workflow has a hash, and so have all executions together. Figures of an hour have a name that ends in
"@" and the number of that hour since 1970, those of a day (and how long executions took) that of its first hour; all
others are totals that only grow. When something begins in a hash, an hour most often, what is too old is taken out of
it. A hash in which nothing has begun for LIFE goes, and its name leaves the index: an API that vanishes leaves nothing
for ever.
"""

from __future__ import annotations

LIFE = 30 * 86_400  # seconds

# For how many hours the figures of an hour, or a day, are kept.
HOURS, DAYS = 24, 7

# How long executions took is counted in classes, from 0.1 ms on: one is a fifth longer than the one before, so that its
# middle is less than a tenth off.
SHORTEST, GROWTH, CLASSES = 1e-4, 1.2, 126
# The total of the same is kept in fewer classes, for Prometheus: up to so many seconds each.
EDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
