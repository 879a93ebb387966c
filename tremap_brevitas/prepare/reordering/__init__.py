"""The network in another order of its hidden channels: which may move together, the proof that they may, and the move."""
