"""Random fault maps: uniform, structured, nested over voltages, and fitted to measured ones.

Not here: maps of real chips, which ``faults/formats/`` reads.
"""
