# SPDX-License-Identifier: GPL-2.0-only
"""What `make bench` shows: text, Markdown, plots, a page with all of it, and the history of runs.

Everything is made from the data that is also in bench.json, so that another run can be shown again.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

from . import benchmodel, ui

# A change of a count that is not chance, as a part of it: two runs of the same count the same.
NOTABLE = 0.001
KINDS = {"insn": "instructions", "por_read": "POR_EL1 reads", "por_write": "writes", "isb": "ISB", "dsb": "DSB", "tlbi": "TLBI", "atomic": "atomics",
         "tables": "page tables made", "unkeyed": "freed", "set_memory": "set_memory_pkey()"}
CAVEAT = ("Instructions executed by the kernel at EL1 in QEMU, counted, not timed; estimates are those of the model, for the CPU of the "
          "published figures.")


def _number(value: float) -> str:
    """@value with as many digits as tell something."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}" if abs(value) < 10 else f"{value:+.1f}"


def _counts(data: dict, kernel: str, operation: str) -> dict[str, float] | None:
    found = data["operations"].get(kernel, {}).get(operation)
    return found["counts"] if found else None


def _more(data: dict, kernel: str, operation: str, kind: str = "insn") -> float | None:
    """How much more of @kind than on the first kernel, in percent."""
    here, there = _counts(data, kernel, operation), _counts(data, data["base"], operation)
    return (here[kind] / there[kind] - 1) * 100 if here and there and there[kind] else None


def _names(data: dict) -> list[str]:
    return list(data["operations"][data["base"]])


def count_rows(data: dict) -> list[list[str]]:
    """One row for each operation and kernel: counts per repetition. A guard that wrote nothing could have been left out."""
    rows = [["operation", "kernel", *KINDS.values(), "guards that wrote nothing", "more insns %"]]
    for name in _names(data):
        for kernel in data["operations"]:
            counts = _counts(data, kernel, name)
            if counts:
                more = _more(data, kernel, name)
                rows.append([name, kernel, *(_number(counts[kind]) for kind in KINDS), _number(counts["por_read"] - counts["por_write"]), "" if kernel == data["base"] else _percent(more)])
    return rows


def overhead_rows(data: dict) -> list[list[str]]:
    """One row for each operation: estimated overhead of each kernel, and what was published."""
    kernels = list(data["estimates"])
    rows = [["operation", *kernels, "published unbatched", "published batched"]]
    for name in _names(data):
        published = data["published"].get(name)
        rows.append([name, *(_percent(data["estimates"][k].get(name)) for k in kernels),
                     *((_percent(published[of]) for of in ("unbatched", "batched")) if published else ("", ""))])
    return rows


def model_lines(data: dict) -> list[str]:
    """The model in words: prices, errors, what the data cannot tell."""
    model = data["model"]
    if not model:
        return ["There is no model: it needs the kernel 'unbatched' and five of the published operations."]
    priced = " + ".join(f"{price:.1f} * {kind.upper()}" for kind, price in model["prices"].items() if price)
    lines = [f"cost = instructions + {priced}, fitted on {len(model['rows'])} published figures without batching: {', '.join(model['rows'])}"]
    for price, (low, high) in model["spread"].items():
        vague = "" if high <= 2 * low else ", not told to a factor of two" if low else ": these figures do not determine it"
        lines.append(f"price of {price.upper()}: {low:.0f} to {high:.0f} do hardly worse{vague}" if model["prices"][price] else
                     f"{price.upper()} has no price: these figures do not determine one, or predict no better with it what is left out; estimates are too low where there are many")
    tried = ", ".join(f"{kinds} {error * 100:.1f} %" for kinds, error in model["tried"].items())
    lines.append(f"error on a figure that is left out of the fit: {model['left_out_error'] * 100:.1f} %; by what has a price: {tried}")
    checked = (f"on {len(model['check_rows'])} published figures with batching, which it has not seen: {model['check_error'] * 100:.1f} %"
               if model["check_rows"] else "not checked on figures that it has not seen, for which it takes the kernel 'batched'")
    lines.append(f"error on what it was fitted on: {model['error'] * 100:.1f} % of the time; {checked}")
    return lines


def _off_by(data: dict, kernel: str, operation: str) -> str:
    """How far the estimate is from what was published, in percent of the time; '' where there is none."""
    estimate = data["estimates"].get(kernel, {}).get(operation)
    return "" if estimate is None else _percent(benchmodel.off_by(estimate, data["published"][operation][kernel]) * 100)


def model_rows(data: dict) -> list[list[str]]:
    """For each figure that the model was fitted on: overheads in percent, and errors in percent of the time."""
    rows = [["operation", "published", "model", "error", "if left out", "batched: published", "model", "error"]]
    for name in data["model"]["rows"] if data["model"] else []:
        published = data["published"][name]
        rows.append([name, _percent(published["unbatched"]), _percent(data["estimates"]["unbatched"][name]),
                     _off_by(data, "unbatched", name), _percent(data["model"]["left_out"][name]), _percent(published["batched"]),
                     _percent(data["estimates"].get("batched", {}).get(name)), _off_by(data, "batched", name)])
    return rows


def bar_rows(data: dict) -> list[list[str]]:
    return [["bar", "value", "must be", "", ""]] + [[b["name"], b["value"], b["bar"], "ok" if b["met"] else "MISSED", b["note"]] for b in data["bars"]]


def costly(data: dict, kernel: str, operation: str, limit: int = 6) -> list[list[str]]:
    """The functions in which @kernel executes more than the first kernel, by the estimated cost of that."""
    prices = data["model"]["prices"] if data["model"] else {}
    here = data["operations"][kernel][operation]["functions"]
    there = data["operations"][data["base"]][operation]["functions"]
    found = []
    for name in set(here) | set(there):
        a, b = here.get(name, {}), there.get(name, {})
        delta = {kind: a.get(kind, 0) - b.get(kind, 0) for kind in ("insn", "por_read", "por_write", "isb", "tlbi", "atomic")}
        delta["idle"] = delta["por_read"] - delta["por_write"]
        found.append((delta["insn"] + sum(prices[k] * delta[k] for k in prices), name, delta))
    found.sort(key=lambda row: (-row[0], row[1]))
    rows = [["function", "cost", "instructions", "POR_EL1 reads", "writes", "ISB", "TLBI", "atomics", "guards that wrote nothing"]]
    for price, name, delta in found[:limit]:
        if price > 0:
            rows.append([name, _number(price), *(_number(delta[k]) for k in delta)])
    return rows


def avoidable(data: dict, kernel: str, limit: int = 15) -> list[list[str]]:
    """Where @kernel reads the register and then writes nothing, for each operation: the most first."""
    found = sorted(((row.get("por_read", 0) - row.get("por_write", 0), operation, name) for operation, counted in data["operations"][kernel].items()
                    for name, row in counted["functions"].items()), key=lambda row: (-row[0], row[1:]))
    return [["function", "operation", "guards that wrote nothing", "per 1000 instructions"]] + [
        [name, operation, _number(count), _number(count / data["operations"][kernel][operation]["counts"]["insn"] * 1000)]
        for count, operation, name in found[:limit] if count > 0]


def ranked(data: dict, kernel: str) -> list[str]:
    """The operations of @kernel by their overhead, largest first."""
    return sorted(data["estimates"].get(kernel, {}), key=lambda name: -data["estimates"][kernel][name])


def _heading(data: dict) -> str:
    scale = "" if data["size"] == 1024 else f", for the 1024 MB of the published ones; overheads are ratios and hardly depend on it"
    return (f"{data['series']} on {data['base_tree']}, QEMU {data['qemu']}\n{data['size']} MB mapped{scale}; "
            f"{'quick run, without programs' if data['quick'] else 'full run'}, {ui.seconds(data['seconds'])}")


def text(data: dict, changes: list[str]) -> str:
    """The report for a terminal, and for bench.txt."""
    parts = [ui.table(count_rows(data), set(range(2, 4 + len(KINDS)))), CAVEAT]
    if data["estimates"]:
        rows = overhead_rows(data)
        parts += ["Estimated overhead over '" + data["base"] + "', percent:\n\n" + ui.table(rows, set(range(1, len(rows[0])))),
                  "\n".join(model_lines(data)), ui.table(model_rows(data), set(range(1, 8)))]
    parts += ["\n".join(changes), ui.table(bar_rows(data), {1}), _heading(data)]
    return "\n\n".join(p for p in parts if p)


def _markdown_table(rows: list[list[str]], text_columns: int = 1) -> str:
    align = ["---" if n < text_columns else "---:" for n in range(len(rows[0]))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], align, *rows[1:]])


def markdown(data: dict) -> str:
    """For the cover letter, and for whoever reads it elsewhere."""
    parts = [CAVEAT]
    if data["estimates"]:
        parts += [_markdown_table(overhead_rows(data)), "\n".join(f"- {line}" for line in model_lines(data)),
                  _markdown_table(model_rows(data))]
    parts.append(_markdown_table(count_rows(data), 2))
    for kernel in [k for k in ("unbatched", "batched") if k in data["estimates"]]:
        for name in ranked(data, kernel)[:8]:
            parts.append(f"What '{kernel}' adds to {name}:\n\n{_markdown_table(costly(data, kernel, name))}")
    if "batched" in data["operations"]:
        parts.append("Guards of 'batched' that read the register and wrote nothing, which could be avoided:\n\n"
                     + _markdown_table(avoidable(data, "batched"), 2))
    parts.append(_heading(data).replace("\n", "  \n"))
    return "\n\n".join(parts) + "\n"


def letter_heading(data: dict) -> str:
    """What the rows of the cover letter are, of what kind of run, and how far to be trusted."""
    error = (f"the model is off by {data['model']['check_error'] * 100:.1f} % of the time on the published\nfigures with batching"
             if data["model"]["check_rows"] else "the model was not checked")
    return (f"Estimated overhead of hardened page tables, and the corrected figures\nthat were published for RFC v5; "
            f"{data['size']} MB mapped, {'quick' if data['quick'] else 'full'} run,\n{error}:")


def letter(data: dict) -> list[list[str]]:
    """The rows of the cover letter: narrow enough for a mail."""
    rows = [["", "estimate", "published"]]
    for name in _names(data):
        estimate = data["estimates"].get("batched", {}).get(name)
        if estimate is not None:
            published = data["published"].get(name)
            rows.append([name, _percent(estimate) + " %", _percent(published["batched"]) + " %" if published else ""])
    return rows


# ---------------------------------------------------------------------------------------------------------------
# Plots


def svg(data: dict, kernel: str) -> str:
    """Bars of the overhead of @kernel for each operation: estimate, instructions alone; a mark for what was published."""
    names = [n for n in _names(data) if n in data["estimates"][kernel]]
    of = "unbatched" if kernel == "unbatched" else "batched"
    marks = {n: data["published"][n][of] for n in names if n in data["published"]}
    estimates = data["estimates"][kernel]
    insns = {n: _more(data, kernel, n) or 0.0 for n in names}
    low = min(0.0, *estimates.values(), *insns.values(), *marks.values()) if names else 0.0
    high = max(1.0, *estimates.values(), *insns.values(), *marks.values()) if names else 1.0
    left, top, step, width = 130, 46, 26, 560
    scale = width / (high - low)
    height = top + step * len(names) + 30

    def at(value: float) -> float:
        return left + (value - low) * scale

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 70} {height}" font-family="sans-serif" font-size="12">',
           f'<title>Overhead of {html.escape(kernel)}</title>', f'<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14">{html.escape(kernel)}: overhead over {html.escape(data["base"])}, percent</text>',
           f'<rect x="{left}" y="26" width="12" height="10" fill="#4878a8"/><text x="{left + 16}" y="35">estimate</text>',
           f'<rect x="{left + 90}" y="26" width="12" height="10" fill="#b8cce0"/><text x="{left + 106}" y="35">instructions alone</text>']
    if marks:
        out.append(f'<path d="M{left + 226} 31l5 -5l5 5l-5 5z" fill="#c03030"/><text x="{left + 242}" y="35">published, {of}</text>')
    tick = next(t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10 ** 9) if (high - low) / t <= 8)
    value = -(-low // tick) * tick
    while value <= high:
        out.append(f'<path d="M{at(value):.1f} {top}V{height - 24}" stroke="#ddd"/>'
                   f'<text x="{at(value):.1f}" y="{height - 8}" text-anchor="middle">{value + 0.0:g}</text>')
        value += tick
    for n, name in enumerate(names):
        y = top + n * step
        out.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{html.escape(name)}</text>')
        for value, shift, colour in ((estimates[name], 4, "#4878a8"), (insns[name], 13, "#b8cce0")):
            begin, end = sorted((at(0), at(value)))
            out.append(f'<rect x="{begin:.1f}" y="{y + shift}" width="{max(end - begin, 0.5):.1f}" height="8" fill="{colour}"/>')
        out.append(f'<text x="{max(at(estimates[name]), at(insns[name])) + 8:.1f}" y="{y + 16}" fill="#444">{_percent(estimates[name])}</text>')
        if name in marks:
            out.append(f'<path d="M{at(marks[name]) - 5:.1f} {y + 12}l5 -5l5 5l-5 5z" fill="#c03030"/>')
    out.append(f'<path d="M{at(0):.1f} {top}V{height - 24}" stroke="#444"/></svg>')
    return "\n".join(out) + "\n"


def _html_table(rows: list[list[str]], text_columns: int = 1) -> str:
    def line(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{' class=n' if n >= text_columns else ''}>{html.escape(c)}</{tag}>" for n, c in enumerate(row)) + "</tr>"

    return "<table>" + line(rows[0], "th") + "".join(line(row, "td") for row in rows[1:]) + "</table>"


def page(data: dict, plots: dict[str, str], changes: list[str]) -> str:
    """One file that needs no other."""
    sections = [f"<h1>Hardened page tables: what they cost</h1><p>{html.escape(_heading(data))}</p><p>{html.escape(CAVEAT)}</p>",
                "<h2>Bars</h2>" + _html_table(bar_rows(data), 1)]
    if data["estimates"]:
        sections += ["<h2>Estimated overhead, percent</h2>" + _html_table(overhead_rows(data)), *plots.values(),
                     "<h2>The model</h2>" + "".join(f"<p>{html.escape(line)}</p>" for line in model_lines(data)) + _html_table(model_rows(data))]
    if changes:
        sections.append("<h2>Since the last run</h2>" + "".join(f"<p>{html.escape(c)}</p>" for c in changes))
    sections.append("<h2>Kernels</h2>" + _html_table([["kernel", "about"]] + [[n, k["about"]] for n, k in data["kernels"].items()], 2))
    for kernel in [k for k in ("unbatched", "batched") if k in data["estimates"]]:
        for name in ranked(data, kernel)[:8]:
            sections.append(f"<h3>What {html.escape(kernel)} adds to {html.escape(name)}</h3>" + _html_table(costly(data, kernel, name)))
    if "batched" in data["operations"]:
        sections.append("<h2>Guards of 'batched' that wrote nothing</h2>" + _html_table(avoidable(data, "batched"), 2))
    sections.append("<h2>Counts per repetition, EL1</h2>" + _html_table(count_rows(data), 2))
    style = ("body{font-family:sans-serif;max-width:64em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;margin:1em 0}"
             "td,th{border-bottom:1px solid #ddd;padding:.2em .7em;text-align:left}.n{text-align:right}svg{width:100%;height:auto}")
    return f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>kpkeys: benchmark</title><style>{style}</style>' + "\n".join(sections) + "</html>\n"


# ---------------------------------------------------------------------------------------------------------------
# History


def entry(data: dict) -> dict:
    """What of a run is kept: enough to see what has changed."""
    return {key: data[key] for key in ("when", "quick", "size", "series", "base_tree", "qemu", "compiler", "estimates")} | {
        "prices": data["model"]["prices"] if data["model"] else None,
        "counts": {k: {o: {kind: r["counts"][kind] for kind in KINDS} for o, r in rows.items()} for k, rows in data["operations"].items()}}


def apart(here: dict[str, float], there: dict[str, float], kind: str) -> float:
    """How far two counts of @kind are apart, as a part of them.

    Kinds that are rare are measured against the instructions: one ISB more in a thousand is no change.
    """
    return abs(here[kind] - there[kind]) / max(here[kind], there[kind], here["insn"] * 0.001)


def changes(new: dict, history: list[dict]) -> list[str]:
    """What is different from the last run of the same kind in @history."""
    last = next((h for h in reversed(history) if "counts" in h and all(h.get(k) == new[k] for k in ("quick", "size"))), None)
    if not last:
        return []
    lines = []
    for kernel, rows in new["counts"].items():
        for name, now in rows.items():
            before = last["counts"].get(kernel, {}).get(name)
            changed = [kind for kind in KINDS if before and kind in before and apart(now, before, kind) > NOTABLE]
            if changed:
                lines.append(f"{kernel}: {name}: " + ", ".join(
                    f"{KINDS[kind]} {_number(before[kind])} -> {_number(now[kind])}"
                    + (f" ({_percent((now[kind] / before[kind] - 1) * 100)} %)" if before[kind] else "") for kind in changed))
    return [f"since {last['when']} ({last['series']}): {'nothing has changed' if not lines else ''}".rstrip(), *lines]


def read_history(path: Path) -> list[dict]:
    """The earlier runs; a line that was cut short is left out."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def write(data: dict, out: Path, history: Path) -> str:
    """Write all reports of @data to the directory @out, add the run to the file @history; returns the text."""
    new = entry(data)
    changed = changes(new, read_history(history))
    plots = {kernel: svg(data, kernel) for kernel in data["estimates"]}
    shown = text(data, changed)
    files = {"bench.txt": shown + "\n", "bench.md": markdown(data), "bench.html": page(data, plots, changed),
             "bench.json": json.dumps(data, indent=1) + "\n", **{f"overhead-{k}.svg": plot for k, plot in plots.items()}}
    for old in out.glob("overhead-*.svg"):
        old.unlink()
    if not data["quick"]:
        # A quick run must not take the place of a full one in the cover letter.
        files["bench-full.json"] = files["bench.json"]
    for name, content in files.items():
        (out / name).write_text(content)
    history.parent.mkdir(parents=True, exist_ok=True)
    with open(history, "a") as handle:
        handle.write(json.dumps(new) + "\n")
    return shown + f"\n\nreports: {out / 'bench.html'}, bench.txt, bench.md, bench.json, overhead-*.svg; all runs: {history}"
