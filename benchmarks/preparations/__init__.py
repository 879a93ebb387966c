"""Ways to prepare chips, from one stuck cell in a million to one in five: ``python -m benchmarks.preparations``."""
