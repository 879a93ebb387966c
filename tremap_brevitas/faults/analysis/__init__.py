"""Statistics and plots of fault maps."""
