"""What suits a device: number format, and layers that it computes fastest. Knows no slots."""

from __future__ import annotations

import torch

from model.errors import DeviceError
from model.inference.decoder import HALVES
from model.inference.int8 import round_linears
from model.inference.packed import can_pack, pack_linears
from model.network.clinicalblip import ClinicalBLIP


def make_fit(model: ClinicalBLIP, device: torch.device, *, int8: bool = False) -> None:
    """Change the model's layers into what this device computes fastest; only to be served.

    Raises:
        DeviceError: rounded weights were asked for, and the device is not a CPU.
    """
    if int8:
        if device.type != "cpu":
            raise DeviceError("rounded weights (int8) are for a CPU: leave them out on a GPU")
        round_linears(model.network)
    elif can_pack(model.network):
        pack_linears(model.network)
    if device.type == "cuda" and model.dtype in HALVES:
        # T5's `wo` is float32 for its range and not for its digits: tensor cores take it as TF32,
        # of ten bits like float16, several times as fast as whole by their maker's figures.
        torch.set_float32_matmul_precision("high")


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """The number format by its setting's name.

    Raises:
        DeviceError: the device has no such numbers, or is far too slow with them.
    """
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bfloat16: set float16")
    named = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    return named[name]
