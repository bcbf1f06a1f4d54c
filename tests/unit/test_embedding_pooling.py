"""Pooling and normalization in the core, against the definitions written with numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vssnative import _core
from vssnative.embedding.layout import POOLING_MODES

Floats = npt.NDArray[np.float32]


def by_definition(mode: str, tokens: Floats, skip: int) -> npt.NDArray[np.float64]:
    """One text's vector, in double precision, from its tokens alone (no padding)."""
    kept = tokens[skip:].astype(np.float64)
    if mode == "cls":
        return kept[0]
    if mode == "lasttoken":
        return kept[-1]
    if mode == "max":
        return kept.max(axis=0)
    if mode == "mean":
        return kept.mean(axis=0)
    if mode == "mean_sqrt_len_tokens":
        return kept.sum(axis=0) / np.sqrt(len(kept))
    weights = np.arange(skip + 1, len(tokens) + 1, dtype=np.float64)
    return (kept * weights[:, None]).sum(axis=0) / weights.sum()


def pooled(
    hidden: Floats,
    lengths: list[int],
    modes: list[str],
    *,
    skip: int = 0,
    normalize: bool = False,
    dim: int = 0,
) -> Floats:
    out = np.full((len(lengths), dim or hidden.shape[2] * len(modes)), -1, dtype=np.float32)
    finite = _core.pool_tokens(
        hidden,
        np.array(lengths, dtype=np.int64),
        skip,
        [POOLING_MODES.index(mode) for mode in modes],
        normalize,
        out,
        np.arange(len(lengths), dtype=np.int64),
    )
    assert finite
    return out


@pytest.fixture
def hidden() -> Floats:
    values = np.random.default_rng(1).standard_normal((4, 9, 21)).astype(np.float32)
    return values


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("skip", [0, 2])
def test_each_mode_is_its_definition(mode: str, skip: int, hidden: Floats) -> None:
    lengths = [9, 3, 5, 8]
    expected = [
        by_definition(mode, text[:length], skip) for text, length in zip(hidden, lengths, strict=True)
    ]
    np.testing.assert_allclose(pooled(hidden, lengths, [mode], skip=skip), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_padding_is_never_looked_at(mode: str, hidden: Floats) -> None:
    lengths = [9, 3, 5, 8]
    spoiled = hidden.copy()
    for text, length in zip(spoiled, lengths, strict=True):
        text[length:] = np.nan
    np.testing.assert_array_equal(pooled(spoiled, lengths, [mode]), pooled(hidden, lengths, [mode]))


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_packed_texts_are_pooled_as_padded_ones(mode: str, hidden: Floats) -> None:
    lengths = np.array([9, 3, 5, 8], dtype=np.int64)
    packed = np.concatenate([text[:length] for text, length in zip(hidden, lengths, strict=True)])
    out = np.zeros((4, 21), dtype=np.float32)
    arguments = (lengths, 2, [POOLING_MODES.index(mode)], True, out, np.arange(4))
    assert _core.pool_tokens(packed, *arguments)
    expected = pooled(hidden, lengths.tolist(), [mode], skip=2, normalize=True)
    np.testing.assert_array_equal(out, expected)
    for wrong in (packed[:-1], np.concatenate([packed, packed[:1]])):
        with pytest.raises(ValueError):
            _core.pool_tokens(wrong, *arguments)


def test_several_modes_stand_side_by_side(hidden: Floats) -> None:
    both = pooled(hidden, [9, 9, 9, 9], ["max", "cls"])
    np.testing.assert_array_equal(both[:, :21], pooled(hidden, [9, 9, 9, 9], ["max"]))
    np.testing.assert_array_equal(both[:, 21:], pooled(hidden, [9, 9, 9, 9], ["cls"]))


def test_normalization_is_of_what_is_kept(hidden: Floats) -> None:
    whole = pooled(hidden, [9, 3, 5, 8], ["mean"])
    cut = pooled(hidden, [9, 3, 5, 8], ["mean"], normalize=True, dim=7)
    expected = whole[:, :7] / np.linalg.norm(whole[:, :7], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, rtol=1e-6)


def test_a_text_that_is_all_prompt_gives_zeros(hidden: Floats) -> None:
    assert not pooled(hidden, [2, 2, 2, 2], ["mean"], skip=2, normalize=True).any()


def test_rows_go_where_they_are_told(hidden: Floats) -> None:
    out = np.zeros((10, 21), dtype=np.float32)
    targets = np.array([7, 0, 3, 9], dtype=np.int64)
    _core.pool_tokens(hidden, np.full(4, 9, dtype=np.int64), 0, [2], False, out, targets)
    np.testing.assert_array_equal(out[targets], pooled(hidden, [9, 9, 9, 9], ["mean"]))
    assert not np.delete(out, targets, axis=0).any()


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_value_that_is_not_finite_is_reported(mode: str, bad: float, normalize: bool) -> None:
    hidden = np.ones((1, 1, 3), dtype=np.float32)
    hidden[0, 0, 1] = bad
    out = np.zeros((1, 3), dtype=np.float32)
    one = np.ones(1, dtype=np.int64)
    assert not _core.pool_tokens(hidden, one, 0, [POOLING_MODES.index(mode)], normalize, out, one - 1)
    assert not _core.finish_rows(hidden[0], normalize, out, one - 1)


def test_finish_rows_cuts_and_normalizes() -> None:
    vectors = np.random.default_rng(2).standard_normal((3, 8)).astype(np.float32)
    out = np.zeros((3, 5), dtype=np.float32)
    assert _core.finish_rows(vectors, True, out, np.array([2, 1, 0], dtype=np.int64))
    expected = vectors[::-1, :5] / np.linalg.norm(vectors[::-1, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_a_vector_of_zeros_stays_zero() -> None:
    out = np.ones((1, 4), dtype=np.float32)
    assert _core.finish_rows(np.zeros((1, 4), dtype=np.float32), True, out, np.zeros(1, dtype=np.int64))
    assert not out.any()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"lengths": np.array([0, 1], dtype=np.int64)}, ValueError),
        ({"lengths": np.array([1, 6], dtype=np.int64)}, ValueError),
        ({"lengths": np.array([1], dtype=np.int64)}, ValueError),
        ({"modes": [6]}, ValueError),
        ({"modes": [-1]}, ValueError),
        ({"targets": np.array([0, 2], dtype=np.int64)}, IndexError),
        ({"targets": np.array([0, -1], dtype=np.int64)}, IndexError),
        ({"targets": np.array([0], dtype=np.int64)}, ValueError),
        ({"out": np.zeros((2, 4), dtype=np.float32)}, ValueError),
        ({"out": np.zeros((2, 0), dtype=np.float32)}, ValueError),
        ({"out": np.zeros(6, dtype=np.float32)}, ValueError),
        ({"out": np.zeros((2, 3), dtype=np.float64)}, TypeError),
        ({"hidden": np.zeros((2, 5, 3), dtype=np.float64)}, TypeError),
        ({"hidden": np.zeros((2, 5), dtype=np.float32)}, ValueError),
        ({"hidden": np.zeros((2, 5, 6), dtype=np.float32)[:, :, ::2]}, TypeError),
    ],
)
def test_shapes_are_checked(change: dict[str, object], error: type[Exception]) -> None:
    arguments: dict[str, object] = {
        "hidden": np.zeros((2, 5, 3), dtype=np.float32),
        "lengths": np.array([5, 1], dtype=np.int64),
        "skip": 0,
        "modes": [2],
        "normalize": False,
        "out": np.zeros((2, 3), dtype=np.float32),
        "targets": np.array([0, 1], dtype=np.int64),
    }
    with pytest.raises(error):
        _core.pool_tokens(**(arguments | change))


def test_a_read_only_matrix_is_refused() -> None:
    out = np.zeros((1, 3), dtype=np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        _core.finish_rows(np.ones((1, 3), dtype=np.float32), False, out, np.zeros(1, dtype=np.int64))
