"""Splitting long texts: nothing is lost, passages fit, and they end where a reader would end them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vssnative.embedding import Chunking, HashEmbedder, embed_passages, split_text
from vssnative.embedding.chunking import WordSpans, default_chunking
from vssnative.errors import ConfigurationError, EmbeddingError

WORDS = WordSpans()


class CharacterSpans:
    """Every character but white space is a token, as Chinese is to most tokenizers."""

    def offsets(self, text: str) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        places = [(i, i + 1) for i, character in enumerate(text) if not character.isspace()]
        return np.array(places, dtype=np.int64).reshape(-1, 2)


@pytest.mark.parametrize("text", ["", "  \n ", "short", " padded text "])
def test_a_text_that_fits_is_one_passage(text: str) -> None:
    (passage,) = split_text(text, Chunking(5, 2), WORDS)
    assert passage.text == text.strip()
    assert text[passage.start : passage.end] == passage.text


def test_passages_end_at_sentences_and_repeat_whole_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    passages = split_text(text, Chunking(8, 3), WORDS)
    assert [passage.text for passage in passages] == [
        "One two three. Four five six.",
        "Four five six. Seven eight nine.",
        "Seven eight nine. Ten eleven twelve.",
    ]


def test_without_overlap_nothing_is_repeated() -> None:
    text = "One two three. Four five six. Seven eight nine."
    passages = split_text(text, Chunking(4, 0), WORDS)
    assert [passage.text for passage in passages] == ["One two three.", "Four five six.", "Seven eight nine."]


def test_a_sentence_that_does_not_fit_is_cut_between_words() -> None:
    text = " ".join(f"w{i}" for i in range(10))
    passages = split_text(text, Chunking(4, 1), WORDS)
    assert [passage.text for passage in passages] == ["w0 w1 w2 w3", "w3 w4 w5 w6", "w6 w7 w8 w9"]


def test_a_word_that_does_not_fit_is_cut_between_tokens() -> None:
    passages = split_text("x" * 10, Chunking(4, 0), CharacterSpans())
    assert [passage.text for passage in passages] == ["xxxx", "xxxx", "xx"]


def test_sentences_of_other_scripts_end_too() -> None:
    text = "向量搜索。数据库很快！你好吗？再见。"
    passages = split_text(text, Chunking(8, 0), CharacterSpans())
    assert [passage.text for passage in passages] == ["向量搜索。", "数据库很快！", "你好吗？再见。"]


def test_a_full_stop_inside_a_number_ends_nothing() -> None:
    text = "It costs 3.50 now and then 4.75 again. Then more words follow here"
    assert split_text(text, Chunking(9, 0), WORDS)[0].text == "It costs 3.50 now and then 4.75 again."


@given(
    st.text(alphabet="ab .!?。\n\t,é字", max_size=300),
    st.integers(1, 12),
    st.integers(0, 6),
    st.sampled_from([WordSpans(), CharacterSpans()]),
)
def test_every_token_is_in_a_passage_and_every_passage_fits(
    text: str, tokens: int, overlap: int, spans: WordSpans | CharacterSpans
) -> None:
    chunking = Chunking(tokens, min(overlap, tokens // 2))
    passages = split_text(text, chunking, spans)
    covered = np.zeros(len(text), dtype=bool)
    for passage in passages:
        assert text[passage.start : passage.end] == passage.text
        assert len(spans.offsets(passage.text)) == passage.tokens <= chunking.tokens
        covered[passage.start : passage.end] = True
    for start, end in spans.offsets(text):
        assert covered[start:end].all()
    starts = [passage.start for passage in passages]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(("tokens", "overlap"), [(0, 0), (4, -1), (4, 3), (-1, 0)])
def test_rules_that_make_no_sense(tokens: int, overlap: int) -> None:
    with pytest.raises(ConfigurationError, match="expected tokens >= 1"):
        Chunking(tokens, overlap)


def test_a_text_that_is_none() -> None:
    with pytest.raises(EmbeddingError, match="must be a string"):
        split_text(None, Chunking(), WORDS)  # type: ignore[arg-type]


def test_passages_know_their_text() -> None:
    embedder = HashEmbedder(16)
    texts = ["short", "One two three. Four five six.", ""]
    result = embed_passages(texts, embedder, Chunking(3, 0))
    np.testing.assert_array_equal(result.owners, [0, 1, 1, 2])
    assert [passage.text for passage in result.passages] == ["short", "One two three.", "Four five six.", ""]
    np.testing.assert_array_equal(
        result.vectors, embedder.embed_documents([passage.text for passage in result.passages])
    )


def test_the_default_fits_the_model() -> None:
    class Short(HashEmbedder):
        @property
        def max_tokens(self) -> int:  # type: ignore[override]
            return 32

    assert default_chunking(HashEmbedder()) == Chunking(200, 40)
    assert default_chunking(Short()) == Chunking(30, 6)
