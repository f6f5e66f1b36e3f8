"""Ensembles of prediction tables: the blend family, its searches, nested judgement, stackers. No torch, no audio."""
