"""Losses, the one training loop, and the record that a run leaves."""
