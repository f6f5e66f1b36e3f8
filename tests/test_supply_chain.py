"""What is installed is pinned and hashed; nothing in the code runs what it reads."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.save", "joblib.load", "joblib.dump", "pd.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "tempfile.mktemp"),
    *("pandas.read_pickle", "np.fromregex", "subprocess.getoutput", "subprocess.getstatusoutput"),
}
METHODS = {"extractall", "to_pickle", "read_pickle"}
KEYWORDS = {("shell", True), ("allow_pickle", True), ("verify", False), ("weights_only", False)}


def dangers(code: str) -> list[str]:
    """Everything in a module that could run what it reads, by line."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{node.lineno}: import {n}" for n in names if n.partition(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BUILTINS | CALLS or name.rpartition(".")[2] in METHODS:
                found.append(f"{node.lineno}: {name}()")
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in KEYWORDS:
                    found.append(f"{node.lineno}: {keyword.arg}={value}")
    return found


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from dill import loads", "eval(text)", "torch.load(path)", "joblib.load(path)"),
        *("yaml.load(text, Loader)", "np.load(path, allow_pickle=True)", "subprocess.run(text, shell=True)"),
        *("archive.extractall(folder)", "requests.get(url, verify=False)", "pd.read_pickle(path)"),
    ],
)
def test_a_danger_is_seen(line: str) -> None:
    assert dangers(line)


@pytest.mark.parametrize(
    "line", ["model.eval()", "yaml.safe_load(text)", "np.load(p, allow_pickle=False)", "re.compile(x)"]
)
def test_what_is_harmless_is_not(line: str) -> None:
    assert not dangers(line)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.parts[-2:] == (
        "networks",
        "weights.py",
    ):  # converts a checkpoint that its user names, once, as tensors alone
        assert text.count("torch.load(") == 1
        assert 'torch.load(path, map_location="cpu", weights_only=True)' in text
        assert "pickle.load" not in text
        assert all("pickle" in found or "torch.load" in found for found in dangers(text))
        return
    assert dangers(text) == []


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = {
    "PIL": "pillow", "google": "protobuf", "parselmouth": "praat-parselmouth", "pywt": "pywavelets",
    "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip


def locked(lock: str) -> dict[str, list[str]]:
    """Lines of a lock by package: the pin and its hashes."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / lock).read_text()):
        if block and not block.startswith(("#", "--")):
            found.setdefault(normal(re.split(r"[=;\s\[]", block)[0]), []).append(block)
    return found


def named(lines: list[str]) -> set[str]:
    """The packages of requirement lines."""
    return {normal(re.split(r"[=<>;\s\[]", line)[0]) for line in lines}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_and_hashed(lock: str) -> None:
    for name, blocks in locked(lock).items():
        for block in blocks:
            assert re.match(r"[\w.\[\]-]+==[\w.+!]+", block), name
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name
            assert "git+" not in block, name
            assert "://" not in block, name


def test_the_locks_hold_every_direct_dependency_and_no_tool_is_the_users() -> None:
    users, developers = locked("requirements.lock"), locked("requirements-dev.lock")
    tools = named(PROJECT["dependency-groups"]["dev"])
    assert len(users) > 50
    assert named(PROJECT["project"]["dependencies"]) <= set(users)
    assert tools <= set(developers)
    assert not tools & set(users)
    bare = [
        [{re.sub(r" ; .*", r" \\", b.strip()) for b in lock[name]} for name in users] for lock in (users, developers)
    ]
    assert bare[0] == bare[1]  # the developers' lock is the users' and more, markers aside
    assert set(locked("requirements-uv.lock")) == {"uv"}


def imported(folder: str) -> dict[str, str]:
    """Third-party packages that the modules below a folder import, late ones too, each with one of the files."""
    found = {}
    ours = {"tonestack", *(p.stem for place in ("src", "bench", "tests") for p in (ROOT / place).rglob("*.py"))}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.partition(".")[0]: path.name for name in names}
    return {
        normal(PACKAGES.get(name, name)): path
        for name, path in found.items()
        if name not in sys.stdlib_module_names and name not in ours | {"", "_pytest"}
    }


def test_everything_that_is_imported_is_declared() -> None:
    extras = [line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]
    declared = named(PROJECT["project"]["dependencies"]) | named(extras)
    assert {name: path for name, path in imported("src").items() if name not in declared} == {}
    assert {"requests", "pillow", "markupsafe"} <= set(imported("src"))


def test_nothing_under_the_gpl_is_needed() -> None:
    needed = named(PROJECT["project"]["dependencies"]) | set(locked("requirements.lock"))
    assert not needed & {"praat-parselmouth"}
    assert "praat-parselmouth" in named(PROJECT["project"]["optional-dependencies"]["praat"])


# ------------------------------------------------------------------------------------------------------------ set-up


def set_up(folder: Path, *words: str, uv: int | None = 0, **environment: str) -> list[str]:
    """Run run.sh where Python and uv are stand-ins; return the installers' calls, each with the lock's packages.

    uv: the exit status of the stand-in, None where there is no uv.
    """
    (folder / "src").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "tests").mkdir()
    (folder / "src/all.py").touch()
    shutil.copy(ROOT / "run.sh", folder / "run.sh")
    for lock in LOCKS:
        (folder / lock).write_text("torch==1\\\n  --hash=a\ntriton==1\\\n  --hash=b\n")
    record = f'for last; do :; done; echo "$* $(grep -c hash "$last")" >> "{folder}/calls"\n'
    python = '#!/bin/sh\n[ "$2" = venv ] && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"\n'
    python += f'[ "$2" = pip ] && {{ {record.strip()}; }}\nexit 0\n'
    commands = dict.fromkeys(("python3", "python3.11", "python3.12", "python3.13"), python)
    commands |= {} if uv is None else {"uv": f"#!/bin/sh\n{record}exit {uv}\n"}
    for name, text in commands.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    tools = [path for path in os.environ["PATH"].split(":") if not (Path(path) / "uv").exists()]
    path = ":".join([str(folder / "bin"), *tools])
    subprocess.run(
        ["bash", "run.sh", *words], cwd=folder, env=os.environ | {"PATH": path} | environment, check=True, timeout=60
    )
    return (folder / "calls").read_text().replace(f"{folder}/", "").splitlines()


WORDS = "--only-binary=:all: --require-hashes"


def test_set_up_takes_uv_and_checks_hashes_of_wheels(tmp_path: Path) -> None:
    (call,) = set_up(tmp_path / "1", PYTHONDONTWRITEBYTECODE="")
    assert call == f"pip install --quiet --python .venv/bin/python {WORDS} -r requirements.lock 2"
    (call,) = set_up(tmp_path / "2", PYTHONDONTWRITEBYTECODE="1")
    assert call == f"pip install --quiet --python .venv/bin/python {WORDS} --compile-bytecode -r requirements.lock 2"


def test_set_up_fetches_uv_or_does_without(tmp_path: Path) -> None:
    pip = f"-m pip install --quiet --disable-pip-version-check {WORDS} -r"
    fetched = set_up(tmp_path / "1", uv=None)
    assert fetched == [f"{pip} requirements-uv.lock 2", f"{pip} requirements.lock 2"]  # it was not to be had
    assert set_up(tmp_path / "2", TONESTACK_UV="no") == [f"{pip} requirements.lock 2"]
    failed = set_up(tmp_path / "3", uv=1)
    assert failed[1:] == [f"{pip} requirements.lock 2"]


def test_set_up_without_a_gpu_leaves_triton_out(tmp_path: Path) -> None:
    (call,) = set_up(tmp_path, TONESTACK_GPU="no", PYTHONDONTWRITEBYTECODE="")
    assert call.endswith(f"{WORDS} --no-deps -r .venv/lock 1")


def test_the_tools_come_with_the_tests_alone(tmp_path: Path) -> None:
    calls = set_up(tmp_path, "test")
    assert [call.split()[-2] for call in calls] == ["requirements.lock", "requirements-dev.lock"]


@pytest.mark.long
def test_pip_audit_knows_of_no_open_fault() -> None:
    """Needs pip-audit and the network; skipped, saying so, where either is missing. See docs/security.md."""
    if find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed")
    words = ["-m", "pip_audit", "-r", str(ROOT / "requirements-dev.lock"), "--require-hashes", "--disable-pip"]
    found = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if re.search(r"ConnectionError|Max retries|Failed to resolve|not found on PyPI", found.stdout + found.stderr):
        pytest.skip("the list of known faults cannot be reached")
    assert found.returncode == 0, found.stdout
