"""The physical array of cells: rows and columns, address scrambling, spare rows and columns, error correction.

Not here: which weights lie in the cells; see ``placement/``.
"""
