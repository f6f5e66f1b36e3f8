"""Fuzz one target, guided by coverage: `python tests/fuzz/fuzz.py TARGET [seconds]`.

Needs atheris (Linux). What it finds is written to the folder it is called in and printed; put it into seeds/TARGET/,
where every test run tries it again.
"""

import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["tonestack", "yaml", "csv"]):
    import targets


def main() -> None:
    """Run libFuzzer's loop on a target's seeds; new inputs are kept only while it runs."""
    name, seconds = sys.argv[1], int((sys.argv[2:] or ["60"])[0])
    with tempfile.TemporaryDirectory() as corpus:
        options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=4096", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, corpus, str(targets.SEEDS / name)], lambda d: targets.survives(name, d))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
