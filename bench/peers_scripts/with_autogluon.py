"""AutoGluon's tabular ensembler with our tables' probabilities as columns.

with_autogluon.py TABLES.npz SECONDS; leaves probabilities.npy of the test rows.
"""

import sys

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor


def main(path: str, seconds: int) -> None:
    """Fit, predict."""
    tables = np.load(path, allow_pickle=False)
    learn, test = (pd.DataFrame(np.concatenate(list(tables[part]), axis=1)) for part in ("oof", "test"))
    classes = tables["oof"].shape[2]
    predictor = TabularPredictor(label="label", problem_type="multiclass", eval_metric="log_loss", path="models")
    predictor.fit(learn.assign(label=tables["targets"]), time_limit=seconds, presets="medium_quality")
    found = predictor.predict_proba(test)
    made = np.zeros((len(test), classes))
    made[:, [int(label) for label in found.columns]] = found.to_numpy()
    np.save("probabilities.npy", made)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
