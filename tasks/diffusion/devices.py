"""What a device is called and how it multiplies; apart from the models, so that a registration need not import diffusers."""

import torch


def pick_device(device: str) -> str:
    """Resolve `auto` to cuda where there is one, else mps, else cpu; on a GPU, every float32 matrix product uses TF32 from here on.

    cuda is also the name of AMD's GPUs in PyTorch for ROCm, and mps that of Apple's.

    Raises:
        ValueError: the machine has no such device.
    """
    gpus, apple = torch.cuda.device_count(), torch.backends.mps.is_available()
    devices = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus)), *(["mps"] if apple else [])]
    resolved = ("cuda" if gpus else devices[-1]) if device == "auto" else device
    if resolved not in devices:
        raise ValueError(f"runtime.device is {device}, but this machine has {', '.join(devices)}; take one of these or auto")
    if resolved != "cpu":
        torch.set_float32_matmul_precision("high")
    return resolved


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 without emulating it. Apple's GPUs are no faster in it than in float32."""
    if device.type == "mps":
        return False
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
