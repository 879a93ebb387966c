"""Statistics of fault maps, and their pictures."""
