"""Pages of the site that stand outside docs/, and links that lead there.

README files of the hardware flows, CONTRIBUTING.md and CHANGELOG.md are pages of the site too. A relative link works in the
repository and on the site: one to a file that is a page leads to that page, one to another file of the repository becomes its
name. One to a file that does not exist fails a strict build.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.links")
ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "flows/index.md": "export/README.md",
    "flows/onnxruntime.md": "export/onnxruntime/README.md",
    "flows/rtl.md": "export/rtl/README.md",
    "flows/hls4ml.md": "export/hls4ml/README.md",
    "flows/finn.md": "export/finn/README.md",
    "examples.md": "examples/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
}
"""Page of the site: file of the repository."""

PAGES = {source: page for page, source in ELSEWHERE.items()}

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside docs/."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    uri = page.file.src_uri
    if uri.startswith("api/"):
        return markdown
    source = ELSEWHERE.get(uri, f"docs/{uri}")

    def linked(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if there is not None:
            return f"{picture}[{text}]({os.path.relpath(there, posixpath.dirname(uri) or '.')}{anchor or ''})"
        if not (ROOT / path).exists():
            LOG.warning("%s: there is no %s", source, path)
        return text if text.strip("`").strip("/") in path else f"{text} (`{path}`)"

    return LINK.sub(linked, markdown)
