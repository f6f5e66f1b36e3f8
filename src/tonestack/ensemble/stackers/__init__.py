"""Stackers: one file each, a second-level model on the prediction tables."""
