"""Statistics and plots of fault maps alone.

Not here: plots that need a network's codes or accuracies; see ``report/``.
"""
