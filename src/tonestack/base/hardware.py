"""What the machine computes fast."""

from functools import cache


@cache
def computes_bfloat16(device: str) -> bool:
    """True if `device` (auto, cpu, cuda or cuda:N) is a GPU, or a CPU that multiplies bfloat16 in hardware."""
    import torch  # seconds to import: only verbs that ask pay for it

    return (device != "cpu" and torch.cuda.is_available()) or cpu_computes_bfloat16()


def cpu_computes_bfloat16() -> bool:
    """True if the CPU multiplies bfloat16 in hardware: AVX512-BF16 or AMX."""
    import torch

    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)
