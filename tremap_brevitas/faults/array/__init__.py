"""The array of cells: which row and column a cell lies in, address scrambling, spare rows and columns."""
