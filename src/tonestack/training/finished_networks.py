"""Find the network that a fold job would train, where a finished fold has it: what differs in `inference` alone."""

from pathlib import Path

from tonestack.training import learners
from tonestack.training.job import FoldJob, changed_settings, read_receipt


def made_network(job: FoldJob) -> Path | None:
    """The weights of a finished fold, another variant's say, which differs from this one in `inference` alone."""
    if learners.name_of(job.experiment.config.network) != "network" or job.initial or not job.keep_weights:
        return None
    for path in sorted(job.folder.parent.glob(f"*/fold{job.fold}.json")):
        receipt = read_receipt(path.parent, job.fold) or {}
        alike = receipt.get("inputs") == job.inputs and receipt.get("seed") == job.experiment.seed
        if not alike or "config_fingerprint" not in receipt:
            continue
        if all(name.startswith("inference.") for name in changed_settings(receipt, job.experiment)):
            return path.with_suffix(".safetensors")
    return None
