"""
Writes a run's files into a hidden folder, then puts it in place in one step.

No line of `decisions.jsonl`, `verdicts.jsonl`, `orders.csv` or `fills.csv` depends on the folder,
the wall clock or anything after its stamp.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agents.messages import FillRecord, Message, OrderRecord
from backtest.report.page import write_report
from backtest.results import RunResult
from backtest.statistics.summary import Summary, results_json
from config.files.paths import check_place
from config.files.whole import whole_folder


def write_run(
    result: RunResult, summary: Summary, out: Path, save_state: Callable[[Path], None]
) -> None:
    """
    Write all files of a run into `out`, whole or not at all; an earlier run there is replaced.

    `save_state` writes the learned state into the folder that it is given. Raises ConfigError
    where the folder cannot be written.
    """
    check_place(out)
    with whole_folder(out) as folder:
        _write_json(folder / "results.json", results_json(summary))
        _write_json(folder / "manifest.json", result.manifest)
        _write_lines(folder / "decisions.jsonl", result.decisions)
        _write_lines(folder / "verdicts.jsonl", result.verdicts)
        _write_rows(folder / "orders.csv", OrderRecord, result.orders)
        _write_rows(folder / "fills.csv", FillRecord, result.fills)
        _write_equity(folder / "equity.csv", result)
        write_report(result, summary, folder / "report.html")
        save_state(folder / "state")


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _write_lines(path: Path, messages: Iterable[Message]) -> None:
    with path.open("wb") as file:
        for message in messages:
            file.write(msgspec.json.encode(message) + b"\n")


def _write_rows(path: Path, kind: type[Message], messages: Sequence[Message]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(kind.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(message) for message in messages)


def _write_equity(path: Path, result: RunResult) -> None:
    books = result.books
    names = [", ".join(filter(None, (b.name, b.gate, b.stress))) for b in books]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ts", "risk_free", *names])
        columns = (result.book.ts, result.risk_free, *(b.equity for b in books))
        writer.writerows(zip(*(c.tolist() for c in columns), strict=True))
