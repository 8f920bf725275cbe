# SPDX-License-Identifier: GPL-2.0-only
"""From counts to an estimate of time: a model of the CPU that the published figures were measured on.

cost = instructions + isb * ISBs + atomic * atomic accesses + tlbi * TLBIs

in units of one average instruction of that CPU. The prices are fitted on the published figures of the kernel *without*
batching only, by least squares of the logarithm of (1 + overhead), with prices of 0 or more. Atomic accesses stand for
memory that is not in a cache: most are of a struct page, once for each page. A price is part of the model only if, with
it, figures predict better the one that is left out, and determine it; else it is 0 rather than guessed, and said to be so. The figures of
the kernel with batching are what the model is then checked against. A DSB has no price of its own: in what is fitted,
those that hardening adds come with a TLBI each, so the figures cannot tell the two apart. Nor has a read of POR_EL1: in
the kernel without batching each comes with a write and an ISB, whose price takes it in. Where a kernel reads the register
and then does not write it, the estimate is too low by what an MRS costs more than another instruction.
"""

from __future__ import annotations

import configparser
import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .ui import Failure

PRICES = ("isb", "atomic", "tlbi")
# Where the search begins, and what nothing is known to cost more instructions than.
START = (40.0, 10.0, 300.0)
LIMITS = (1000.0, 1000.0, 20000.0)
# What another price has to take off the error of the figures that are left out.
WORTH = 0.001
Counts = Mapping[str, float]  # of one operation of one kernel: kind -> number per repetition


@dataclass(frozen=True)
class Published:
    """One row of kunit/bench/published.ini; overheads in percent."""

    operation: str
    what: str
    unbatched: float
    batched: float
    fit: bool
    bar: str = ""

    @property
    def limit(self) -> float:
        """What is just too much for the bar: figures are told apart by the digits that they have."""
        return float(self.bar) + 0.5 * 10 ** -len(self.bar.partition(".")[2])


def read_published(path: Path) -> dict[str, Published]:
    parser = configparser.ConfigParser(interpolation=None)
    found = {}
    try:
        with open(path) as handle:
            parser.read_file(handle)
        for name in parser.sections():
            row = parser[name]
            found[name] = Published(name, row["what"], float(row["unbatched"]), float(row["batched"]), row.getboolean("fit", True),
                                    row.get("bar", ""))
            if found[name].bar and not re.fullmatch(r"\d+(\.\d+)?", found[name].bar):
                raise ValueError(f"[{name}]: bar is '{found[name].bar}', not a number from 0 up")
    except (OSError, KeyError, ValueError, configparser.Error) as error:
        raise Failure(f"{path}: {' '.join(str(error).split())}", "each section needs what, unbatched and batched") from None
    return found


def cost(counts: Counts, prices: Sequence[float]) -> float:
    """What an operation with @counts costs, in instructions."""
    return counts["insn"] + sum(price * counts[kind] for kind, price in zip(PRICES, prices))


def overhead(counts: Counts, base: Counts, prices: Sequence[float]) -> float:
    """The estimated overhead in percent of @counts over @base."""
    return (cost(counts, prices) / cost(base, prices) - 1) * 100


def off_by(estimate: float, truth: float) -> float:
    """The difference of two overheads in percent, as a logarithm: 0.1 is about a tenth of the time it takes."""
    return math.log((100 + estimate) / (100 + truth))


@dataclass(frozen=True)
class Point:
    """Counts of an operation with and without hardening, and the overhead that was published for it."""

    operation: str
    counts: Counts
    base: Counts
    published: float

    @functools.cached_property
    def vectors(self) -> tuple[tuple[float, ...], tuple[float, ...], float]:
        """Both counts in the order of instructions and PRICES, and the logarithm of what was published: a search asks many times."""
        return (*(tuple(c[kind] for kind in ("insn", *PRICES)) for c in (self.counts, self.base)), math.log(1 + self.published / 100))


def _errors(points: Sequence[Point], prices: Sequence[float]) -> list[tuple[float, float, float]]:
    """For each of @points what it costs with and without hardening, and the error of that."""
    x, y, z = prices
    rows = []
    for p in points:
        (a, b, c, d), (e, f, g, h), truth = p.vectors
        here, there = a + b * x + c * y + d * z, e + f * x + g * y + h * z
        rows.append((here, there, math.log(here / there) - truth))
    return rows


def _squares(points: Sequence[Point], prices: Sequence[float]) -> float:
    return sum(error * error for _, _, error in _errors(points, prices))


def _solved(rows: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The x for which @rows times x is @right, which is a matrix of positive squares: elimination needs no pivots."""
    rows = [[*row, value] for row, value in zip(rows, right)]
    for n, row in enumerate(rows):
        for other in rows[n + 1:]:
            factor = other[n] / row[n]
            other[n:] = [a - factor * b for a, b in zip(other[n:], row[n:])]
    found: list[float] = []
    for n in range(len(rows) - 1, -1, -1):
        found.insert(0, (rows[n][-1] - sum(a * b for a, b in zip(rows[n][n + 1:], found))) / rows[n][n])
    return found


def _search(points: Sequence[Point], free: Sequence[int], start: Sequence[float]) -> tuple[float, ...]:
    """The prices with the least squares, from @start, of which those in @free may change: damped steps (Levenberg-Marquardt), none below 0."""
    prices, damping = list(start), 0.01
    least = _squares(points, prices)
    for _ in range(60):
        gradient = {n: 0.0 for n in free}
        squares = {(n, m): 0.0 for n in free for m in free}
        for p, (here, there, error) in zip(points, _errors(points, prices)):
            slope = {n: p.vectors[0][n + 1] / here - p.vectors[1][n + 1] / there for n in free}
            for n in free:
                gradient[n] += error * slope[n]
                for m in free:
                    squares[n, m] += slope[n] * slope[m]
        # One that is 0 and would be less stays there; one that nothing depends on stays where it is.
        moving = [n for n in free if squares[n, n] > 0 and (prices[n] > 0 or gradient[n] < 0)]
        if not moving:
            break
        step = _solved([[squares[n, m] * (1 + damping * (n == m)) for m in moving] for n in moving], [-gradient[n] for n in moving])
        tried = list(prices)
        for n, change in zip(moving, step):
            tried[n] = min(max(prices[n] + change, 0.0), LIMITS[n])
        now = _squares(points, tried)
        if now > least:
            damping *= 10
            if damping > 1e9:
                break
            continue
        done = least - now <= 1e-9 * least
        prices, least, damping = tried, now, max(damping / 10, 1e-9)
        if done:
            break
    return tuple(prices)


def _best(points: Sequence[Point], free: Sequence[int], held: Mapping[int, float] | None = None) -> tuple[float, ...]:
    """The prices with the least squares: those in @free, while those @held are as they are and all others 0."""
    return _search(points, free, tuple((held or {}).get(n, START[n] if n in free else 0.0) for n in range(len(PRICES))))


def _range(points: Sequence[Point], prices: Sequence[float], n: int, others: Sequence[int]) -> tuple[float, float]:
    """Between what price @n can be while @others make up for it: the error grows by a tenth, and 0.2 % of the time, at most."""
    limit = len(points) * (1.1 * math.sqrt(_squares(points, prices) / len(points)) + 0.002) ** 2
    steps = [LIMITS[n] * (m / 60) ** 3 for m in range(61)]
    fits = [prices[n], *(price for price in steps if _squares(points, _best(points, others, {n: price})) <= limit)]
    return min(fits), max(fits)


def _left_out(points: Sequence[Point], free: Sequence[int]) -> dict[str, float]:
    """The overhead of each operation as prices predict it that were fitted on the others."""
    return {p.operation: overhead(p.counts, p.base, _best([q for q in points if q is not p], free)) for p in points}


def _mean(points: Sequence[Point], estimates: Mapping[str, float]) -> float:
    """The root of the mean square of the errors of @estimates."""
    return math.sqrt(sum(off_by(estimates[p.operation], p.published) ** 2 for p in points) / len(points))


@dataclass(frozen=True)
class Fit:
    """The prices, how well they reproduce what they were fitted on, and how well that determines them."""

    prices: tuple[float, ...]  # 0: not part of the model
    error: float  # root of the mean square, as a factor: 0.05 is 5 % of the time
    spread: tuple[tuple[float, float], ...]  # what each price can be with hardly more error, with those of the model beside it
    left_out: dict[str, float]  # operation -> overhead in percent as the other rows predict it
    left_out_error: float
    tried: dict[str, float]  # the kinds that were priced together -> error of what is left out
    rows: tuple[str, ...]


def _inside(prices: Sequence[float], free: Sequence[int]) -> bool:
    """Whether the search for the prices @free did not end where it had to: the figures do not determine one that does, whatever it predicts."""
    return all(0 < prices[n] < 0.99 * LIMITS[n] for n in free)


def fit(points: Sequence[Point]) -> Fit:
    """Fit the prices on @points: as many of them as predict better what is left out, and are determined."""
    if len(points) < len(PRICES) + 2:
        raise Failure(f"{len(points)} published figures are too few to fit {len(PRICES)} prices", "run the operations of kunit/bench/published.ini")
    tried: dict[tuple[int, ...], float] = {}
    chosen: tuple[int, ...] = ()
    for count in range(1, len(PRICES) + 1):
        for free in itertools.combinations(range(len(PRICES)), count):
            tried[free] = _mean(points, _left_out(points, free))
        best = min((f for f in tried if len(f) == count and _inside(_best(points, f), f)), key=tried.__getitem__, default=())
        if best and (not chosen or tried[best] < tried[chosen] - WORTH):
            chosen = best
    chosen = chosen or (0,)
    prices = _best(points, chosen)
    return Fit(prices, math.sqrt(_squares(points, prices) / len(points)),
               tuple(_range(points, prices, n, [m for m in chosen if m != n]) for n in range(len(PRICES))), _left_out(points, chosen),
               tried[chosen], {" + ".join(PRICES[n] for n in free): error for free, error in tried.items()}, tuple(p.operation for p in points))


def told_apart(estimate: float, limit: float, error: float) -> bool:
    """Whether two overheads in percent differ by more than the model's @error."""
    return abs(off_by(estimate, limit)) > error


def check(points: Sequence[Point], prices: Sequence[float]) -> float:
    """The error of @prices on @points that they were not fitted on, as in Fit.error."""
    return math.sqrt(_squares(points, prices) / len(points)) if points else 0.0
