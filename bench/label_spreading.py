"""Label spreading on many synthetic embeddings: time, peak memory, accuracy. `label_spreading.py [clips] [width]`.

Writes bench/results/label_spreading.json.
"""

import resource
import sys
import time
from pathlib import Path

from tonestack.base.files import write_json
from tonestack.cleaning.spreading import knn_graph, spread

import numpy as np

CLASSES, KNOWN = 41, 0.4
RESULTS = Path(__file__).parent / "results"


def main(clips: int = 100_000, width: int = 256) -> None:
    """Spread the labels of 40 % of the clips to the others, once, and say what it took."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, clips)
    centres = rng.normal(0, 0.5, (CLASSES, width)).astype(np.float32)
    x = rng.standard_normal((clips, width), dtype=np.float32) + centres[truth]
    labels = np.where(rng.random(clips) < KNOWN, truth, -1)
    before, started = _peak(), time.perf_counter()
    graph = knn_graph(x, 10)
    middle = time.perf_counter()
    share = spread(graph, labels, CLASSES, 0.2, 1e-3, 100_000)
    ended = time.perf_counter()
    right = (share.argmax(axis=1) == truth)[labels < 0].mean()
    found = {"clips": clips, "width": width, "graph s": middle - started, "spreading s": ended - middle}
    write_json(RESULTS / "label_spreading.json", found | {"peak GiB": _peak(), "right": right})
    print(f"{clips:,} clips x {width}: graph {middle - started:.1f} s, spreading {ended - middle:.1f} s")
    print(f"peak memory {_peak():.2f} GiB ({before:.2f} before), unknown clips labelled right {right:.4f}")


def _peak() -> float:
    """Largest resident size of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
