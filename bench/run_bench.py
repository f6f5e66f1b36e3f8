"""Run benchmarks: `run_bench.py [NAME|all]`; each prints a table and writes bench/results/NAME.json."""

import runpy
import sys
from pathlib import Path

BENCH = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all."""
    known = sorted(path.stem for path in BENCH.glob("*.py") if path.stem != "run_bench")
    wanted = arguments or ["all"]
    unknown = [word for word in wanted if word not in (*known, "all")]
    if unknown:
        print(f"tonestack: no benchmark is called '{unknown[0]}'; there is: {', '.join(known)}, all", file=sys.stderr)
        return 2
    sys.path.insert(0, str(BENCH.parent / "src"))
    for name in known if "all" in wanted else wanted:
        sys.argv = [name]
        runpy.run_path(str(BENCH / f"{name}.py"), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
