"""Numbers about clips (duration, loudness ...) as extra features, where `cache/<name>/clips.csv` has them."""

import numpy as np
import pandas as pd

from tonestack.run import Run


def read(run: Run) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Numeric columns of the clip table for training and test clips, (N, S) and (M, S); None without a table."""
    path = next((p for p in (run.cache / "clips.parquet", run.cache / "clips.csv") if p.is_file()), None)
    if path is None:
        return None, None
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"clip_id": str})
    numbers = table.drop_duplicates("clip_id").set_index("clip_id").select_dtypes("number")
    numbers = numbers.drop(columns=[c for c in ("fold", "verified", "label") if c in numbers])
    folds = pd.read_csv(run.folds / "r0.csv", dtype={"clip_id": str})
    aligned = (
        numbers.reindex(ids).to_numpy(np.float32) for ids in (folds["clip_id"], run.competition().test["clip_id"])
    )
    train, test = (np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0) for a in aligned)
    return (train, test) if train.shape[1] else (None, None)
