"""Cross-encoders: how well a text answers a query, by a model that reads both at once.

More exact than comparing two vectors, and much slower, so it orders the few texts that a search has found. The layers are
those of the core's BERT encoder; behind them a pooler (tanh of the first token's vector) and a classifier, as transformers'
``BertForSequenceClassification`` has them. Scores are those of sentence-transformers' ``CrossEncoder``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._extras import need
from ..errors import ConfigurationError, EmbeddingError, ModelNotFoundError
from ._texts import checked_texts
from .batching import packed_batches
from .bert_weights import BertWeights
from .layout import read_json
from .native_encoder import encoder_arrays
from .precision import checked_precision, default_precision
from .protocol import Float32Matrix
from .threads import default_threads

_SIGMOID = "torch.nn.modules.activation.Sigmoid"
_IDENTITY = "torch.nn.modules.linear.Identity"
_BATCH_TOKENS = 192


class Reranker:
    """A BERT cross-encoder. Safe to call from several threads.

    Args:
        model: a directory with ``config.json``, ``tokenizer.json`` and ``model.safetensors``, or ``"hf:owner/name"``, with or
            without ``"@revision"``, for example ``"hf:cross-encoder/ms-marco-MiniLM-L6-v2"``.
        max_tokens: cut pairs at fewer tokens than the model allows, from the longer text first.
        raw: scores before the activation that the model's files name (sigmoid for one label).
        threads: batches computed at once; by default ``default_threads()``.
        precision: as for local embedders.

    Raises:
        ModelNotFoundError: if a file of the model is missing.
        ConfigurationError: if it is no BERT cross-encoder of sizes that the core takes.
        MissingDependencyError: if tokenizers or safetensors is not installed.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        max_tokens: int | None = None,
        raw: bool = False,
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        directory = _directory(model)
        config = read_json(directory / "config.json")
        weights = BertWeights(directory)
        hidden = weights.hidden
        # Copies, as the weights are the file's bytes (tensors.py).
        self._pooler = (
            np.array(weights.take("pooler.dense.weight", hidden, hidden)),
            np.array(weights.take("pooler.dense.bias", hidden)),
        )
        self._classifier = (
            np.array(weights.take("classifier.weight", None, hidden)),
            np.array(weights.take("classifier.bias", None)),
        )
        if len(self._classifier[0]) != len(self._classifier[1]):
            raise ConfigurationError(f"{directory}: the classifier's weight and bias have different sizes")
        self._sigmoid = not raw and _activation(directory, config, len(self._classifier[1]))
        limit = _limit(directory, config)
        if max_tokens is not None and not 4 <= max_tokens <= limit:
            raise ConfigurationError(f"max_tokens must be from 4 to the model's {limit}, not {max_tokens}")
        self._tokenizer = _pair_tokenizer(directory, max_tokens or limit)
        self._typed = _takes_types(directory)
        self._threads = default_threads() if threads is None else threads
        if self._threads < 1:
            raise ConfigurationError(f"threads must be at least 1, not {threads}")
        precision = default_precision() if precision is None else checked_precision(precision)
        level = _core.fastest_level(precision)
        try:
            self._encoder = _core.BertEncoder(
                encoder_arrays(weights), weights.heads, weights.epsilon, level, precision
            )
        except ValueError as error:
            raise ConfigurationError(f"{directory}: the core cannot run this model: {error}") from None

    @property
    def labels(self) -> int:
        """Scores of each pair."""
        return len(self._classifier[1])

    def score(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """How well each text answers the query: float32 ``(n,)``, greater is better.

        Raises:
            ConfigurationError: if the model has several labels; ``score_pairs`` returns them all.
            EmbeddingError: if a text is no string or the model gives a value that is no finite number.
        """
        if self.labels != 1:
            raise ConfigurationError(
                f"the model has {self.labels} labels for a pair, not one score: score_pairs"
            )
        return self.score_pairs([(query, text) for text in texts])[:, 0]

    def rank(self, query: str, texts: Sequence[str], k: int | None = None) -> list[tuple[int, float]]:
        """Positions of the texts and their scores, best first, equal ones as given; the first ``k``."""
        scores = self.score(query, texts)
        order = np.argsort(-scores, kind="stable")[:k]
        return [(int(position), float(scores[position])) for position in order]

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Matrix:
        """The model's scores for pairs of texts: float32 ``(n, labels)``.

        Raises:
            EmbeddingError: as for ``score``.
        """
        left, right = (checked_texts([pair[side] for pair in pairs]) for side in (0, 1))
        places: dict[tuple[str, str], int] = {}
        rows = [places.setdefault(pair, len(places)) for pair in zip(left, right, strict=True)]
        # Each pair once: what stands beside it in a batch decides its last bits, and equal pairs are to be equal.
        return self._scores(list(places))[rows]

    def _scores(self, pairs: list[tuple[str, str]]) -> Float32Matrix:
        out = np.empty((len(pairs), self.labels), dtype=np.float32)
        if not pairs:
            return out
        encodings = self._tokenizer.encode_batch(pairs)
        lengths = np.fromiter(
            (len(encoding.ids) for encoding in encodings), dtype=np.int64, count=len(encodings)
        )

        def run(rows: npt.NDArray[np.int64]) -> None:
            out[rows] = self._batch([encodings[row] for row in rows], lengths[rows], together)

        batches = list(packed_batches(lengths, _BATCH_TOKENS, self._threads))
        together = self._threads if len(batches) == 1 else 1
        if self._threads == 1 or len(batches) == 1:
            for rows in batches:
                run(rows)
        else:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="vssnative-rerank") as pool:
                list(pool.map(run, batches))
        if not np.isfinite(out).all():
            raise EmbeddingError("the model gave a score that is no finite number")
        return out

    def _batch(self, encodings: list[Any], lengths: npt.NDArray[np.int64], threads: int) -> Float32Matrix:
        def flat(lists: Iterator[list[int]]) -> npt.NDArray[np.int32]:
            return np.fromiter(itertools.chain.from_iterable(lists), dtype=np.int32, count=int(lengths.sum()))

        ids = flat(encoding.ids for encoding in encodings)
        types = flat(encoding.type_ids for encoding in encodings) if self._typed else None
        try:
            hidden = self._encoder.encode(ids, lengths, types, threads)
        except (ValueError, IndexError) as error:
            raise EmbeddingError(f"the tokenizer gave what the model does not take: {error}") from None
        first = hidden[np.concatenate([[0], np.cumsum(lengths)[:-1]])]
        pooled = np.tanh(first @ self._pooler[0].T + self._pooler[1])
        scores: Float32Matrix = pooled @ self._classifier[0].T + self._classifier[1]
        if self._sigmoid:
            scores = (np.float32(1) / (np.float32(1) + np.exp(-np.clip(scores, -80, 80)))).astype(np.float32)
        return scores


def _directory(model: Path | str) -> Path:
    if isinstance(model, str) and model.startswith("hf:"):
        from .hub import fetch

        repository, _, revision = model.removeprefix("hf:").partition("@")
        return fetch(repository, revision=revision or None, weights="safetensors")
    directory = Path(model)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if not (directory / name).is_file():
            raise ModelNotFoundError(f"{directory}: expected {name} of a cross-encoder")
    return directory


def _activation(directory: Path, config: dict[str, Any], labels: int) -> bool:
    """Whether scores go through a sigmoid, as sentence-transformers reads it from the config."""
    section = config.get("sentence_transformers")
    named = section.get("activation_fn") if isinstance(section, dict) else None
    if named is None:
        named = config.get("sbert_ce_default_activation_function")
    if named is None:
        return labels == 1
    if named not in (_SIGMOID, _IDENTITY):
        raise ConfigurationError(
            f"{directory}: activation {named!r} is not known; expected sigmoid or identity"
        )
    return bool(named == _SIGMOID)


def _limit(directory: Path, config: dict[str, Any]) -> int:
    limits = [config.get("max_position_embeddings")]
    path = directory / "tokenizer_config.json"
    if path.is_file():
        limits.append(read_json(path).get("model_max_length"))
    found = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if not found:
        raise ConfigurationError(
            f"{directory / 'config.json'}: max_position_embeddings must be a positive integer"
        )
    return min(found)


def _takes_types(directory: Path) -> bool:
    """Whether tokens of the second text have a type of their own, as a tokenizer of transformers would say."""
    path = directory / "tokenizer_config.json"
    names = read_json(path).get("model_input_names") if path.is_file() else None
    return not isinstance(names, list) or "token_type_ids" in names


def _pair_tokenizer(directory: Path, max_tokens: int) -> Any:
    need("tokenizers", "local", "models on this machine")
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise ConfigurationError(f"{path}: no usable tokenizer: {error}") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, strategy="longest_first")
    return tokenizer
