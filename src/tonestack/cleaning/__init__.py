"""Writes folds/<name>/<revision>.csv: pair models, cleaning methods, pseudo-label rounds, the choice of a revision."""
