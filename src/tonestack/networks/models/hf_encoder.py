"""Hugging Face audio encoders to be fine-tuned: wav2vec 2.0, HuBERT, WavLM and AST, by transformers.

The network hears waves at the folder's rate (frontend `waveform`); its embedding is the mean over the last hidden
states. The folder is read once: its settings are kept with the model's own, so that a trained network needs it no more.
"""

from pathlib import Path
from typing import Any

from tonestack.base import hugging_face
from tonestack.base.errors import UserError
from tonestack.base.model_checks import content, fault
from tonestack.base.model_files import located
from tonestack.base.section import Section
from tonestack.networks.layers import Network, Pool, dense_head

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

INPUT = "give network.folder=DIR"
WAVES = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio")
AST = "audio-spectrogram-transformer"
PLAIN = {"apply_spec_augment": False}  # spans are drawn by numpy's global numbers: a resumed run would be another one


class Params(Section):
    """The folder, how much of it is used, and the head."""

    folder: str | None = Field(None, description="Hugging Face folder, also looked for in input/weights/")
    content: str | None = Field(
        None, validate_default=True, description="content hash of the folder; filled in, another folder is refused"
    )
    architecture: dict[str, Any] = Field(
        {}, validate_default=True, description="the folder's config.json; filled in: change the folder, not this"
    )
    preprocessor: dict[str, Any] = Field(
        {}, validate_default=True, description="the folder's preprocessor_config.json; filled in likewise"
    )
    layers: int = Field(0, ge=0, description="so many of the lower layers are used; 0: all")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the classifier")

    @field_validator("content")
    @classmethod
    def _of_the_folder(cls, given: str | None, info: ValidationInfo) -> str | None:
        path = located(info.data.get("folder"))
        return given or (content(path, hugging_face.files(path)) if path else None)

    @field_validator("architecture", "preprocessor")
    @classmethod
    def _as_it_says(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        path = located(info.data.get("folder"))
        name = hugging_face.CONFIG if info.field_name == "architecture" else hugging_face.PREPROCESSOR
        return given or (hugging_face.settings_in(path / name) if path else {})


class Waves(nn.Module):
    """An encoder of waves: crops (B, 1, 1, N) to hidden states (B, D, T)."""

    def __init__(self, encoder: nn.Module, even: bool) -> None:
        super().__init__()
        self.encoder, self.even = encoder, even

    def forward(self, x: Tensor) -> Tensor:
        """Return the last hidden states; `even`: of crops brought to mean 0 and deviation 1, as in its training."""
        x = x.flatten(1)
        if self.even:
            var, mean = torch.var_mean(x.float(), dim=1, keepdim=True, correction=0)
            x = (x - mean) / (var + 1e-7).sqrt()
        states: Tensor = self.encoder(x).last_hidden_state
        return states.transpose(1, 2)


class Spectrograms(nn.Module):
    """AST behind its mel bands (Kaldi's, by the folder's settings): crops (B, 1, 1, N) to hidden states (B, D, T)."""

    basis: Tensor
    window: Tensor

    def __init__(self, encoder: nn.Module, preprocessor: dict[str, Any], basis: Tensor) -> None:
        super().__init__()
        self.encoder, self.length = encoder, int(preprocessor.get("max_length", 1024))
        even = preprocessor.get("do_normalize", True)
        self.mean = float(preprocessor.get("mean", -4.2677393)) if even else 0.0
        self.spread = 2 * float(preprocessor.get("std", 4.5689974)) if even else 1.0
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("window", torch.hann_window(400, periodic=False), persistent=False)

    def bands(self, x: Tensor) -> Tensor:
        """Log-mel bands (B, T, F) of waves (B, N): frames of 25 ms every 10 ms, silence up to the encoder's length."""
        x = F.pad(x.float(), (0, max(0, 400 - x.shape[1]))).unfold(1, 400, 160)  # (B, T, 400)
        x = x - x.mean(dim=2, keepdim=True)
        x = x - 0.97 * torch.cat([x[..., :1], x[..., :-1]], dim=2)
        power = torch.fft.rfft(x * self.window, 512).abs().square()
        mel = (power @ self.basis).clamp_min(1.192092955078125e-07).log()[:, : self.length]
        return (F.pad(mel, (0, 0, 0, self.length - mel.shape[1])) - self.mean) / self.spread

    def forward(self, x: Tensor) -> Tensor:
        """Return the last hidden states."""
        with torch.autocast(x.device.type, enabled=False):
            bands = self.bands(x.flatten(1))
        states: Tensor = self.encoder(bands).last_hidden_state
        return states.transpose(1, 2)


class Encoder(Network):
    """An encoder with a head; rates and freezing go by depth: its first part, what else is no layer, each layer."""

    def stages(self) -> list[nn.Module]:
        """The parts with weights, from the input to the classifier."""
        encoder = self.body.encoder
        layers = _layers(encoder)  # type: ignore[arg-type]
        inside = {id(module) for module in layers.modules()}
        first, *others = [m for m in _parts(encoder, inside) if next(m.parameters(), None) is not None]  # type: ignore[arg-type]
        return [first, *([nn.ModuleList(others)] if others else []), *layers, self.classifier]


def _layers(encoder: nn.Module) -> nn.ModuleList:
    """The list of a transformer's layers."""
    named = encoder.named_modules()
    return next(m for name, m in named if isinstance(m, nn.ModuleList) and name.split(".")[-1] in ("layers", "layer"))


def _parts(module: nn.Module, inside: set[int]) -> list[nn.Module]:
    """The parts of a module that are not among its layers and hold none of them."""
    found: list[nn.Module] = []
    for child in module.children():
        if id(child) in inside:
            continue
        holds = any(id(deeper) in inside for deeper in child.modules())
        found += _parts(child, inside) if holds else [child]
    return found


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network that the folder's settings describe, its weights random; no file is read."""
    if not params.architecture:
        there = f"{params.folder}: no such folder, nor in input/weights/" if params.folder else "no folder is given"
        raise UserError(f"network.folder: {there}; give network.folder=DIR of a Hugging Face model")
    kind = params.architecture.get("model_type")
    if kind not in (*WAVES, AST):
        raise UserError(f"network.folder={params.folder}: '{kind}' is none of {', '.join((*WAVES, AST))}")
    if bands != 1:
        raise UserError("network hf_encoder: hears waves; set frontend={name: waveform, sample_rate: RATE}")
    transformers = hugging_face.library("network hf_encoder")
    try:
        encoder = transformers.AutoModel.from_config(_config(transformers, params), trust_remote_code=False).float()
    except hugging_face.FAULTS as error:
        raise UserError(f"network.folder={params.folder}: transformers cannot build it: {fault(error)}") from None
    body: nn.Module = Waves(encoder, bool(params.preprocessor.get("do_normalize", False)))
    if kind == AST:
        body = Spectrograms(encoder, params.preprocessor, _mel(transformers, params.preprocessor))
    width = int(encoder.config.hidden_size)
    return Encoder(body, Pool("avg", width), dense_head(width, n_classes, 0, "relu", params.dropout))


def check(params: Params, frontend: dict[str, Any]) -> None:
    """Refuse waves at another rate than the folder's."""
    rate = params.preprocessor.get("sampling_rate")
    if rate and frontend.get("sample_rate") != rate:
        raise UserError(f"network.folder={params.folder}: was trained at {rate} Hz; set frontend.sample_rate={rate}")


def _config(transformers: Any, params: Params) -> Any:
    given = {key: value for key, value in params.architecture.items() if key != "model_type"} | PLAIN
    if params.layers:
        given["num_hidden_layers"] = min(params.layers, int(given.get("num_hidden_layers", params.layers)))
    return transformers.AutoConfig.for_model(params.architecture["model_type"], **given)


def _mel(transformers: Any, preprocessor: dict[str, Any]) -> Tensor:
    """Kaldi's mel filters (257, F) as AST's own extractor lays them out."""
    rate = int(preprocessor.get("sampling_rate", 16_000))
    filters = transformers.audio_utils.mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=int(preprocessor.get("num_mel_bins", 128)),
        min_frequency=20,
        max_frequency=rate // 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    return torch.from_numpy(filters).float()


def pretrain(network: Network, params: Params) -> None:
    """Start from the folder's weights: called before the first epoch, never where a trained network is loaded."""
    path = located(params.folder)
    if path is None:
        raise UserError(f"network.folder={params.folder}: no such folder, nor in input/weights/")
    if content(path, hugging_face.files(path)) != params.content:
        raise UserError(f"{path}: is not the folder of these settings; put that one back, or give variant=WORD")
    encoder: Any = network.body.encoder
    encoder.load_state_dict(_weights(path, encoder.config).state_dict())


def _weights(path: Path, config: Any) -> Any:
    """The folder's encoder; one that lacks some of its weights is refused."""
    transformers = hugging_face.library(path)
    options = hugging_face.SAFE | {"use_safetensors": True, "output_loading_info": True, "config": config}
    try:
        made, info = transformers.AutoModel.from_pretrained(path, **options)
    except hugging_face.FAULTS as error:
        raise UserError(f"{path}: transformers cannot load it: {fault(error)}") from None
    lacking = sorted(key for key in info["missing_keys"] if key != "masked_spec_embed")  # used where spans are masked
    if lacking:
        raise UserError(f"{path}: lacks {len(lacking)} of the encoder's weights, first '{lacking[0]}'")
    return made.float()
