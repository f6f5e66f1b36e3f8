"""Fuzzing: seeds and their mutations in every run, a coverage-guided fuzzer in the long one."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz"
sys.path.insert(0, str(FUZZ))
import targets  # noqa: E402

MUTATIONS = 60  # of every seed
SECONDS = 60  # of the guided fuzzer, a target


def mutated(seed: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A seed with up to four changes: a flipped bit, a byte, bytes cut out, doubled, or spliced in from another."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.randint(1, 16)
        kind = rng.randrange(6)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = rng.choice(b"\0\xff\n,;\"'=[{:&*-0")
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[place:place] = other[start : start + length]
        else:
            data[place:place] = rng.choice(
                [b"9" * 400, b"\0", b"\xed\xa0\x80", b"nan", b"1e999", b"2018-13-01", b"[" * 300]
            )
    return bytes(data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds_and_their_mutations_end_well_or_are_refused(name: str) -> None:
    seeds = [path.read_bytes() for path in sorted((targets.SEEDS / name).iterdir())]
    assert seeds
    rng = random.Random(0)
    for seed in seeds:
        targets.survives(name, seed)
    for seed in seeds:
        for _ in range(MUTATIONS):
            data = mutated(seed, seeds, rng)
            try:
                targets.survives(name, data)
            except BaseException as error:
                pytest.fail(f"{name}: {data!r} ends in {type(error).__name__}: {error}")


@pytest.mark.long
@pytest.mark.parametrize("name", targets.TARGETS)
def test_guided_by_coverage_nothing_is_found(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (it is for Linux)")
    call = [sys.executable, str(FUZZ / "fuzz.py"), name, str(SECONDS)]
    found = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
