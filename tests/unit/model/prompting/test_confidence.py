"""How sure the model was of each sentence, by tokens of any tokenizer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prompting.confidence import Sentence, sentence_confidences

TEXT = "Findings: Lungs clear. No effusion. Impression: Normal."
SENTENCE_PIECE = (
    *("▁Finding", "s", ":", "▁Lungs", "▁clear", ".", "▁No", "▁", "e", "ffusion", "."),
    *("▁Impression", ":", "▁Normal", "."),
)
BYTE_LEVEL = tuple(token.replace("▁", "Ġ") for token in SENTENCE_PIECE)
WORD_PIECE = (
    *("Finding", "##s", ":", "Lungs", "clear", ".", "No", "[unused1]", "e", "##ffusion", "."),
    *("Impression", ":", "Normal", "."),
)
PROBABILITIES = [0.9, 0.1, 0.1, 0.8, 0.4, 1.0, 0.5, 0.25, 1.0, 1.0, 0.5, 0.1, 0.1, 0.9, 0.9]
LOGS = [math.log(p) for p in PROBABILITIES]


@pytest.mark.parametrize("tokens", [SENTENCE_PIECE, BYTE_LEVEL, WORD_PIECE])
def test_the_geometric_mean_and_the_least_of_each_sentence(tokens: tuple[str, ...]) -> None:
    assert sentence_confidences(TEXT, tokens, LOGS) == (
        Sentence("findings", "Lungs clear.", round((0.8 * 0.4) ** (1 / 3), 4), 0.4),
        Sentence("findings", "No effusion.", round((0.5 * 0.25 * 0.5) ** (1 / 5), 4), 0.25),
        Sentence("impression", "Normal.", 0.9, 0.9),
    )


def test_tokens_that_do_not_spell_the_text_give_no_confidence() -> None:
    assert sentence_confidences(TEXT, SENTENCE_PIECE[:-1], LOGS[:-1]) == ()
    assert sentence_confidences(TEXT, SENTENCE_PIECE, LOGS[:-1]) == ()
    assert sentence_confidences(TEXT, ["▁Other", *SENTENCE_PIECE[1:]], LOGS) == ()
    assert sentence_confidences(TEXT, (), ()) == ()
    # Bytes of a letter beyond ASCII are not put together again.
    assert sentence_confidences("Café.", ["ĠCaf", "Ã©", "."], [-0.1] * 3) == ()


def test_a_value_that_is_no_number_is_no_confidence() -> None:
    logs = [*LOGS]
    logs[7] = math.nan
    logs[13] = -math.inf
    sentences = sentence_confidences(TEXT, SENTENCE_PIECE, logs)
    assert [(s.text, s.confidence, s.least) for s in sentences[1:]] == [("Normal.", 0.0, 0.0)]
    assert sentence_confidences("A.", ["A", "."], [1e-7, 1e-7])[0].confidence == 1.0


TOKEN_TEXTS = st.lists(st.text("abcxyz.,:1()", min_size=1, max_size=6), max_size=30)


@given(TOKEN_TEXTS, st.data())
def test_any_cutting_of_words_into_pieces_is_read(
    token_texts: list[str], data: st.DataObject
) -> None:
    mark = data.draw(st.sampled_from(["▁", "Ġ"]))
    tokens: list[str] = []
    for token_text in token_texts:
        at = data.draw(st.integers(0, len(token_text)))
        tokens += [mark + token_text[:at], *([token_text[at:]] if token_text[at:] else [])]
    logs = data.draw(
        st.lists(st.floats(-20, 0), min_size=len(tokens), max_size=len(tokens)).map(tuple)
    )
    sentences = sentence_confidences(" ".join(token_texts), tokens, logs)
    assert " ".join(sentence.text for sentence in sentences).split() == token_texts
    for sentence in sentences:
        assert 0 <= sentence.least <= sentence.confidence <= 1
