"""Choose the device and the number format of a training process, and derive its seeds."""

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.base.hardware import cpu_computes_bfloat16
from tonestack.base.workers import keep_freed_memory
from tonestack.settings.model_config import TrainingParams

import torch


def choose_device(name: str) -> torch.device:
    """Return the device called `name` and make a GPU the current one; `auto` is the first GPU, else the CPU."""
    if name == "cpu" or not torch.cuda.is_available():
        if name not in ("auto", "cpu"):
            print(f"device={name}: no GPU is available here; using the CPU")
        return torch.device("cpu")
    device = torch.device("cuda:0" if name in ("auto", "cuda") else name)
    if device.index >= torch.cuda.device_count():
        raise UserError(f"device={name}: there is cuda:0 to cuda:{torch.cuda.device_count() - 1}; or write device=cuda")
    torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True  # so that a resumed fold ends in the same tables
    return device


def records(device: torch.device, params: TrainingParams) -> bool:
    """True if steps are recorded as a CUDA graph, those of a compiled network, too."""
    return params.compile != "none" and device.type == "cuda"


def compiles(device: torch.device, params: TrainingParams) -> bool:
    """True if the network is compiled: on a GPU; compiled for a CPU, bfloat16 gradients are wrong, or not numbers."""
    return params.compile == "inductor" and device.type == "cuda"


def autocast(device: torch.device, params: TrainingParams) -> torch.autocast:
    """bfloat16 where it is asked for or where it pays (`auto`: a GPU, or a CPU with AVX512-BF16 or AMX)."""
    wanted = params.precision == "bfloat16" or (params.precision == "auto" and bfloat16_pays(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def bfloat16_pays(device: torch.device) -> bool:
    """True if the device computes bfloat16 products in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_computes_bfloat16()


def set_up_process(threads: int) -> None:
    """Set up a training process: its number of threads, and a malloc that keeps freed memory."""
    torch.set_num_threads(threads)
    keep_freed_memory()


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any names and numbers."""
    return int(fingerprint(list(parts)), 16) >> 1
