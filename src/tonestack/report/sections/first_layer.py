"""Feature maps of a trained network's first layer for some clips (at most 32 filters)."""

from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import atomic, file_hash
from tonestack.base.pictures import new_figure
from tonestack.features.store import Store
from tonestack.networks import weights
from tonestack.report.blocks import Block, PictureBlock
from tonestack.report.material import Material
from tonestack.settings.model_config import ModelConfig
from tonestack.training import learners

import numpy as np

TITLE, ORDER = "First layer", 105

FILTERS, CLIPS = 32, 3
FOLDER = "layers"  # of the report


def blocks(material: Material) -> list[Block]:
    """Return one picture of the best network with weights and features at hand; log-mel spectrograms come first."""
    trained = material.board.loc[material.board["kind"] == "train", "experiment"].astype(str)
    first = [(name, material.receipts[name][0]) for name in trained if material.receipts.get(name)]
    for name, receipt in sorted(first, key=lambda one: frontend(one[1]) != "logmel"):
        path = picture(material, name, receipt)
        if path is not None:
            alt = f"Input of the network {name} for some clips, and beside each the feature maps of its first layer."
            said = f"{name}, fold {receipt['fold']}: input ({frontend(receipt)}) and feature maps"
            return [PictureBlock.of(material.folder, path, alt, said)]
    return []


def frontend(receipt: dict[str, Any]) -> str:
    """The name of an experiment's features."""
    return str(receipt.get("config", {}).get("frontend", {}).get("name", ""))


def picture(material: Material, name: str, receipt: dict[str, Any]) -> Path | None:
    """Draw the maps of one fold's network if they are not there yet; None if it is no network on spectrograms."""
    saved = material.call.oof / name / f"fold{receipt['fold']}.safetensors"
    known = str(receipt.get("checksums", {}).get(saved.name))
    path = material.folder / FOLDER / f"{known[:16]}.png"
    if path.is_file():
        return path
    if not saved.is_file() or file_hash(saved) != known:
        return None
    found = feature_maps(material, receipt, saved)
    if found is None:
        return None
    for old in path.parent.glob("*.png"):
        old.unlink()
    draw(*found, path)
    return path


def feature_maps(
    material: Material, receipt: dict[str, Any], saved: Path
) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Labels of some clips, their crops (n, F, T) and the first convolution's maps (n, C, F', T')."""
    from tonestack.training.crops import Clips
    from tonestack.training.learners import network

    import torch

    try:
        config = ModelConfig.parse(receipt["config"], str(saved))
        store = Store.open(material.call.cache, config.frontend, material.call.data.audio)
        learner = learners.name_of(config.network)
    except UserError:  # of another version, or its features are gone
        return None
    if store.width == 1 or learner != "network":
        return None
    model = network.build_model(network.unfetched(config), store, receipt.get("learnt_classes", len(material.classes)))
    try:
        weights.put(model, weights.read(saved), saved)
    except UserError:  # damaged: the stages that need it report that
        return None
    first = next((m for m in model.modules() if isinstance(m, torch.nn.Conv2d)), None)
    chosen = some_clips(material)
    if first is None or not len(chosen):
        return None
    kept: list[torch.Tensor] = []
    first.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    clips = Clips.load(store, material.clips["clip_id"].iloc[chosen].tolist(), torch.device("cpu"))
    length, rows = round(config.crop.seconds * store.frame_rate), torch.arange(len(chosen))
    x = clips.crops(rows, torch.zeros_like(rows), length, config.crop.short, torch.ones(len(rows)))
    with torch.inference_mode():
        model.eval()(x)
    maps = kept[0][:, :FILTERS].float().numpy()
    return material.clips["label"].iloc[chosen].tolist(), x[:, 0].numpy(), maps


def some_clips(material: Material) -> np.ndarray:
    """Return one verified, usable clip per class, for some classes."""
    clips = material.clips
    usable = clips[(clips["part"] == "train") & clips["verified"].astype(bool) & clips["status"].isin(["ok"])]
    return usable.drop_duplicates("label").index.to_numpy()[:CLIPS]


def draw(labels: list[str], crops: np.ndarray, maps: np.ndarray, path: Path) -> None:
    """One row per clip: its spectrogram, then the maps in two lines."""
    half = -(-maps.shape[1] // 2)
    figure = new_figure(13, 2.1 * len(labels))
    grid = figure.add_gridspec(2 * len(labels), half + 3)
    for row, label in enumerate(labels):
        whole = figure.add_subplot(grid[2 * row : 2 * row + 2, :3])
        whole.imshow(crops[row], origin="lower", aspect="auto", cmap="magma")
        whole.set_title(label.replace("$", r"\$"), fontsize=9)
        whole.set(xticks=[], yticks=[])
        for number, one in enumerate(maps[row]):
            axis = figure.add_subplot(grid[2 * row + number // half, 3 + number % half])
            axis.imshow(one, origin="lower", aspect="auto", cmap="magma")
            axis.set(xticks=[], yticks=[])
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
