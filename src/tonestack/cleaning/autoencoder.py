"""Train the autoencoder on all clips, without labels, and keep the latent vectors.

cache/<name>/autoencoder-<key>/   weights.safetensors (best epoch), history.csv, latents.npy, meta.json (last)
reports/<name>/autoencoder.png    originals over reconstructions; autoencoder-loss.png
"""

from pathlib import Path

from tonestack.base import parts
from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import atomic, fingerprint, write_array, write_csv, write_json
from tonestack.cleaning import label_pictures
from tonestack.config.call import Call, Experiment
from tonestack.features.store import Store
from tonestack.networks.models.autoencoder import Autoencoder
from tonestack.settings.model_config import ModelConfig
from tonestack.training.checkpoint import Average, State
from tonestack.training.crops import Clips
from tonestack.training.device import choose_device, seed_of
from tonestack.training.job import config_fingerprint
from tonestack.training.step import make_optimizer

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

DECIBELS = -80.0  # the spectrograms' floor: pictures are dB / DECIBELS, 0 loud to 1 silent
SHOWN = 6  # clips in the picture


def latents(call: Call, experiment: Experiment, store: Store, clip_ids: list[str]) -> np.ndarray:
    """Return latent vectors (N, latent) float32 of the clips; NaN rows for clips without audio."""
    if experiment.config.network["name"] != "autoencoder":
        raise UserError(f"clean.embedding=autoencoder: {experiment.model} is not an autoencoder")
    key = fingerprint([config_fingerprint(experiment), store.fingerprint, clip_ids])
    folder = call.cache / f"autoencoder-{key}"
    if (folder / "meta.json").is_file():
        print(f"autoencoder: up to date ({folder.name})")
        return np.load(folder / "latents.npy")
    device = choose_device(call.words.device)
    clips = Clips.load(store, clip_ids, device)
    model, history = train(experiment.config, clips, store.width, folder / "state.safetensors", experiment.seed)
    return _keep(call, folder, model, clips, history)


def pictures(clips: Clips, rows: Tensor, frames: int) -> Tensor:
    """Return whole clips as pictures (B, 1, F, frames) in 0..1: nearest frames, one gather."""
    rows = rows.to(clips.home)
    length = clips.frames[rows, None]
    steps = torch.arange(frames, device=rows.device)
    index = clips.offsets[rows, None] + ((2 * steps + 1) * length) // (2 * frames)
    x = clips.features[index].to(clips.device).float() / DECIBELS  # (B, T, F)
    return x.transpose(1, 2).unsqueeze(1)


def train(
    settings: ModelConfig, clips: Clips, bands: int, state: Path, seed: int = 0
) -> tuple[Autoencoder, list[dict[str, float]]]:
    """Train until the loss on held-out clips has not fallen for `patience` epochs; keep the weights of the best epoch.

    Resumes from `state` after its last epoch.
    """
    params = settings.training
    sizes = parts.part_params("models", settings.network, "network")
    torch.manual_seed(seed_of(seed, "autoencoder"))
    model = Autoencoder(sizes, bands).to(clips.device)  # type: ignore[arg-type]
    optimizer = make_optimizer(model, params)
    keeper = State(state, model, optimizer, Average(model, 0.0), fingerprint([settings.model_dump(mode="json"), seed]))
    history = keeper.load()
    learn, inner = _split(clips, params.inner_share, seed)
    with bar(params.epochs, "autoencoder", "epoch") as progress:
        progress.update(len(history.epochs))
        for epoch in range(len(history.epochs), params.epochs):
            if epoch - history.best_epoch >= params.patience:
                break
            order = learn[torch.randperm(len(learn), generator=torch.Generator().manual_seed(seed_of(seed, epoch)))]
            loss = _epoch(model, optimizer, clips, order, sizes.frames, params.batch_size)  # type: ignore[attr-defined]
            held_out = measure(model, clips, inner, sizes.frames, params.batch_size)  # type: ignore[attr-defined]
            keeper.keep_best(history, held_out, epoch + 1)
            history.epochs.append({"epoch": epoch + 1, "loss": loss, "inner_loss": held_out})
            keeper.save(history)
            progress.update()
            progress.set_text(f"loss {loss:.4f}, held out {held_out:.4f}")
    model.load_state_dict(keeper.final())
    return model, history.epochs


def _split(clips: Clips, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the rows of clips with audio into training and early stopping."""
    usable = torch.as_tensor(np.flatnonzero(clips.frames.cpu().numpy() > 0))
    order = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(seed_of(seed, "inner")))]
    count = max(1, round(share * len(order)))
    return order[count:], order[:count]


def _epoch(
    model: Autoencoder, optimizer: torch.optim.Optimizer, clips: Clips, order: Tensor, frames: int, batch: int
) -> float:
    """Train one epoch; return the mean squared error."""
    model.train()
    total = torch.zeros((), device=clips.device)
    for picked in order.split(batch):
        x = pictures(clips, picked, frames)
        loss = F.mse_loss(model(x), x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(picked)
    return float(total) / len(order)


@torch.inference_mode()
def measure(model: Autoencoder, clips: Clips, rows: Tensor, frames: int, batch: int) -> float:
    """Return the mean squared error on some clips."""
    model.eval()
    total = 0.0
    for picked in rows.split(batch):
        x = pictures(clips, picked, frames)
        total += float(F.mse_loss(model(x), x)) * len(picked)
    return total / len(rows)


@torch.inference_mode()
def encode(model: Autoencoder, clips: Clips, frames: int, batch: int = 32) -> np.ndarray:
    """Return latents (N, latent); NaN rows for clips without audio."""
    model.eval()
    usable = torch.as_tensor(np.flatnonzero(clips.frames.cpu().numpy() > 0))
    pieces = [model.encode(pictures(clips, r, frames)).cpu() for r in usable.split(batch)]
    found = torch.cat(pieces).float().numpy()
    x = np.full((len(clips.frames), found.shape[1]), np.nan, np.float32)
    x[usable.numpy()] = found
    return x


def _keep(call: Call, folder: Path, model: Autoencoder, clips: Clips, history: list[dict[str, float]]) -> np.ndarray:
    frames = model.sizes[0][1]
    x = encode(model, clips, frames)
    with atomic(folder / "weights.safetensors") as temporary:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary)
    losses = pd.DataFrame(history)
    write_csv(folder / "history.csv", losses)
    write_array(folder / "latents.npy", x)
    rows = torch.as_tensor(np.flatnonzero(~np.isnan(x[:, 0]))[:SHOWN])
    with torch.inference_mode():
        originals = pictures(clips, rows, frames)
        made = model(originals)
    label_pictures.reconstructions(originals.cpu().numpy(), made.cpu().numpy(), call.reports / "autoencoder.png")
    label_pictures.loss_curve(losses, call.reports / "autoencoder-loss.png")
    write_json(folder / "meta.json", {"clips": len(x), "latent": x.shape[1], "epochs": len(losses)})
    (folder / "state.safetensors").unlink(missing_ok=True)
    return x
