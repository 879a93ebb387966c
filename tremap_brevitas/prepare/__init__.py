"""Preparing a network for faulty memories: compensation without training, retraining strategies, BatchNorm."""
