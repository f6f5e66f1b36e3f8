"""Shift: differences between sets of clips, and near-duplicates."""
