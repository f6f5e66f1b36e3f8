"""Tasks: one file each; what a label is, how outputs become scores, and how folds are stratified."""
