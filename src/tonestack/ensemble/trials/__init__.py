"""Scores of trials: their fusion by logistic regression, and the curves of their error rates."""
