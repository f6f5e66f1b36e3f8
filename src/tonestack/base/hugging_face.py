"""Hugging Face folders (config.json, safetensors): checked, and loaded by transformers (`pip install transformers`).

Pickled weights and code in the folder are refused; nothing is looked for on the network.
"""

import json
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import read_text
from tonestack.base.model_checks import check_size, fault

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
READ = (CONFIG, PREPROCESSOR, "model.safetensors.index.json")
LARGEST_JSON = 16 << 20
SAFE = {"local_files_only": True, "trust_remote_code": False}
FAULTS = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError)  # of a broken folder


def files(path: Path) -> list[Path]:
    """The files that are read: settings and safetensors. A folder with code, or with pickles alone, is refused."""
    settings = [path / name for name in READ if (path / name).is_file()]
    if path / CONFIG not in settings:
        raise UserError(f"{path}: has no config.json; it is no Hugging Face model")
    for file in settings:
        settings_in(file)
    tensors = sorted(path.glob("*.safetensors"))
    if not tensors:
        pickles = ", ".join(sorted(p.name for p in [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.h5")]))
        held = f"; {pickles} can hold code and are not opened" if pickles else ""
        raise UserError(f"{path}: has no *.safetensors{held}")
    if not (path / PREPROCESSOR).is_file():
        raise UserError(f"{path}: has no preprocessor_config.json, which says the sample rate")
    check_size([*settings, *tensors])
    for file in tensors:
        _check_safetensors(file)
    return [*settings, *tensors]


def settings_in(file: Path) -> dict[str, Any]:
    """What a folder's json says; one that is none, too large, or names code of its own (`auto_map`) is refused."""
    if file.stat().st_size > LARGEST_JSON:
        raise UserError(f"{file}: {file.stat().st_size / 1e6:.0f} MB of settings; that is none of a model")
    try:
        held = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not json ({fault(error)})") from None
    if not isinstance(held, dict):
        raise UserError(f"{file}: a mapping of settings is expected")
    if _names_code(held):
        raise UserError(f"{file}: names code of its own (auto_map); a folder's code is never run")
    return held


def _names_code(held: Any) -> bool:
    if isinstance(held, dict):
        return "auto_map" in held or any(map(_names_code, held.values()))
    return isinstance(held, list) and any(map(_names_code, held))


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            opened.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: not a safetensors file, or damaged ({fault(error)})") from None


def library(what: str | Path) -> Any:
    """The module transformers, silenced; where it is not installed, a `UserError` about `what`."""
    try:
        import transformers
    except ImportError:
        raise UserError(f"{what}: Hugging Face folders need transformers; run `pip install transformers`") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def loaded(path: Path) -> tuple[Any, Any]:
    """Feature extractor and audio encoder of a folder, from disk alone, without any code of its own."""
    transformers = library(path)
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(path, **SAFE)
        model = transformers.AutoModel.from_pretrained(path, use_safetensors=True, **SAFE)
    except FAULTS as error:
        raise UserError(f"{path}: transformers cannot load it: {fault(error)}") from None
    if hasattr(model, "audio_model"):  # of CLAP, whose other half reads text
        model = model.audio_model
    elif getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    return extractor, model.float().eval()
