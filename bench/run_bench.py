"""Run benchmarks: `run_bench.py [NAME ...|all] [WORD ...]`; each prints a table and writes bench/results/NAME.json.

A name may be cut short (`profile`). Numbers (sizes) and words with a value (`model=vgg_small`) go to the benchmark,
as its file says.
"""

import ast
import runpy
import sys
from pathlib import Path

BENCH = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all."""
    known = sorted(path.stem for path in BENCH.glob("[!_]*.py") if path.stem != "run_bench")
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        for name in known:
            says = ast.get_docstring(ast.parse((BENCH / f"{name}.py").read_text(encoding="utf-8"))) or ""
            print(f"{name:22}{says.splitlines()[0]}")
        return 0
    own = [word for word in arguments if word.isdecimal() or "=" in word]
    wanted = [word for word in arguments if word not in own] or ["all"]
    meant = {
        word: [name for name in known if name == word] or [n for n in known if n.startswith(word)] for word in wanted
    }
    unknown = [word for word in wanted if word != "all" and len(meant[word]) != 1]
    if unknown:
        print(f"tonestack: no benchmark is called '{unknown[0]}'; there is: {', '.join(known)}, all", file=sys.stderr)
        return 2
    sys.path.insert(0, str(BENCH.parent / "src"))
    for name in known if "all" in wanted else [meant[word][0] for word in wanted]:
        sys.argv = [name, *own]
        runpy.run_path(str(BENCH / f"{name}.py"), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
