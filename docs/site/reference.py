"""The API reference: a page for each package with public names, made from its ``__all__`` without importing it.

A name that the top level exports is described there alone. Packages without ``__all__`` (``faults.random``) show the public
names of their modules, by their full names. The page of the command is what ``tremap … --help`` prints.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import click
import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

PACKAGES = [
    "tremap_brevitas",
    "quant",
    "placement",
    "prepare",
    "faults",
    "faults.formats",
    "faults.random",
    "faults.array",
    "faults.analysis",
    "order",
    "moments",
    "patching",
    "planning",
    "report",
    "bundle",
    "onnx_files",
    "cluster",
    "memory_files",
    "codes",
]


@cache
def package() -> griffe.Module:
    """The package as griffe reads it, stubs included."""
    loaded = griffe.load("tremap_brevitas", search_paths=[ROOT], allow_inspection=False)
    assert isinstance(loaded, griffe.Module)
    return loaded


def module(name: str) -> griffe.Module:
    """One of ``PACKAGES``."""
    found = package() if name == "tremap_brevitas" else package()[name]
    assert isinstance(found, griffe.Module)
    return found


def public_names(name: str) -> dict[str, str]:
    """Public names of one of ``PACKAGES``, and where each is defined.

    Examples:
        >>> public_names("planning")["assign"]
        'tremap_brevitas.planning.assign.assign'
    """
    here = module(name)
    if here.exports is not None:
        return {str(n): here[str(n)].canonical_path for n in here.exports}
    modules = [m for m in here.modules.values() if not m.is_alias and not m.name.startswith("_")] or [here]
    return {
        member.path.removeprefix(f"{here.path}."): member.path
        for m in modules
        for member in m.members.values()
        if not member.is_alias and member.name[0] != "_" and (member.is_class or member.is_function or member.has_docstring)
    }


def page(name: str) -> str:
    """The Markdown of one page."""
    here = module(name)
    path = here.path
    top = set(public_names("tremap_brevitas").values()) if name != "tremap_brevitas" else set()
    names = public_names(name)
    lines = [f"# {name}", "", here.docstring.value if here.docstring else "", ""]
    elsewhere = [n for n, defined in names.items() if defined in top]
    if elsewhere:
        short = [n.rpartition(".")[2] for n in elsewhere]
        links = ", ".join(f"[{n}][tremap_brevitas.{n}]" for n in short)
        lines += [f"Described at the top level: {links}.", ""]
    for n in sorted(names, key=lambda n: (n.rsplit(".", 1)[0] if "." in n else "", n[0].islower(), n)):
        if n not in elsewhere:
            lines += [f"::: {path}.{n}", ""]
    return "\n".join(lines)


def index() -> str:
    """The page that lists all others."""
    lines = [
        "# API",
        "",
        "`import tremap_brevitas as tm` has what most programs need. Everything else stands in its package, which is an "
        "attribute: `tm.report.write_csv`, `tm.prepare.RandomMaps`.",
        "",
    ]
    lines += ["| package | what |", "| --- | --- |"]
    for name in PACKAGES:
        docstring = module(name).docstring
        first = docstring.value.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") if docstring else ""
        lines.append(f"| [{name}]({name}.md) | {first} |")
    return "\n".join([*lines, "", "[The command `tremap`](command.md): all its options."])


def command() -> str:
    """What every ``tremap … --help`` prints."""
    from tremap_brevitas.cli import main

    lines = ["# The command `tremap`", "", "Fault maps and bundles from the shell. It needs neither torch nor Brevitas.", ""]

    def add(this: click.Command, words: str, parent: click.Context | None) -> None:
        context = click.Context(this, info_name=words.split()[-1], parent=parent, max_content_width=96, terminal_width=96)
        lines.extend([f"## {words}", "", "```text", this.get_help(context), "```", ""])
        if isinstance(this, click.Group):
            for name in this.list_commands(context):
                _, inner, _ = this.resolve_command(context, [name])
                assert inner is not None
                add(inner, f"{words} {name}", context)

    add(main, "tremap", None)
    return "\n".join(lines)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    pages = {"index": index(), "command": command(), **{name: page(name) for name in PACKAGES}}
    for name, text in pages.items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files
