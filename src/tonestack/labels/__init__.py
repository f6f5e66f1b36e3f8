"""Leaves folds/<name>/: folds, label revisions, corrections, trials, and the labels that a holdout may train on."""
