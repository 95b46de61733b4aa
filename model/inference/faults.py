"""Tells whose fault an error is: the memory's, the device's, or the case's own. Knows no engine."""

from __future__ import annotations

import torch

from model.errors import CaseError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out."""
    # The CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def is_device_fault(error: BaseException) -> bool:
    """Faults of driver or hardware; torch raises some of them as RuntimeError with a known text."""
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError)
        and any(sign in str(error) for sign in ("CUDA error", "cuDNN error", "CUBLAS_STATUS"))
    )


def as_case_error(error: Exception) -> CaseError:
    """The error as the case's own; of a foreign error the type alone, its words may quote it."""
    if isinstance(error, CaseError):
        return error
    failed = CaseError(f"the network failed on this case ({type(error).__name__})")
    failed.__cause__ = error
    return failed
