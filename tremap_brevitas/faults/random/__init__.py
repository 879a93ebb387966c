"""Random fault maps: uniform, structured, nested over voltages, and like measured ones."""
