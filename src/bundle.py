"""Pack the files for an offline code competition: weights, settings, source, requirements, one inference script.

Takes  the table that `submit` chose (or submit.table=, model=), all its experiments, and the competition's folder.
Leaves bundles/<name>/: infer.py, which writes submission.csv within a time limit, README.md with the commands, oof/
       (weights as safetensors, settings as json), src/tonestack/, requirements.txt. It is tried on a few test
       clips in a separate process without network.
"""

import importlib.metadata
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import predict
from tonestack import __version__, cli
from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, write_json, write_text
from tonestack.config.call import Call
from tonestack.deploy import runtimes
from tonestack.deploy.predictor import Predictor, key
from tonestack.ensemble.tables import Tables
from tonestack.tables import oof
from tonestack.tables.metrics import resolve
from tonestack.training.learners.network import rebuild

import numpy as np

PACKAGE = Path(cli.__file__).parent
TRIED = 8  # test clips of the trial

INFER = '''"""Write submission.csv: python infer.py root=DIR [output=submission.csv] [time_limit=9h] [device=auto]."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

from tonestack.deploy.bundle_inference import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], HERE))
'''

README = """# Bundle `{name}`

Table `{table}`: {experiments}. {size:.1f} MB of weights, tonestack {version}, Python {python}.

Where there is a network, once:

    pip download --only-binary=:all: --dest wheels --requirement requirements.txt

(for another machine add `--python-version 3.11 --platform manylinux_2_28_x86_64`). Where there is none:

    pip install --no-index --find-links wheels --requirement requirements.txt
    python infer.py root=DIR output=submission.csv time_limit=9h

`root` is the competition's folder with the layout that the models were trained on; its test clips may be others. A
valid submission exists at any moment: it is first written with the class shares of the training clips in every row,
then again as clips are predicted. When the remaining time does not suffice for all models, folds and crops, the script
uses fewer; it keeps the best models longest.
"""

# Runs infer.py as a user would, with every way to the network closed; prints which modules it has imported.
TRIAL = """
import json, runpy, socket, sys

def closed(*args, **words):
    raise OSError("the network is closed")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = closed
script, names, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    status = end.code or 0
with open(names, "w") as file:
    json.dump(sorted({name.partition(".")[0] for name in sys.modules}), file)
sys.exit(status)
"""


def run(call: Call) -> Path:
    """Make the bundle in a temporary folder beside its destination, try it, and move it there."""
    competition = call.competition()
    if competition.submission is None:
        raise UserError(f"{call.root}: the competition has no test set, so there is nothing to submit offline")
    if call.data.bundle.runtime == "openvino" and not importlib.util.find_spec("openvino"):
        raise UserError(
            "bundle.runtime=openvino: openvino is not installed; .venv/bin/pip install openvino, or another"
        )
    predictor = predict.build(call)
    call.bundle.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=call.bundle.parent, prefix=f".{call.name}.") as scratch:
        made = Path(scratch) / "bundle"
        pack(call, predictor, made)
        said, modules = try_out(call, made, Path(scratch))
        write_text(made / "requirements.txt", "\n".join(requirements(modules)) + "\n")
        if call.bundle.exists():
            os.replace(call.bundle, Path(scratch) / "old")
        os.replace(made, call.bundle)
    print(said)
    print(f"{call.bundle}: {predictor.recipe.name}, {_megabytes(call.bundle):.1f} MB; see README.md there")
    return call.bundle


def pack(call: Call, predictor: Predictor, folder: Path) -> None:
    """Write everything but the requirements."""
    shutil.copytree(PACKAGE, folder / "src" / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for table in predictor.recipe.tables:
        source, target = call.oof / table, folder / "oof" / table
        target.mkdir(parents=True)
        chosen = predictor.trained[table].folds if table in predictor.trained else list(oof.receipts(source))
        for path in [oof.receipts(source)[k] for k in chosen]:
            shutil.copyfile(path, target / path.name)
            weights = path.with_suffix(".safetensors")
            if weights.is_file():
                shutil.copyfile(weights, target / weights.name)
        if (source / "stacker.safetensors").is_file():
            shutil.copyfile(source / "stacker.safetensors", target / "stacker.safetensors")
    pack_models(predictor, folder / "input/weights")
    if call.data.bundle.runtime != "torch":
        pack_graphs(predictor, folder / "oof")
    shutil.copyfile(PACKAGE.parents[1] / "LICENSE", folder / "LICENSE")
    write_text(folder / "infer.py", INFER)
    facts = {
        "table": predictor.recipe.name,
        "order": best_first(call, predictor),
        "classes": list(predictor.classes),
        "prior": prior(call, predictor.classes),
        "thresholds": thresholds(call, predictor.recipe.name),
        "data": call.data.model_dump(mode="json") | {"root": "."},
        "checksums": {str(p.relative_to(folder)): file_hash(p) for p in sorted(folder.rglob("*.safetensors"))},
    }
    write_json(folder / "bundle.json", facts)
    about = {"name": call.name, "table": predictor.recipe.name, "experiments": ", ".join(predictor.trained)}
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    text = README.format(**about, size=_megabytes(folder / "oof"), version=__version__, python=version)
    write_text(folder / "README.md", text)


def pack_models(predictor: Predictor, folder: Path) -> None:
    """Copy the pretrained models that frontends hear through to where they are looked for."""
    for frontend in predictor.frontends.values():
        for file, place in getattr(frontend, "files", {}).items():
            target = folder / place
            if target.exists() and file_hash(target) != file_hash(file):
                raise UserError(f"{file}: another model of the bundle has the same name; rename one and train again")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def pack_graphs(predictor: Predictor, folder: Path) -> None:
    """Write the networks as graphs for other runtimes; one that cannot be written stays with torch."""
    for name, trained in predictor.trained.items():
        if trained.learner != "network":
            continue
        frontend = predictor.frontends[key(trained.settings.frontend)]
        for fold, length in itertools.product(trained.folds, runtimes.lengths(trained.settings, frontend.frame_rate)):
            model = rebuild(trained.settings, trained.tensors(fold), len(trained.classes))
            try:
                data = runtimes.to_onnx(model, frontend.width, length)
            except Exception as error:  # the exporter has exceptions of its own for each thing that it does not know
                print(f"{name}: no graph can be made of it, so torch computes it ({type(error).__name__})")
                break
            (folder / name / f"fold{fold}.{length}.onnx").write_bytes(data)


def best_first(call: Call, predictor: Predictor) -> list[str]:
    """Return the experiments by their mean score over folds, best first."""
    sign = resolve(call.data.metric).sign

    def score(name: str) -> float:
        found = [r.get("metrics", {}).get(call.data.metric, np.nan) for r in predictor.trained[name].receipts.values()]
        return -np.inf if np.isnan(found).all() else sign * float(np.nanmean(found))

    return sorted(predictor.trained, key=score, reverse=True)


def prior(call: Call, classes: tuple[str, ...]) -> list[float]:
    """Return each class's share of the verified training labels, where they are known; none is zero."""
    table = call.labels.folds
    targets = call.task.targets(table["label"][table["verified"]], classes)
    share = (np.nansum(targets, axis=0) + 1) / ((~np.isnan(targets)).sum(axis=0) + 1)
    shown: list[float] = (share / share.sum() if call.task.one_label else np.minimum(share, 1)).tolist()
    return shown


def thresholds(call: Call, table: str) -> list[float] | None:
    """Return the table's thresholds by class, found on its OOF rows; None where it decides at one half."""
    tables = Tables.of(call, [table])
    found = tables.limits(tables.read(table).oof)
    return None if found is None else [float(t) for t in found]


def try_out(call: Call, folder: Path, scratch: Path) -> tuple[str, list[str]]:
    """Run the bundle on a few test clips without network; return its output and the modules it imported."""
    words = [f"root={call.root.absolute()}", f"output={scratch / 'submission.csv'}", f"clips={TRIED}", "device=cpu"]
    command = [sys.executable, "-I", "-c", TRIAL, str(folder / "infer.py"), str(scratch / "modules.json"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, check=False)
    if done.returncode or "left out from here on" in done.stdout:
        raise UserError(f"the bundle does not run: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    changed = [line for line in done.stdout.splitlines() if "torch in place of" in line]
    modules: list[str] = json.loads((scratch / "modules.json").read_text(encoding="utf-8"))
    return "\n".join([*changed, f"tried without network: {done.stdout.strip().splitlines()[-1]}"]), modules


def requirements(modules: list[str]) -> list[str]:
    """Return the pinned packages of the imported modules, without a build's local version (+cu130)."""
    known = importlib.metadata.packages_distributions()
    names = {name for module in modules if module not in sys.stdlib_module_names for name in known.get(module, [])}
    return sorted(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    cli.main(run, __doc__)
