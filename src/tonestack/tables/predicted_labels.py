"""Predicted labels from a table of probabilities, for the metrics: the best class, or all from one half on."""

import numpy as np


def best(scores: np.ndarray) -> np.ndarray:
    """1.0 for each clip's best class (N, C), ties to the lower class index, else 0.0; rows with a NaN are NaN."""
    found = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
    return np.where(np.isnan(scores).any(axis=1, keepdims=True), np.nan, found)


def likely(scores: np.ndarray) -> np.ndarray:
    """1.0 where a probability (..., N, C) is at least one half, else 0.0; rows with a NaN are NaN."""
    return np.where(np.isnan(scores).any(axis=-1, keepdims=True), np.nan, scores >= 0.5)


def confusion(scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Clips by true and best class (C, C), from true class indices (N,); NaN throughout if a score is NaN."""
    classes = scores.shape[1]
    if np.isnan(scores).any():
        return np.full((classes, classes), np.nan)
    cell = index * classes + scores.argmax(axis=1)
    return np.bincount(cell, minlength=classes**2).reshape(classes, classes).astype(np.float64)
