"""Print the leaderboard, and the rank of our scores among published ones.

Takes  oof/<name>/ and, if there is one, configs/published/<data>.csv (system, public, private).
Leaves oof/<name>/leaderboard.csv.
"""

from tonestack import cli
from tonestack.config.call import Call
from tonestack.config.layers import CONFIGS
from tonestack.ensemble import leaderboard

import pandas as pd


def run(call: Call) -> None:
    """Print all tables, best CV first, then the submission's rank among published ones."""
    table = leaderboard.update(call)
    print(leaderboard.render(table))
    path = CONFIGS / "published" / f"{call.words.data}.csv"
    if not path.is_file():
        return
    published = pd.read_csv(path, compression=None)
    for name, scores in leaderboard.recorded_scores(call).items():
        if name.endswith(".csv") and scores.get("private") is not None:
            print(f"{name} private {leaderboard.standing(scores['private'], published)}")


if __name__ == "__main__":
    cli.main(run, __doc__)
