"""The physical array of cells: rows and columns, address scrambling, spare rows and columns."""
