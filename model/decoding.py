"""What shapes a text besides case and weights, and how a bundle is served. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

MOST_BEAMS = 5


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen, by the names and meanings of transformers' `generate`.

    max_new_tokens: of a draft, the end of text among them. beams: 1 is greedy, 5 the most.
    length_penalty: exponent of the length by which a beam's score is divided. no_repeat_ngram: no
    n tokens in a row come twice; 0 lets them. ban_eos: never end before the limit, for benches,
    whose random weights know no end.
    """

    max_new_tokens: int = 150
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    ban_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError("a draft has at least one new token")
        if not 1 <= self.beams <= MOST_BEAMS:
            raise ValueError(f"beams are 1 to {MOST_BEAMS}, not {self.beams}")
        if self.no_repeat_ngram < 0:
            raise ValueError("no_repeat_ngram is 0 or more")

    def for_generate(self) -> dict[str, object]:
        """The same as keyword arguments of transformers' `generate`."""
        said: dict[str, object] = {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.beams,
            "do_sample": False,
            "length_penalty": self.length_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram,
        }
        if self.ban_eos:
            said["min_new_tokens"] = self.max_new_tokens
        return said


@dataclass(frozen=True, slots=True)
class Serving:
    """How a bundle is served on its device.

    slots: studies written at once; 0 chooses by the memory that is free. dtype: "auto" (float16 on
    a GPU, float32 on a CPU), "float16", "bfloat16", "float32". int8: rounded weights, on a CPU.
    beams: 1 is greedy. compiled: try torch.compile for what reads, on a GPU.
    """

    slots: int = 0
    dtype: str = "auto"
    int8: bool = False
    beams: int = 1
    compiled: bool = False
