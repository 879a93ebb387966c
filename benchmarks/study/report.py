"""Write docs/study_retraining.md and what it links to, from the CSV files beside it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from benchmarks.study.pictures import draw_grid, draw_resilience, draw_yield
from benchmarks.study.prediction import resilience_curve
from benchmarks.study.results import Results
from benchmarks.study.rows import all_rows
from benchmarks.study.tables import TABLES
from tremap_brevitas.files import atomic_file


def write_report(docs: Path) -> None:
    """Fill the tables between the markers of study_retraining.md, and draw its pictures.

    Args:
        docs: Folder with study_retraining.md and the CSV files.
    """
    results = Results(docs)
    page = docs / "study_retraining.md"
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        text = _filled(text, page, name, table(results))
    done = f"{len(results.runs)} of {len(all_rows())} rows are finished."
    text = re.sub(r"(<!-- rows -->).*?(<!-- /rows -->)", rf"\g<1>{done}\g<2>", text, flags=re.DOTALL)
    _replace(page, text)
    draw_grid(results, docs / "study_grid.png")
    draw_resilience(results, docs / "study_resilience.png")
    draw_yield(results, docs / "study_yield.png")
    with contextlib.suppress(ValueError):  # its points are not there yet
        resilience_curve(results).save(docs / "resnet20_resilience.json")
    print(f"{len(results.runs)} rows: {page}")


def _filled(text: str, page: Path, name: str, table: str) -> str:
    """Put a table between its markers."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text, count = marked.subn(lambda match: f"{match[1]}{table}\n{match[2]}", text)
    if count != 1:
        raise SystemExit(f"{page}: {count} places for the table {name!r}, expected one")
    return text


def _replace(page: Path, text: str) -> None:
    with atomic_file(page) as draft:
        draft.write_text(text, encoding="utf-8")
