"""The core's BERT encoder against the same formulas written with numpy in double precision, at every kernel level."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vssnative import _core

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

VOCABULARY, POSITIONS, EPSILON = 50, 420, 1e-12
LEVELS = _core.encoder_levels()
# Models of instructions. The first two run everywhere; the others stand beside the other kernels of AVX-512.
MODELS = _core.encoder_models()[:2]
# What sums products of bfloat16 values: models of the instructions, and the instructions where they are.
HALVES = [*MODELS, *(level for level in LEVELS if level in ("avx512bf16", "amx"))]


def make_arrays(hidden: int, inner: int, layers: int) -> list[Floats]:
    random = np.random.default_rng(hidden + inner + layers)

    def some(*shape: int, scale: float = 1.0, around: float = 0.0) -> Floats:
        return (around + scale * random.standard_normal(shape)).astype(np.float32)

    def norm() -> list[Floats]:
        return [some(hidden, scale=0.1, around=1), some(hidden, scale=0.1)]

    def linear(outputs: int, inputs: int) -> list[Floats]:
        return [some(outputs, inputs, scale=2 / math.sqrt(inputs)), some(outputs, scale=0.1)]

    arrays = [
        some(VOCABULARY, hidden),
        some(POSITIONS, hidden, scale=0.2),
        some(2, hidden, scale=0.2),
        *norm(),
    ]
    for _ in range(layers):
        for _ in range(4):
            arrays += linear(hidden, hidden)
        arrays += [*norm(), *linear(inner, hidden), *linear(hidden, inner), *norm()]
    return arrays


def by_definition(arrays: list[Floats], heads: int, ids: npt.NDArray[np.int32]) -> Doubles:
    """Token vectors of one text."""
    words, positions, types, *rest = (array.astype(np.float64) for array in arrays)
    left = iter(rest)

    def norm(values: Doubles) -> Doubles:
        gamma, beta = next(left), next(left)
        off = values - values.mean(axis=1, keepdims=True)
        scaled: Doubles = off / np.sqrt((off**2).mean(axis=1, keepdims=True) + EPSILON) * gamma + beta
        return scaled

    def linear(values: Doubles) -> Doubles:
        weight, bias = next(left), next(left)
        product: Doubles = values @ weight.T + bias
        return product

    state = norm(words[ids] + positions[: len(ids)] + types[0])
    size = state.shape[1] // heads
    for _ in range((len(arrays) - 5) // 16):
        query, key, value = linear(state), linear(state), linear(state)
        attended = np.empty_like(state)
        for start in range(0, state.shape[1], size):
            part = slice(start, start + size)
            scores = query[:, part] @ key[:, part].T / math.sqrt(size)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            attended[:, part] = weights / weights.sum(axis=1, keepdims=True) @ value[:, part]
        state = norm(linear(attended) + state)
        wide = linear(state)
        activated = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        state = norm(linear(activated) + state)
    return state


def make_form(hidden: int, heads: int, inner: int, layers: int, *, norms_first: bool) -> list[Floats]:
    """Weights of a gated encoder without a table of positions, of which the first normalization is missing."""
    arrays = make_arrays(hidden, inner, layers)
    random = np.random.default_rng(hidden)
    arrays[1] = arrays[1][:0]
    for layer in range(layers):
        place = 5 + 16 * layer + 10
        for array in (place, place + 1):
            more = random.standard_normal(arrays[array].shape).astype(np.float32)
            arrays[array] = np.concatenate([arrays[array], more * np.float32(1 / math.sqrt(hidden))])
    if norms_first:
        arrays[13] = arrays[14] = np.zeros(0, dtype=np.float32)
        arrays += [np.ones(hidden, dtype=np.float32), np.zeros(hidden, dtype=np.float32)]
    return arrays


def make_rotations(kinds: int, size: int) -> Floats:
    turned = np.outer(np.arange(POSITIONS), 1 / 100.0 ** (np.arange(0, size, 2) / size))
    both = np.concatenate([np.cos(turned), np.sin(turned)], axis=1)
    return np.stack([both, *(both[::-1] for _ in range(kinds - 1))]).astype(np.float32)


def form_by_definition(
    arrays: list[Floats],
    heads: int,
    ids: npt.NDArray[np.int32],
    gate: str,
    norms_first: bool,
    rotations: Floats,
    kinds: list[tuple[int, int]],
) -> Doubles:
    """Token vectors of one text, of an encoder with gates, rotations and windows."""
    words, _, types, *rest = (array.astype(np.float64) for array in arrays)

    def norm(values: Doubles, gamma: Doubles, beta: Doubles) -> Doubles:
        if not len(gamma):
            return values
        off = values - values.mean(axis=1, keepdims=True)
        scaled: Doubles = off / np.sqrt((off**2).mean(axis=1, keepdims=True) + EPSILON) * gamma + beta
        return scaled

    def linear(values: Doubles, weight: Doubles, bias: Doubles) -> Doubles:
        product: Doubles = values @ weight.T + bias
        return product

    state = norm(words[ids] + types[0], *rest[:2])
    places = np.arange(len(ids))
    size = state.shape[1] // heads
    for number, (rotation, window) in enumerate(kinds):
        own = rest[2 + 16 * number : 18 + 16 * number]
        attention_norm, wide, narrow, inner_norm = own[8:10], own[10:12], own[12:14], own[14:16]
        inputs = norm(state, *attention_norm) if norms_first else state
        query, key, value = (linear(inputs, *own[place : place + 2]) for place in (0, 2, 4))
        cosines, sines = np.split(rotations[rotation, : len(ids)].astype(np.float64), 2, axis=1)
        attended = np.empty_like(state)
        for start in range(0, state.shape[1], size):
            part = slice(start, start + size)
            turned = []
            for values in (query[:, part], key[:, part]):
                low, high = np.split(values, 2, axis=1)
                turned.append(np.hstack([low * cosines - high * sines, high * cosines + low * sines]))
            scores = turned[0] @ turned[1].T / math.sqrt(size)
            if window:
                scores[np.abs(places[:, None] - places) > window] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            attended[:, part] = weights / weights.sum(axis=1, keepdims=True) @ value[:, part]
        state = linear(attended, *own[6:8]) + state
        inputs = norm(state, *(inner_norm if norms_first else attention_norm))
        gates, factors = np.split(linear(inputs, *wide), 2, axis=1)
        if gate == "gelu":
            gates = gates * 0.5 * (1 + np.vectorize(math.erf)(gates / math.sqrt(2)))
        else:
            gates = gates / (1 + np.exp(-gates))
        state = linear(gates * factors, *narrow) + (state if norms_first else inputs)
        if not norms_first:
            state = norm(state, *inner_norm)
    return norm(state, *rest[-2:]) if norms_first else state


SIZES = [
    (32, 2, 64, 2),
    (96, 1, 16, 1),  # one head
    (48, 3, 400, 1),  # an inner layer that is no multiple of a block
    (400, 25, 800, 1),  # more inputs than a block
]
# Lengths around the widths of tiles, panels and blocks of rows, and the longest.
LENGTHS = np.array([1, 2, 7, 8, 9, 15, 16, 17, 5, 193, 31, POSITIONS], dtype=np.int64)


# The tiles' model with float32 values is the product of two parts each.
@pytest.mark.parametrize("level", [*LEVELS, "tiles model"])
@pytest.mark.parametrize(("hidden", "heads", "inner", "layers"), SIZES)
def test_token_vectors_are_those_of_the_formulas(
    level: str, hidden: int, heads: int, inner: int, layers: int
) -> None:
    arrays = make_arrays(hidden, inner, layers)
    encoder = _core.BertEncoder(arrays, heads, EPSILON, level)
    # Of two parts each, products lack 2^-16 of themselves.
    inexact = level in ("amx", "tiles model")
    ids = np.random.default_rng(4).integers(0, VOCABULARY, LENGTHS.sum()).astype(np.int32)
    vectors = encoder.encode(ids, LENGTHS)
    assert (vectors.shape, vectors.dtype) == ((len(ids), hidden), np.float32)
    start = 0
    for length in LENGTHS:
        text = slice(start, start + int(length))
        expected = by_definition(arrays, heads, ids[text])
        np.testing.assert_allclose(vectors[text], expected, atol=5e-4 if inexact else 1e-4)
        # Alone, a text has the vectors it has in company.
        alone = encoder.encode(ids[text], np.array([length], dtype=np.int64))
        np.testing.assert_allclose(alone, vectors[text], atol=1e-4 if inexact else 1e-5)
        start += int(length)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("level", [*LEVELS, *MODELS])
@pytest.mark.parametrize(("hidden", "heads", "inner", "layers"), SIZES)
def test_however_many_threads_compute_a_batch_its_vectors_are_the_same(
    level: str, precision: str, hidden: int, heads: int, inner: int, layers: int
) -> None:
    encoder = _core.BertEncoder(make_arrays(hidden, inner, layers), heads, EPSILON, level, precision)
    for lengths in ([1], [3], [40], [5, 200, 11]):
        ids = np.random.default_rng(4).integers(0, VOCABULARY, sum(lengths)).astype(np.int32)
        alone = encoder.encode(ids, np.array(lengths, dtype=np.int64))
        for threads in (2, 3, 100):
            together = encoder.encode(ids, np.array(lengths, dtype=np.int64), None, threads)
            np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("level", [*LEVELS, "tiles model"])
@pytest.mark.parametrize(("gate", "norms_first"), [("silu", False), ("gelu", True)])
def test_gated_layers_are_the_same_however_many_threads_compute_them(
    level: str, gate: str, norms_first: bool
) -> None:
    hidden, heads, inner = 96, 3, 400
    encoder = _core.BertEncoder(
        make_form(hidden, heads, inner, 2, norms_first=norms_first),
        heads,
        EPSILON,
        level,
        gate=gate,
        norms_first=norms_first,
        rotations=make_rotations(1, hidden // heads),
    )
    lengths = np.array([7, 250], dtype=np.int64)
    ids = np.random.default_rng(4).integers(0, VOCABULARY, lengths.sum()).astype(np.int32)
    alone = encoder.encode(ids, lengths)
    for threads in (2, 4):
        np.testing.assert_array_equal(encoder.encode(ids, lengths, None, threads), alone)


def test_threads_that_embed_at_once_share_the_cores() -> None:
    """Each call may take two threads, and gets them only where nobody else computes."""
    encoder = _core.BertEncoder(make_arrays(400, 800, 1), 25, EPSILON, LEVELS[-1])
    texts = [np.random.default_rng(n).integers(0, VOCABULARY, 5 + 17 * n).astype(np.int32) for n in range(8)]
    lengths = [np.array([len(text)], dtype=np.int64) for text in texts]
    alone = [encoder.encode(text, length) for text, length in zip(texts, lengths, strict=True)]

    def call(number: int) -> bool:
        n = number % len(texts)
        return np.array_equal(encoder.encode(texts[n], lengths[n], None, 2), alone[n])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(400)))


@pytest.mark.parametrize("level", [*LEVELS, "tiles model"])
@pytest.mark.parametrize(("gate", "norms_first"), [("silu", False), ("gelu", True)])
@pytest.mark.parametrize("window", [0, 1, 20, 250])
def test_gates_rotations_and_windows_are_those_of_the_formulas(
    level: str, gate: str, norms_first: bool, window: int
) -> None:
    hidden, heads, inner = 64, 2, 400
    arrays = make_form(hidden, heads, inner, 2, norms_first=norms_first)
    rotations = make_rotations(2, hidden // heads)
    kinds = [(0, 0), (1, window)]
    encoder = _core.BertEncoder(
        arrays, heads, EPSILON, level, gate=gate, norms_first=norms_first, rotations=rotations, layers=kinds
    )
    lengths = LENGTHS[LENGTHS != POSITIONS] if level == "tiles model" else LENGTHS  # the model is slow
    ids = np.random.default_rng(4).integers(0, VOCABULARY, lengths.sum()).astype(np.int32)
    vectors = encoder.encode(ids, lengths)
    start = 0
    for length in lengths:
        text = slice(start, start + int(length))
        expected = form_by_definition(arrays, heads, ids[text], gate, norms_first, rotations, kinds)
        # Weights at random make much of the 2^-16 by which a product of two parts is off.
        atol = 2e-3 if level in ("amx", "tiles model") else 1e-4
        np.testing.assert_allclose(vectors[text], expected, atol=atol)
        start += int(length)


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": "relu"},
        {"rotations": None},
        {"rotations": make_rotations(1, 32)[0]},
        {"rotations": make_rotations(1, 16)},
        {"rotations": make_rotations(1, 32)[:0]},
        {"rotations": make_rotations(1, 32)[:, :0]},
        {"layers": [(0, 0)]},
        {"layers": [(0, 0), (1, 0)]},
        {"layers": [(0, 0), (0, 1 << 30)]},
        {"norms_first": True},
        {"distances": np.zeros((2, 2 * POSITIONS - 1), dtype=np.float32)},
    ],
)
def test_forms_are_checked(changes: dict[str, Any]) -> None:
    arrays = make_form(64, 2, 48, 2, norms_first=False)
    form: dict[str, Any] = {
        "gate": "silu",
        "rotations": make_rotations(1, 32),
        "layers": [(0, 0), (0, 4)],
    }
    _core.BertEncoder(arrays, 2, EPSILON, "scalar", **form)
    with pytest.raises((ValueError, TypeError)):
        _core.BertEncoder(arrays, 2, EPSILON, "scalar", **(form | changes))


@pytest.mark.parametrize("level", HALVES)
@pytest.mark.parametrize(("hidden", "heads", "inner", "layers"), SIZES)
def test_bfloat16_products_are_those_of_rounded_values(
    level: str, hidden: int, heads: int, inner: int, layers: int
) -> None:
    arrays = make_arrays(hidden, inner, layers)
    lengths = LENGTHS[LENGTHS < 32] if hidden == 400 else LENGTHS  # the models are slow
    ids = np.random.default_rng(4).integers(0, VOCABULARY, lengths.sum()).astype(np.int32)
    exact = _core.BertEncoder(arrays, heads, EPSILON, "scalar").encode(ids, lengths)
    rounded = _core.BertEncoder(arrays, heads, EPSILON, level, "bfloat16").encode(ids, lengths)
    # Tiles multiply attention's values too.
    name = MODELS[1] if level in ("amx", "tiles model") else MODELS[0]
    model = _core.BertEncoder(arrays, heads, EPSILON, name, "bfloat16").encode(ids, lengths)
    # An instruction and its model differ by the order of sums, which seldom moves a value over a bound of rounding.
    assert np.abs(rounded - model).mean() < 1e-3
    off = np.abs(rounded - exact)
    assert off.max() < 0.3
    # It is really bfloat16: far from float32's own errors, near to what 8 bits give.
    assert 5e-4 < off.mean() < 2e-2


def test_levels_without_bfloat16_units_are_exact_with_either_precision() -> None:
    arrays = make_arrays(32, 64, 1)
    ids, lengths = np.arange(20, dtype=np.int32), np.array([20], dtype=np.int64)
    for level in LEVELS:
        if level not in HALVES:
            exact, asked = (
                _core.BertEncoder(arrays, 2, EPSILON, level, precision).encode(ids, lengths)
                for precision in ("float32", "bfloat16")
            )
            np.testing.assert_array_equal(exact, asked)
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16, not int8"):
        _core.BertEncoder(arrays, 2, EPSILON, "scalar", "int8")


def test_a_level_can_be_pinned() -> None:
    code = "from vssnative import _core; print(*_core.encoder_levels())"
    for number, level in enumerate(LEVELS):
        child = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "VSSNATIVE_SIMD": level},
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout.split() == LEVELS[: number + 1]


@pytest.mark.parametrize("level", LEVELS)
def test_no_texts_no_vectors(level: str) -> None:
    encoder = _core.BertEncoder(make_arrays(16, 16, 1), 1, EPSILON, level)
    assert encoder.encode(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)).shape == (0, 16)


@pytest.mark.parametrize(
    ("level", "precision"),
    [*((level, "float32") for level in [*LEVELS, "tiles model"]), *((level, "bfloat16") for level in HALVES)],
)
@pytest.mark.parametrize("place", range(21))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_seen_in_the_result(
    level: str, precision: str, place: int, bad: float
) -> None:
    arrays = make_arrays(32, 32, 1)
    arrays[place].flat[0] = bad
    encoder = _core.BertEncoder(arrays, 2, EPSILON, level, precision)
    vectors = encoder.encode(np.zeros(20, dtype=np.int32), np.array([20], dtype=np.int64))
    assert not np.isfinite(vectors).all()


@pytest.mark.parametrize("level", LEVELS)
def test_large_values_have_the_limits_of_the_functions(level: str) -> None:
    # Scores of hundreds and inputs of GELU of hundreds: exp and erf are at their ends there.
    arrays = make_arrays(32, 32, 1)
    for place in (5, 7, 15):
        arrays[place] *= 60
    encoder = _core.BertEncoder(arrays, 2, EPSILON, level)
    ids = np.arange(20, dtype=np.int32)
    vectors = encoder.encode(ids, np.array([20], dtype=np.int64))
    np.testing.assert_allclose(vectors, by_definition(arrays, 2, ids), atol=2e-3)


def test_levels_agree() -> None:
    assert "scalar" in LEVELS
    arrays = make_arrays(64, 128, 2)
    ids = np.arange(40, dtype=np.int32)
    lengths = np.array([33, 7], dtype=np.int64)
    exact = _core.BertEncoder(arrays, 4, EPSILON, "scalar").encode(ids, lengths)
    for level in [*LEVELS, "tiles model"]:
        result = _core.BertEncoder(arrays, 4, EPSILON, level).encode(ids, lengths)
        # Three products of bfloat16 parts leave out 2^-16 of each product; these weights, which no training made calm,
        # carry it to 2e-4 of values that are 1 on average. The direction of each vector stays.
        atol = 4e-4 if level in ("amx", "tiles model") else 2e-5
        np.testing.assert_allclose(result, exact, atol=atol, err_msg=level)
        lengths_of_both = np.linalg.norm(result, axis=1) * np.linalg.norm(exact, axis=1)
        assert ((result * exact).sum(axis=1) / lengths_of_both).min() >= 0.999999


@pytest.mark.parametrize(
    ("level", "model", "precision"),
    [
        ("amx", "avx512 tiles model", "float32"),
        ("amx", "avx512 tiles model", "bfloat16"),
        ("avx512bf16", "avx512 pairs model", "bfloat16"),
    ],
)
@pytest.mark.parametrize(("hidden", "heads", "inner", "layers"), [*SIZES[:3], (400, 25, 32, 1)])
@pytest.mark.skipif("avx512bf16" not in LEVELS, reason="the instructions are on no processor here")
def test_models_of_instructions_give_the_processors_bits(
    level: str, model: str, precision: str, hidden: int, heads: int, inner: int, layers: int
) -> None:
    if level not in LEVELS:
        pytest.skip(f"no {level} here")
    arrays = make_arrays(hidden, inner, layers)
    # Values around the smallest normal ones too, which the instructions take for zeros, and -0.
    arrays[0][:4] *= np.float32(2.0) ** np.array([[-120], [-126], [-130], [0]], dtype=np.float32)
    arrays[5].flat[:8] = np.float32([1e-38, -1e-38, 1e-40, -1e-40, 0.0, -0.0, 1e-30, 1e30])
    lengths = LENGTHS[LENGTHS < 32]
    ids = np.arange(lengths.sum(), dtype=np.int32) % VOCABULARY
    ours, theirs = (
        _core.BertEncoder(arrays, heads, EPSILON, name, precision).encode(ids, lengths)
        for name in (level, model)
    )
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize("shape", [(2, 2 * POSITIONS), (1, 2 * POSITIONS - 1), (2 * (2 * POSITIONS - 1),)])
def test_distances_are_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distances must be"):
        _core.BertEncoder(
            make_arrays(32, 48, 1), 2, EPSILON, "scalar", distances=np.zeros(shape, dtype=np.float32)
        )


@pytest.fixture(scope="module")
def encoder() -> Any:
    return _core.BertEncoder(make_arrays(16, 16, 1), 1, EPSILON, "scalar")


@pytest.mark.parametrize(
    ("ids", "lengths", "error"),
    [
        ([1, 2, 3], [2], ValueError),
        ([1, 2, 3], [2, 2], ValueError),
        ([1, 2, 3], [3, 0], ValueError),
        ([1, 2, 3], [4, -1], ValueError),
        ([1] * (POSITIONS + 1), [POSITIONS + 1], ValueError),
        ([1, VOCABULARY], [2], IndexError),
        ([1, -1], [2], IndexError),
        ([[1, 2]], [2], ValueError),
        ([1, 2], [[2]], ValueError),
        ([1], [2**63 - 1], ValueError),
    ],
)
def test_tokens_are_checked(encoder: Any, ids: Any, lengths: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encoder.encode(np.array(ids, dtype=np.int32), np.array(lengths, dtype=np.int64))


def test_types_are_checked(encoder: Any) -> None:
    with pytest.raises(TypeError):
        encoder.encode(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))


@pytest.mark.parametrize("place", range(21))
def test_weights_of_another_shape_are_refused(place: int) -> None:
    arrays = make_arrays(32, 48, 1)
    arrays[place] = arrays[place][..., :-1].copy()
    with pytest.raises(ValueError):
        _core.BertEncoder(arrays, 2, EPSILON, "scalar")


@pytest.mark.parametrize(
    ("heads", "epsilon", "level", "keep"),
    [
        (0, EPSILON, "scalar", None),
        (3, EPSILON, "scalar", None),
        (4, EPSILON, "scalar", None),  # heads of 8 values
        (2, -1.0, "scalar", None),
        (2, math.nan, "scalar", None),
        (2, EPSILON, "mmx", None),
        (2, EPSILON, "scalar", 5),
        (2, EPSILON, "scalar", 20),
        (2, EPSILON, "scalar", 0),
    ],
)
def test_sizes_are_checked(heads: int, epsilon: float, level: str, keep: int | None) -> None:
    with pytest.raises(ValueError):
        _core.BertEncoder(make_arrays(32, 48, 1)[:keep], heads, epsilon, level)


def test_a_model_without_words_is_refused() -> None:
    arrays = make_arrays(32, 48, 1)
    for place in (0, 1, 2):
        changed = [*arrays]
        changed[place] = arrays[place][:0]
        with pytest.raises(ValueError):
            _core.BertEncoder(changed, 2, EPSILON, "scalar")


class TestRun:
    """Many texts at once, beside the same batches one by one."""

    HIDDEN = 32

    @pytest.fixture
    def encoder(self) -> _core.BertEncoder:
        return _core.BertEncoder(make_arrays(self.HIDDEN, 48, 2), 2, EPSILON, LEVELS[-1])

    def texts(self, count: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        random = np.random.default_rng(count)
        lengths = random.integers(1, 60, count)
        return random.integers(0, VOCABULARY, lengths.sum()).astype(np.int32), lengths.astype(np.int64)

    def cut(self, count: int, parts: int) -> list[npt.NDArray[np.int64]]:
        return np.array_split(np.random.default_rng(parts).permutation(count), parts)

    def one_by_one(
        self,
        encoder: _core.BertEncoder,
        ids: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.int64],
        batches: list[npt.NDArray[np.int64]],
        width: int,
    ) -> Floats:
        starts = np.concatenate([[0], np.cumsum(lengths)])
        out = np.full((len(lengths), width), np.nan, dtype=np.float32)
        for rows in batches:
            chosen = np.concatenate([ids[starts[row] : starts[row + 1]] for row in rows])
            hidden = encoder.encode(chosen, lengths[rows])
            assert _core.pool_tokens(hidden, lengths[rows], 0, [2, 0], True, out, rows)
        return out

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("width", [64, 20])
    def test_the_vectors_are_those_of_its_batches(
        self, encoder: _core.BertEncoder, threads: int, width: int
    ) -> None:
        ids, lengths = self.texts(40)
        batches = self.cut(40, 9)
        out = np.full((40, width), np.nan, dtype=np.float32)
        run = _core.EncoderRun(encoder, ids, lengths, batches, 0, [2, 0], True, out)
        with ThreadPoolExecutor(threads) as pool:
            assert [f.result() for f in [pool.submit(run.work) for _ in range(threads)]] == [False] * threads
        assert (run.done, run.finite) == (40, True)
        np.testing.assert_array_equal(out, self.one_by_one(encoder, ids, lengths, batches, width))

    def test_so_many_batches_and_no_more(self, encoder: _core.BertEncoder) -> None:
        ids, lengths = self.texts(10)
        out = np.zeros((10, 32), dtype=np.float32)
        run = _core.EncoderRun(encoder, ids, lengths, self.cut(10, 5), 0, [2], False, out)
        assert run.work(2)
        assert run.done == 4
        assert not run.work(3)
        assert run.done == 10
        assert not run.work()

    def test_nobody_begins_another_batch_after_a_stop(self, encoder: _core.BertEncoder) -> None:
        ids, lengths = self.texts(10)
        out = np.zeros((10, 32), dtype=np.float32)
        run = _core.EncoderRun(encoder, ids, lengths, self.cut(10, 5), 0, [2], False, out)
        assert run.work(1)
        run.stop()
        assert not run.work()
        assert run.done == 2
        assert np.count_nonzero(out.any(axis=1)) == 2

    def test_what_is_not_finite_is_told(self) -> None:
        arrays = make_arrays(16, 16, 1)
        arrays[0][7] = np.inf
        encoder = _core.BertEncoder(arrays, 1, EPSILON, LEVELS[-1])
        out = np.zeros((2, 16), dtype=np.float32)
        one = np.ones(2, dtype=np.int64)
        batches = [np.array([0]), np.array([1])]
        run = _core.EncoderRun(encoder, np.array([3, 7], dtype=np.int32), one, batches, 0, [2], True, out)
        assert run.work(1)
        assert run.finite
        run.work()
        assert not run.finite

    def test_no_texts_are_no_work(self, encoder: _core.BertEncoder) -> None:
        none = np.empty(0, dtype=np.int64)
        out = np.empty((0, 32), dtype=np.float32)
        run = _core.EncoderRun(encoder, none.astype(np.int32), none, [], 0, [2], True, out)
        assert not run.work()
        assert run.done == 0

    @pytest.mark.parametrize(
        "change",
        [
            {"batches": [np.array([0, 1]), np.array([1, 2])]},
            {"batches": [np.array([0, 1])]},
            {"batches": [np.array([0, 1, 3])]},
            {"batches": [np.array([0, -1, 2])]},
            {"batches": [np.array([[0, 1, 2]])]},
            {"lengths": np.array([2, 2, 1])},
            {"lengths": np.array([4, 2, 0])},
            {"lengths": np.array([4, -1, 3])},
            {"ids": np.array([0, 1, 2, 3, 4, VOCABULARY], dtype=np.int32)},
            {"ids": np.array([0, 1, 2, -3, 4, 5], dtype=np.int32)},
            {"modes": [6]},
            {"modes": []},
            {"out": np.zeros((2, 32), dtype=np.float32)},
            {"out": np.zeros((3, 33), dtype=np.float32)},
            {"out": np.zeros((3, 0), dtype=np.float32)},
            {"out": np.zeros(96, dtype=np.float32)},
        ],
        ids=repr,
    )
    def test_what_makes_no_sense_is_refused(self, encoder: _core.BertEncoder, change: dict[str, Any]) -> None:
        arguments = {
            "ids": np.arange(6, dtype=np.int32),
            "lengths": np.array([1, 2, 3]),
            "batches": [np.array([2, 0]), np.array([1])],
            "skip": 0,
            "modes": [2],
            "normalize": True,
            "out": np.zeros((3, 32), dtype=np.float32),
        }
        assert not _core.EncoderRun(encoder, **arguments).work()
        with pytest.raises((ValueError, IndexError)):
            _core.EncoderRun(encoder, **(arguments | change))

    def test_a_result_that_cannot_be_written_is_refused(self, encoder: _core.BertEncoder) -> None:
        out = np.zeros((1, 32), dtype=np.float32)
        out.flags.writeable = False
        one = np.ones(1, dtype=np.int64)
        with pytest.raises(ValueError, match="writable"):
            _core.EncoderRun(encoder, one.astype(np.int32), one, [one - 1], 0, [2], True, out)
