"""Side by side with what a user would pick instead: networks on ESC-50's fold 1, ensembles on our prediction tables.

`peers.py [only=a,b] [epochs=10] [seconds=300] [folder=DIR] [root=ESC50] [tables: data=NAME name=NAME ...]`.
Networks train the same number of epochs on the same clips, each from files, none pretrained: ours (`timm_backbone`), a
script of timm and a DataLoader, autrainer (MobileNetV3-Small), opensoundscape (ResNet-18). Ensembles get the same
tables (`data=demo` unless said otherwise; they must be trained): our blend, stack, submit; hill climbing; AutoGluon's
tabular ensembler on the tables' columns for `seconds`. Every peer is installed into an environment of its own below
`folder` and is left out, with the reason, where that fails. Costs are processor minutes. Leaves
bench/results/peers.json.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _measure
from tonestack.config.call import Call
from tonestack.ensemble import scoring
from tonestack.ensemble.tables import Tables
from tonestack.tables import oof
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd

BENCH = Path(__file__).parent
SOURCE = BENCH.parent / "src"
ESC50 = BENCH.parents[1] / "shared" / "data" / "esc50"
OURS = "ours"
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]  # of one another; the newest torchaudio is older
NETWORKS = {
    OURS: ("timm_backbone of preset=fast", []),
    "timm": ("timm's narrow resnet10t, DataLoader, librosa", []),
    "autrainer": ("autrainer, MobileNetV3-Small", ["autrainer", *TORCH]),
    "opensoundscape": ("opensoundscape, ResNet-18", ["opensoundscape", *TORCH]),
}
ENSEMBLES = {
    OURS: ("blend, stack, submit", []),
    "hill_climbing": ("hill climbing", []),
    "autogluon": ("AutoGluon tabular", ["autogluon.tabular[lightgbm]"]),
}


@dataclass(frozen=True)
class Options:
    """The words of this benchmark; `rest` choose the tables."""

    only: tuple[str, ...]
    epochs: int
    seconds: int
    folder: Path
    root: Path
    rest: list[str]

    @classmethod
    def of(cls, words: list[str]) -> "Options":
        """Take the words apart."""
        own = {"only": "", "epochs": "10", "seconds": "300", "folder": "", "root": str(ESC50)}
        given = own | dict(word.split("=", 1) for word in words if word.split("=", 1)[0] in own)
        rest = [word for word in words if word.split("=", 1)[0] not in own]
        folder = Path(given["folder"] or Path(tempfile.gettempdir()) / "tonestack-peers").resolve()
        only = tuple(filter(None, given["only"].split(",")))
        return cls(only, int(given["epochs"]), int(given["seconds"]), folder, Path(given["root"]), rest)

    def wants(self, peer: str) -> bool:
        """True if a peer is asked for."""
        return not self.only or peer in self.only


class LeftOutError(Exception):
    """The reason why a peer cannot be measured."""


def python_of(peer: str, packages: list[str], folder: Path) -> Path:
    """The Python of a peer's own environment, installed on first use; this one where it needs nothing else."""
    if not packages:
        return Path(sys.executable)
    home = folder / peer
    python = home / "bin/python"
    if not (home / ".ready").is_file():
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        install = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
        done = subprocess.run([*install, "--quiet", *packages], capture_output=True, text=True)
        if done.returncode:
            raise LeftOutError(f"cannot be installed: {done.stderr.strip().splitlines()[-1][:200]}")
        (home / ".ready").write_text("\n".join(packages))
    return python


def timed(command: list[str], folder: Path, **environment: str) -> float:
    """Run a command in a folder; its processor seconds, those of its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = os.environ | {"HF_HUB_OFFLINE": "1"} | environment
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    (folder / "log.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise LeftOutError(
            f"ended with status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1][:200]}"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ------------------------------------------------------------------------------------------------------------ networks


def clips_of(root: Path) -> pd.DataFrame:
    """ESC-50's clips: `path, label` (a number), `held` (fold 1)."""
    table = pd.read_csv(root / "meta/esc50.csv")
    stems = {path.stem: path for path in sorted((root / "audio").iterdir())}
    paths = [str(stems[Path(name).stem]) for name in table["filename"]]
    return pd.DataFrame({"path": paths, "label": table["target"], "held": table["fold"] == 1})


def network(peer: str, options: Options, folder: Path) -> dict[str, float]:
    """Accuracy on fold 1 and processor minutes of one peer's network."""
    clips = clips_of(options.root)
    clips.to_csv(folder / "clips.csv", index=False)
    python = python_of(peer, NETWORKS[peer][1], options.folder)
    if peer == OURS:
        spent, right = our_network(options, folder)
    else:
        script = str(BENCH / f"peers_scripts/with_{peer}.py")
        spent = timed([str(python), script, "clips.csv", str(options.epochs)], folder)
        made = np.load(folder / "probabilities.npy", allow_pickle=False)
        right = made.argmax(axis=1) == clips["label"][clips["held"]].to_numpy()
    return {"score": float(right.mean()), "se": float(right.std() / np.sqrt(len(right))), "core-minutes": spent / 60}


def our_network(options: Options, folder: Path) -> tuple[float, np.ndarray]:
    """Train our network as a user would, features included; which clips of fold 1 are right."""
    words = ["data=esc50", f"root={options.root.resolve()}", "preset=fast", "model=timm_backbone", "fold=0"]
    words += [f"training.epochs={options.epochs}", "training.min_steps=0", "pseudo.rounds=0", "clean.method=none"]
    spent = timed([sys.executable, str(SOURCE / "train.py"), *words], folder, TONESTACK_HOME=str(folder))
    (path,) = (folder / "oof/esc50").glob("*/fold0.parquet")
    rows = pd.read_parquet(path)
    rows = rows[rows["part"] == "oof"].set_index("clip_id").drop(columns="part")
    truth = pd.read_csv(folder / "folds/esc50/r0.csv").set_index("clip_id")["label"]
    return spent, (rows.idxmax(axis=1) == truth[rows.index]).to_numpy()


# ----------------------------------------------------------------------------------------------------------- ensembles


def write_tables(call: Call, folder: Path) -> tuple[Tables, Callable[[np.ndarray], dict[str, float]]]:
    """Write `tables.npz` (oof (M, N, C), test (M, T, C), targets (N,)) of the scored clips; the scorer of test rows."""
    tables = Tables.of(call)
    keep, names = tables.scored, tables.names
    if not tables.task.one_label or call.scoring is None:
        raise LeftOutError("the tables' test labels are not known, or clips have several labels")
    np.savez(
        folder / "tables.npz",
        oof=np.stack([tables.oof(name)[keep] for name in names]),
        test=np.stack([tables.test(name) for name in names]),
        targets=tables.targets[keep],
    )
    labels = scoring.read(call.scoring, call.rows.labels, call.task, scoring.Headings.of(call))

    def score(rows: np.ndarray) -> dict[str, float]:
        metric = resolve(tables.metric)
        return scoring.score(metric, rows, tables.test_ids, labels, tables.labels, tables.task, tables.form)

    return tables, score


def ensemble(peer: str, options: Options, folder: Path) -> dict[str, float]:
    """Test scores and processor minutes of one peer's ensemble of our tables."""
    call = Call.from_arguments(options.rest or ["data=demo"])
    _, score = write_tables(call, folder)
    python = python_of(peer, ENSEMBLES[peer][1], options.folder)
    if peer == OURS:
        spent, rows = our_ensemble(call, options, folder)
    else:
        script = str(BENCH / f"peers_scripts/with_{peer}.py")
        spent = timed([str(python), script, "tables.npz", str(options.seconds)], folder)
        rows = np.load(folder / "probabilities.npy", allow_pickle=False)
    return {**score(rows), "core-minutes": spent / 60}


def our_ensemble(call: Call, options: Options, folder: Path) -> tuple[float, np.ndarray]:
    """Blend, stack and submit anew, on copies of the tables; the submitted table's test rows."""
    for source, target in ((call.oof, "oof"), (call.folds, "folds")):
        shutil.copytree(source, folder / target / call.name, ignore=shutil.ignore_patterns("*.safetensors"))
    for name in set(oof.experiments(call.oof, made=True)) - set(oof.experiments(call.oof)):
        shutil.rmtree(folder / "oof" / call.name / name)
    words = [word for word in options.rest if not word.startswith("root=")] + [f"root={call.root.resolve()}"]
    spent = 0.0
    for verb in ("blend", "stack", "submit"):
        spent += timed([sys.executable, str(SOURCE / f"{verb}.py"), *words], folder, TONESTACK_HOME=str(folder))
    log = pd.read_csv(folder / "submissions" / call.name / "log.csv")
    tables = Tables.of(call, oof.experiments(call.oof))
    tables.folder = folder / "oof" / call.name
    return spent, tables.test(str(log["table"].iloc[-1]))


# ----------------------------------------------------------------------------------------------------------------- all


def measured(work: Callable[..., dict[str, float]], peer: str, name: str, options: Options) -> dict[str, Any]:
    """One row of the table."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = work(peer, options, Path(folder))
        except LeftOutError as reason:
            found = {"left out": str(reason)}  # type: ignore[dict-item]
    row = {"what": work.__name__, "peer": name, **found, "wall s": time.monotonic() - started}
    print(json.dumps(row), flush=True)
    return row


def main(*words: str) -> None:
    """Measure the peers asked for; write, print."""
    options = Options.of(list(words))
    rows = []
    if options.root.is_dir():
        rows += [measured(network, p, name, options) for p, (name, _) in NETWORKS.items() if options.wants(p)]
    else:
        print(f"peers: the networks are left out: there is no {options.root}; give root=")
    rows += [measured(ensemble, p, name, options) for p, (name, _) in ENSEMBLES.items() if options.wants(p)]
    _measure.report("peers", rows, {"about": f"{options.epochs} epochs on ESC-50's fold 1; ensembles of our tables"})


if __name__ == "__main__":
    main(*sys.argv[1:])
