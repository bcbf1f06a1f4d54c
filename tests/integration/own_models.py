"""Models that the tests name by import path."""

from __future__ import annotations

from vssnative.embedding import HashEmbedder

_HASH = HashEmbedder(24)


def plain(texts):  # type: ignore[no-untyped-def]
    return _HASH.embed_documents(texts).tolist()


def with_kind(texts, *, kind="document"):  # type: ignore[no-untyped-def]
    return _HASH.embed_documents([f"{kind}: {text}" if kind == "query" else text for text in texts])


class LangChainLike:
    model_name = "chain"

    def embed_documents(self, texts):  # type: ignore[no-untyped-def]
        return plain(texts)

    def embed_query(self, text):  # type: ignore[no-untyped-def]
        return plain([text])[0]


class SentenceTransformerLike:
    def encode(self, texts):  # type: ignore[no-untyped-def]
        return _HASH.embed_documents(texts)

    def get_sentence_embedding_dimension(self):  # type: ignore[no-untyped-def]
        return 24


class FastEmbedLike:
    def embed(self, texts):  # type: ignore[no-untyped-def]
        yield from _HASH.embed_documents(texts)

    query_embed = embed


class LlmLike:
    model_id = "llm-model"

    def embed_multi(self, texts):  # type: ignore[no-untyped-def]
        return iter(plain(list(texts)))


chain = LangChainLike()
