"""The data config, every experiment's resolved config, versions."""

from tonestack.report.blocks import Block, Code, More, TableBlock
from tonestack.report.material import Material

import pandas as pd
import yaml

TITLE, ORDER = "Settings and versions", 140


def blocks(material: Material) -> list[Block]:
    """Configs folded away, versions as a table."""
    call = material.call
    configs: list[Block] = [More("Data config", [Code(dump(call.data.model_dump(mode="json")))])]
    for name, receipts in material.receipts.items():
        first = {"seed": receipts[0].get("seed"), **receipts[0].get("config", {})}
        configs.append(More(name, [Code(dump(first))]))
    found = versions(material)
    shown: list[Block] = [found] if found else []
    return [*shown, More(f"Configs ({len(configs)})", configs)]


def versions(material: Material) -> TableBlock | None:
    """The versions that experiments were trained with, one row per combination."""
    rows = [r["versions"] for receipts in material.receipts.values() for r in receipts if r.get("versions")]
    if not rows:
        return None
    count = pd.DataFrame(rows).fillna("").value_counts().rename("Folds").reset_index()
    return TableBlock.of("Versions that the folds were trained with", count)


def dump(config: object) -> str:
    """A config as YAML."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
