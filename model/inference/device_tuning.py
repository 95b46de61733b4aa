"""Adapts a network to its device: the number format, and the layers that it computes fastest."""

from __future__ import annotations

import torch

from model.errors import DeviceError
from model.inference.decoder import HALF_DTYPES
from model.inference.int8 import quantize_linears
from model.inference.packed import can_pack, pack_linears
from model.network.clinicalblip import ClinicalBLIP


def tune_for_device(model: ClinicalBLIP, device: torch.device, *, int8: bool = False) -> None:
    """Change the model's layers in place into those that the device computes fastest.

    The model can then only be served, not trained or saved.

    Args:
        model: A model that lies on the device.
        device: Where it is served.
        int8: Quantize the weights to eight bits; on a CPU only.

    Raises:
        DeviceError: `int8` was requested, and the device is not a CPU.
    """
    if int8:
        if device.type != "cpu":
            raise DeviceError("rounded weights (int8) are for a CPU: leave them out on a GPU")
        quantize_linears(model.network)
    elif can_pack(model.network):
        pack_linears(model.network)
    if device.type == "cuda" and model.dtype in HALF_DTYPES:
        # T5's `wo` is float32 for its range, not for its precision. Tensor cores compute it in
        # TF32, which has ten bits of mantissa like float16 and is, by NVIDIA's figures, several
        # times as fast as float32.
        torch.set_float32_matmul_precision("high")


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format that a setting names.

    Args:
        name: "auto" (float16 on a GPU, float32 on a CPU), "float16", "bfloat16" or "float32".
        device: Where the network is served.

    Raises:
        DeviceError: The device does not support the format.
    """
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bfloat16: set float16")
    dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    return dtypes[name]
