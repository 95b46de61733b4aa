"""The processes and devices of a training: one CPU, one GPU, or several GPUs under torchrun."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin

from model.bundling.store import choose_device
from records.errors import NotAllowed, SettingsError
from training.finetuning.config import Precision

PROCESS_TIMEOUT = timedelta(hours=24)
"""How long processes wait for the first one, which prepares the images of a whole corpus."""
MIXED_PRECISION: dict[Precision, str] = {"float16": "fp16", "bfloat16": "bf16", "float32": "no"}
"""Our names of the number formats -> accelerate's."""


def process_state(device: str | None) -> PartialState:
    """This process among those of the training, and its device.

    Args:
        device: None takes a GPU where there is one.

    Raises:
        DeviceError: There is no device of that name here.
        SettingsError: One GPU is named, and there are several processes.
    """
    if device is not None and (chosen := choose_device(device)).index is not None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise SettingsError(
                f"NIGHTDRAFT_DEVICE (--device) is {device}, and several processes were started, "
                "each with a GPU of its own: leave it out"
            )
        torch.cuda.set_device(chosen)
    return PartialState(cpu=device == "cpu", timeout=PROCESS_TIMEOUT)


def make_accelerator(device: str | None, precision: Precision, accumulation: int) -> Accelerator:
    """What spreads a run over its processes, and does its mixed precision and accumulation.

    Args:
        device: As in `process_state`.
        precision: Number format of autocast; float16 comes with a loss scaler.
        accumulation: Micro-batches in a step.

    Raises:
        DeviceError, SettingsError: As `process_state`.
    """
    process_state(device)
    # accelerate has one precision for the whole process, but an ablation trains its base in float32
    # and its rows in float16. transformers' Trainer resets accelerate in the same way.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision=MIXED_PRECISION[precision],
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation),
        # The Q-Former's last layer computes text that nothing reads: it gets no gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if precision == "float16" and accelerator.device.type == "cpu":
        # accelerate would train in float32 here and not say so.
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu")
    return accelerator


def require_single_process(device: str | None, activity: str) -> None:
    """Check that this is the only process, and that its device exists.

    Raises:
        NotAllowed: Several processes were started.
        DeviceError: As `process_state`.
    """
    if process_state(device).num_processes > 1:
        raise NotAllowed(f"{activity} runs in one process: start it without torchrun")
