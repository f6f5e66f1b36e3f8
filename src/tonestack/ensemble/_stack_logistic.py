"""Multinomial logistic regression: the bar that gradient boosting has to beat."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tonestack.ensemble.stackers import Fitted, Rows, StackParams


def fit(rows: Rows, params: StackParams, seed: int) -> Fitted:
    """Fit on standardised features; classes absent from the rows get a probability of zero."""
    strength = 1.0 / (params.l2_logistic * max(float(rows.weights.sum()), 1.0))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200, tol=1e-3))
    features = np.nan_to_num(rows.features)
    model.fit(features, rows.targets, logisticregression__sample_weight=rows.weights)
    present = model.classes_

    def predict(features: np.ndarray) -> np.ndarray:
        wide = np.zeros((len(features), rows.classes), dtype=np.float32)
        wide[:, present] = model.predict_proba(np.nan_to_num(features))
        return wide

    return predict
