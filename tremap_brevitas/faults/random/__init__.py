"""Random fault maps: uniform, structured, nested over voltages, and fitted to measured ones."""
