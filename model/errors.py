"""The errors of the model floor, in one tree.

    ModelError
    ├── BundleError       the bundle on disk is missing, damaged or not for this software
    │   └── TemplateError its prompt template is not one that can be filled here
    ├── PixelError        this file's pixels cannot be read
    │   ├── HeaderLimit   the header claims an impossible size; nothing was allocated
    │   ├── NoPixels      a header without an image; nothing is damaged
    │   ├── EmptyImage    the pixels can be read and show nothing
    │   └── DecodingLimit decoding takes more memory or time than an image may
    ├── DecoderUnavailable  images cannot be decoded now; none is to blame
    ├── CaseError         this case cannot be drafted, whatever the device
    └── DeviceError       the device failed; the case is not to blame

The docstring of each says what a person can do about it.
"""

from __future__ import annotations

from typing import ClassVar


class ModelError(Exception):
    """Something on the model floor failed."""

    safe_to_show: ClassVar[bool] = True
    """The message is written by us and names no patient, so it may be logged and shown."""


class BundleError(ModelError):
    """The bundle cannot be used. Check the path in NIGHTDRAFT_BUNDLE, or copy the bundle again."""


class TemplateError(BundleError):
    """This prompt template cannot be used here. Ask for one that the message names."""


class PixelError(ModelError):
    """This file's pixels cannot be read. Ask the sender for the image again."""


class HeaderLimit(PixelError):
    """The header claims an impossible size. The file is damaged, or it is no radiograph."""


class NoPixels(PixelError):
    """The file ends where its pixels should begin. Ask the sender why it sent a header alone."""


class EmptyImage(PixelError):
    """The image shows nothing, whatever window is taken. Ask the sender for the right image."""


class DecodingLimit(PixelError):
    """Decoding takes more than NIGHTDRAFT_DECODE_MEMORY_MB or NIGHTDRAFT_DECODE_SECONDS.

    The file is damaged or made to do harm. Raise the setting only where the film itself needs it.
    """


class DecoderUnavailable(ModelError):
    """Images cannot be decoded now. Look whether the machine is short of memory or overloaded."""


class CaseError(ModelError):
    """This case cannot be drafted. Read the study's timeline; the same input fails again."""


class DeviceError(ModelError):
    """The device failed (memory, driver). The case is drafted again once the device works."""
