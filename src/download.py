"""Download a competition: from Zenodo with checksums, or from Kaggle by its official client.

Takes  the `download:` section of configs/data/<data>.yaml (download.source=kaggle: the other source).
Leaves the competition's files below root. An interrupted call resumes; a second one has nothing to do.
"""

from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.competition import download
from tonestack.config.call import Call


def run(call: Call) -> None:
    """Download, check and unpack; print what was done."""
    if call.data.download is None:
        raise UserError(
            f"configs/data/{call.words.data}.yaml has no 'download:' section; put the files into {call.root}"
        )
    if call.data.download.notice:
        print(call.data.download.notice.strip() + "\n")
    if not (call.data.download.zenodo or call.data.download.kaggle or call.data.download.urls):
        raise UserError(f"download: its owners hand the files out themselves; put them into {call.root}")
    for line in download.fetch(call.data.download, call.root):
        print(f"download: {line}")
    print(call.root)


if __name__ == "__main__":
    cli.main(run, __doc__)
