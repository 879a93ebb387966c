"""Numbers in tables, and options and short names in text, that a browser may not break at a line's end.

It would break ``1e-05`` after its hyphen, ``-0.08 ± 0.50`` around its sign and ``--spare-rows`` after its dashes.
"""

from __future__ import annotations

import re

NUMBER = r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?"
AMOUNT = re.compile(rf"{NUMBER}(?: [±→] {NUMBER})*(?: \({NUMBER}\))?(?: %)?(?: \({NUMBER}\))?")
CELL = re.compile(r"(<t[dh](?: [^>]*)?>)([^<]+)(?=</t[dh]>)")
CODE = re.compile(r"<code>([^<\n]+)</code>")
OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
NOBREAK = r'<span class="nobreak">\g<0></span>'
SHORT = 24
"""Characters of a piece of code that fits into any line, a phone's too."""


def unbroken(match: re.Match[str]) -> str:
    """What was found, as one piece.

    Examples:
        >>> AMOUNT.sub(unbroken, "-0.08 ± 0.50, -0.28")
        '<span class="nobreak">-0.08 ± 0.50</span>, -0.28'
    """
    found = match.group()
    return f'<span class="nobreak">{found}</span>' if " " in found or "e" in found else found


def code(match: re.Match[str]) -> str:
    """A piece of code: in one line where it is short, else its options in one piece each."""
    text = match.group(1)
    if len(text) <= SHORT:
        return f'<code class="nobreak">{text}</code>'
    return f"<code>{OPTION.sub(NOBREAK, text)}</code>"


def on_page_content(html: str, **_: object) -> str:
    """Mark them in a page."""
    return CODE.sub(code, CELL.sub(lambda cell: cell.group(1) + AMOUNT.sub(unbroken, cell.group(2)), html))
