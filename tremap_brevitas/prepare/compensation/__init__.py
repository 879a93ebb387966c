"""Codes that make each layer's output least wrong: no labels, no gradient, a few hundred images."""
