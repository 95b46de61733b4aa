"""The settings that shape a text besides case and weights, and how a bundle is served."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BEAMS = 5


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen, with the meanings of transformers' `generate`.

    Attributes:
        max_new_tokens: Most tokens of a draft, the end of text included.
        beams: 1 is greedy decoding; 5 is the most.
        length_penalty: Exponent of the length by which a beam's score is divided.
        no_repeat_ngram: No n tokens in a row come twice; 0 allows it.
        ban_eos: Never end before the limit; for measuring random weights, which never end a text.
    """

    max_new_tokens: int = 150
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    ban_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError("a draft has at least one new token")
        if not 1 <= self.beams <= MAX_BEAMS:
            raise ValueError(f"beams are 1 to {MAX_BEAMS}, not {self.beams}")
        if self.no_repeat_ngram < 0:
            raise ValueError("no_repeat_ngram is 0 or more")

    def for_generate(self) -> dict[str, object]:
        """The settings as keyword arguments of transformers' `generate`."""
        arguments: dict[str, object] = {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.beams,
            "do_sample": False,
            "length_penalty": self.length_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram,
        }
        if self.ban_eos:
            arguments["min_new_tokens"] = self.max_new_tokens
        return arguments


@dataclass(frozen=True, slots=True)
class Serving:
    """How a bundle is served on its device.

    Attributes:
        slots: Studies written at once; 0 chooses by the memory that is free.
        dtype: "auto" (float16 on a GPU, float32 on a CPU), "float16", "bfloat16" or "float32".
        int8: Quantize the weights to eight bits; on a CPU only.
        beams: 1 is greedy decoding.
        compiled: Compile the encoders with torch.compile where that is faster; on a GPU only.
    """

    slots: int = 0
    dtype: str = "auto"
    int8: bool = False
    beams: int = 1
    compiled: bool = False
