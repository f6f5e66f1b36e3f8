"""Made tables (blends, stacks, their mean): they hold for the tables that they were made of, and go when those do.

The receipt of a made table has the fingerprint of every source. A made table whose source is gone or was changed is
removed before any verb reads it, so that no removed or older table is submitted as a part of it.
"""

from collections.abc import Mapping
from pathlib import Path

from tonestack.base.files import file_hash, fingerprint, read_json
from tonestack.config.call import Call
from tonestack.tables import oof
from tonestack.tables.read import table_files


def content(folder: Path) -> str:
    """Return the fingerprint of a table's predictions; "" where there is no table.

    The receipts of our own tables have the checksums already; a foreign table's files are hashed.
    """
    native = oof.receipts(folder)
    if not native:
        files = sorted(f for f in folder.glob("[!.]*") if f.is_file()) if table_files(folder) else []
        return fingerprint([[f.name, file_hash(f)] for f in files]) if files else ""
    folds = [(path.with_suffix(".parquet").name, read_json(path)) for path in native.values()]
    return fingerprint([[name, said.get("classes"), dict(said.get("checksums", {})).get(name)] for name, said in folds])


def sources(folder: Path) -> dict[str, str | None]:
    """Return the sources of a made table and their fingerprints, None where an older version recorded none."""
    native = oof.receipts(folder)
    receipt = read_json(next(iter(native.values()))) if native else {}
    known = receipt.get("sources")
    if isinstance(known, Mapping):
        return {str(name): str(value) for name, value in known.items()}
    return dict.fromkeys(map(str, receipt.get("tables") or ()))


def fault(folder: Path) -> str:
    """Return the reason why a made table holds no more; empty if its sources are as they were."""
    for name, known in sources(folder).items():
        found = content(folder.with_name(name))
        if not found:
            return f"its source {name} is gone"
        if known is not None and found != known:
            return f"its source {name} was changed"
    return ""


def of(call: Call) -> list[str]:
    """Return the names of the blends, stacks and means of a competition."""
    return [name for name in oof.experiments(call.oof, made=True) if oof.kind_of(call.oof / name) in oof.MADE]


def remove_stale(call: Call) -> None:
    """Remove, and name, the made tables whose sources are gone or changed, then those that were made of them."""
    while reasons := {name: why for name in of(call) if (why := fault(call.oof / name))}:
        for name, why in reasons.items():
            print(f"{name}: removed, {why}; blend and stack make it anew")
            oof.remove(call.oof / name)


def made_of(call: Call, name: str) -> set[str]:
    """Return the names of all tables that a made table rests on, through other made tables too."""
    found: set[str] = set()
    new = {name}
    while new:
        known = set().union(*(sources(call.oof / one) for one in new if oof.kind_of(call.oof / one) in oof.MADE))
        new = known - found
        found |= known
    return found
