"""Single-label classification: tagging, speaker identification, stories. Softmax outputs."""

from tonestack.tasks import Task


class Classify(Task):
    """All of the defaults."""

    name = "classify"


TASK = Classify()
