"""Ensembles of prediction tables: blends, their searches, nested cross-validation, stackers. No torch, no audio."""
