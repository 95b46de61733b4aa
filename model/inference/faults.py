"""Tells the causes of an error apart: lack of memory, a failed device, or the case itself."""

from __future__ import annotations

import torch

from model.errors import CaseError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out."""
    # The CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def is_device_fault(error: BaseException) -> bool:
    """Whether the driver or the hardware failed.

    torch raises some of these faults as a RuntimeError, distinguished only by its text.
    """
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError)
        and any(sign in str(error) for sign in ("CUDA error", "cuDNN error", "CUBLAS_STATUS"))
    )


def as_case_error(error: Exception) -> CaseError:
    """The error as a CaseError.

    Of an error that is not our own only the type is kept, because its text may quote the case.
    """
    if isinstance(error, CaseError):
        return error
    failed = CaseError(f"the network failed on this case ({type(error).__name__})")
    failed.__cause__ = error
    return failed
