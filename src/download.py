"""Download a competition: from Zenodo with checksums, or from Kaggle by its official client.

Takes  the `download:` section of configs/data/<data>.yaml (download.source=kaggle: the other source).
Leaves the competition's files below root. A call that was cut off goes on; a second one has nothing to do.
"""

from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.competition import download
from tonestack.config.call import Run


def run(run: Run) -> None:
    """Fetch, check, unpack; say what is there."""
    if run.data.download is None:
        raise UserError(f"configs/data/{run.words.data}.yaml has no 'download:' section; put the files into {run.root}")
    if run.data.download.notice:
        print(run.data.download.notice.strip() + "\n")
    if not (run.data.download.zenodo or run.data.download.kaggle or run.data.download.urls):
        raise UserError(f"download: its owners hand the files out themselves; put them into {run.root}")
    for line in download.fetch(run.data.download, run.root):
        print(f"download: {line}")
    print(run.root)


if __name__ == "__main__":
    cli.main(run, __doc__)
