# SPDX-License-Identifier: GPL-2.0-only
"""From counts to an estimate of time: a model of the CPU that the published figures were measured on.

cost = instructions + isb * ISBs + tlbi * TLBIs

in units of one average instruction of that CPU. The two prices are fitted on the published figures of the kernel
*without* batching only, by least squares of the logarithm of (1 + overhead), with prices of 0 or more. A price that these
figures do not determine is left at 0 rather than guessed, and said to be so. The figures of the kernel with batching are
what the model is then checked against. A DSB has no price of its own: in what is fitted,
those that hardening adds come with a TLBI each, so the figures cannot tell the two apart. Nor has a read of POR_EL1: in
the kernel without batching each comes with a write and an ISB, whose price takes it in. Where a kernel reads the register
and then does not write it, the estimate is too low by what an MRS costs more than another instruction.
"""

from __future__ import annotations

import configparser
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .ui import Failure

PRICES = ("isb", "tlbi")
# Where the search begins: nothing is known to cost more instructions than this.
LIMITS = (1000.0, 20000.0)
Counts = Mapping[str, float]  # of one operation of one kernel: kind -> number per repetition


@dataclass(frozen=True)
class Published:
    """One row of kunit/bench/published.ini; overheads in percent."""

    operation: str
    what: str
    unbatched: float
    batched: float
    fit: bool


def read_published(path: Path) -> dict[str, Published]:
    parser = configparser.ConfigParser(interpolation=None)
    found = {}
    try:
        with open(path) as handle:
            parser.read_file(handle)
        for name in parser.sections():
            row = parser[name]
            found[name] = Published(name, row["what"], float(row["unbatched"]), float(row["batched"]), row.getboolean("fit", True))
    except (OSError, KeyError, ValueError, configparser.Error) as error:
        raise Failure(f"{path}: {' '.join(str(error).split())}", "each section needs what, unbatched and batched") from None
    return found


def cost(counts: Counts, prices: Sequence[float]) -> float:
    """What an operation with @counts costs, in instructions."""
    return counts["insn"] + sum(price * counts[kind] for kind, price in zip(PRICES, prices))


def overhead(counts: Counts, base: Counts, prices: Sequence[float]) -> float:
    """The estimated overhead in percent of @counts over @base."""
    return (cost(counts, prices) / cost(base, prices) - 1) * 100


def _error(estimate: float, truth: float) -> float:
    """The difference of two overheads in percent, as a logarithm: 0.1 is about a tenth of the time it takes."""
    return math.log((100 + estimate) / (100 + truth))


@dataclass(frozen=True)
class Point:
    """Counts of an operation with and without hardening, and the overhead that was published for it."""

    operation: str
    counts: Counts
    base: Counts
    published: float


def _squares(points: Sequence[Point], prices: Sequence[float]) -> float:
    return sum(_error(overhead(p.counts, p.base, prices), p.published) ** 2 for p in points)


def _search(points: Sequence[Point], free: Sequence[bool] = (True, True)) -> tuple[float, float]:
    """The prices with the least squares, 0 unless @free: a grid over all that is allowed, then finer ones around the best."""
    low, high = [0.0, 0.0], [limit if is_free else 0.0 for limit, is_free in zip(LIMITS, free)]
    best = (0.0, 0.0)
    for _ in range(24):
        axes = [[a + (b - a) * n / 8 for n in range(9)] if b > a else [a] for a, b in zip(low, high)]
        best = min(((x, y) for x in axes[0] for y in axes[1]), key=lambda prices: _squares(points, prices))
        for n in range(2):
            # Wide enough that the least is still inside, since the squares of two prices lean.
            reach = (high[n] - low[n]) * 0.3
            low[n], high[n] = max(0.0, best[n] - reach), min(LIMITS[n], best[n] + reach)
    return best


def _best_with(points: Sequence[Point], n: int, price: float) -> float:
    """The least squares with price @n held at @price: a search between thirds for the other one."""
    def squares(other: float) -> float:
        return _squares(points, (price, other) if n == 0 else (other, price))

    low, high = 0.0, LIMITS[1 - n]
    for _ in range(40):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if squares(a) <= squares(b) else (a, high)
    return squares((low + high) / 2)


def _range(points: Sequence[Point], prices: Sequence[float], n: int) -> tuple[float, float]:
    """Between what price @n can be while the other makes up for it: the error grows by a tenth, and 0.2 % of the time, at most."""
    limit = len(points) * (1.1 * math.sqrt(_squares(points, prices) / len(points)) + 0.002) ** 2
    steps = [LIMITS[n] * (m / 60) ** 3 for m in range(61)]
    fits = [prices[n], *(price for price in steps if _best_with(points, n, price) <= limit)]
    return min(fits), max(fits)


@dataclass(frozen=True)
class Fit:
    """The prices, how well they reproduce what they were fitted on, and how well that determines them."""

    prices: tuple[float, float]
    error: float  # root of the mean square, as a factor: 0.05 is 5 % of the time
    spread: tuple[tuple[float, float], tuple[float, float]]  # what each price can be with hardly more error, if both are free
    left_out: dict[str, float]  # operation -> overhead in percent as the other rows predict it
    rows: tuple[str, ...]

    def identified(self, n: int) -> bool:
        """Whether the rows determine price @n."""
        return _identified(self.spread[n])


def _identified(spread: tuple[float, float]) -> bool:
    """To a factor of two."""
    low, high = spread
    return low > 0 and high <= 2 * low


def fit(points: Sequence[Point]) -> Fit:
    """Fit the prices on @points."""
    if len(points) < 4:
        raise Failure(f"{len(points)} published figures are too few to fit {len(PRICES)} prices", "run the operations of kunit/bench/published.ini")
    both = _search(points)
    spread = (_range(points, both, 0), _range(points, both, 1))
    free = [_identified(s) for s in spread]
    if not any(free):
        # Not the one without the other, then: which of them it is cannot be told.
        free = [True, True]
    prices = both if all(free) else _search(points, free)
    others = {p.operation: _search([q for q in points if q is not p], free) for p in points}
    return Fit(prices, math.sqrt(_squares(points, prices) / len(points)), spread,
               {p.operation: overhead(p.counts, p.base, others[p.operation]) for p in points}, tuple(p.operation for p in points))


def check(points: Sequence[Point], prices: Sequence[float]) -> float:
    """The error of @prices on @points that they were not fitted on, as in Fit.error."""
    return math.sqrt(_squares(points, prices) / len(points)) if points else 0.0
