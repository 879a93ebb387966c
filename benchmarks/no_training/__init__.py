"""Chips prepared without training, beside retraining and beside what others do: ``python -m benchmarks.no_training``."""
