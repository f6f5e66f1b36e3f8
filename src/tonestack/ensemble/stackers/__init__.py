"""Stackers: second-level models on the prediction tables, one file each."""
