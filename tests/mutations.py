"""Every value in what JSON can hold, replaced by values that nobody expects there."""

from __future__ import annotations

import copy

ODD = [None, True, False, -1, 0, 1, 2, 2.5, 10**30, float("nan"), float("inf"), "", "x", "é\0", [], [1], ["x"], {}, {"x": 1}]


def places(content, path=()):
    """Path of every value in what JSON can hold."""
    if path:
        yield path
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from places(content[key], (*path, key))


def changed(content, path, value):
    """A copy with another value there; the ellipsis removes what is there."""
    content = copy.deepcopy(content)
    *above, last = path
    where = content
    for key in above:
        where = where[key]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return content
