"""Make text from untrusted files, such as chip names, safe to print."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape characters that cannot be printed: control characters, direction marks, bytes that are not UTF-8.

    A chip's name may come from anybody's file; a terminal would obey the escape sequences in it.

    Args:
        text: Any text.
        keep: Characters to keep although they cannot be printed, such as line ends.

    Examples:
        >>> printable("chip \x1b[2J é\udcff")
        'chip \\x1b[2J é\\xff'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def counted(count: int, thing: str) -> str:
    """Return a count and a noun, in the singular or the plural.

    Examples:
        >>> counted(1, "chip"), counted(2, "chip")
        ('1 chip', '2 chips')
    """
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file's name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
