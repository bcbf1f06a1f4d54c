"""Weights are read where the file lies, and what is made of them does not need the file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from tests.fixtures.embedding.tiny_models import RECIPES, write_model
from tests.fixtures.embedding.tiny_static import write_cross_encoder, write_static
from vssnative.embedding.tensors import load_tensors, map_tensors
from vssnative.errors import ConfigurationError

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def written(path: Path, header: bytes, data: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def test_tensors_are_those_that_the_library_reads(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values: dict[str, npt.NDArray[np.generic]] = {
        dtype: (random.standard_normal((3, 5)) * 9).astype(dtype) for dtype in DTYPES
    }
    values |= {"none": np.zeros((0, 4), np.float32), "one": np.array(7, np.float32)}
    path = tmp_path / "all.safetensors"
    save_file(values, path, metadata={"format": "np"})
    expected = load_file(path)
    for read in (load_tensors, map_tensors):
        found = read(path)
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert (tensor.dtype, tensor.shape) == (expected[name].dtype, expected[name].shape)
            np.testing.assert_array_equal(tensor, expected[name])
    assert load_tensors(path)["float32"].flags.writeable
    assert not map_tensors(path)["float32"].flags.writeable


def test_tensors_at_odd_addresses_are_copied(tmp_path: Path) -> None:
    entries = {
        "byte": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "odd": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    path = written(
        tmp_path / "odd", json.dumps(entries).encode(), b"\1" + np.array([1.5, -2], np.float32).tobytes()
    )
    odd = map_tensors(path)["odd"]
    assert odd.flags.aligned
    np.testing.assert_array_equal(odd, [1.5, -2])


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"", b""),
        (b"{", b""),
        (b"[]", b""),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"1234"),
        (b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', b"12345678"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}', b"12345678"),
        (b'{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}', b"12345678"),
        (b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}', b"12345678"),
        (b'{"a":5}', b""),
    ],
)
def test_files_that_lie_are_refused(tmp_path: Path, header: bytes, data: bytes) -> None:
    path = written(tmp_path / "lies.safetensors", header, data)
    with pytest.raises(ConfigurationError, match=r"lies\.safetensors: no readable safetensors file: ."):
        map_tensors(path)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for name in ("empty", "missing"):
        with pytest.raises(ConfigurationError, match=f"{name}: no readable safetensors file"):
            map_tensors(tmp_path / name)


CUT = """
import sys
from pathlib import Path
from vssnative.embedding import Reranker, get_embedder

model, static, cross = sys.argv[1:]
first, second = get_embedder(f"onnx:{model}"), get_embedder(f"static:{static}")
third = Reranker(cross)
for directory in (model, static, cross):
    for path in Path(directory).rglob("*.safetensors"):
        with open(path, "r+b") as file:
            file.truncate(0)
print(first.embed_documents(["the fox"]).shape, second.embed_documents(["the fox"]).shape)
print(third.score("fox", ["the quick fox"]).shape)
"""


def test_a_model_in_memory_outlives_its_files(tmp_path: Path) -> None:
    """Weights that were still the file's bytes would end the process (SIGBUS)."""
    written = [
        write_model(tmp_path / "model", RECIPES["dense_tanh"]),
        write_static(tmp_path / "static", "model2vec"),
        write_cross_encoder(tmp_path / "cross", "one"),
    ]
    child = subprocess.run(
        [sys.executable, "-c", CUT, *map(str, written)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines()[1] == "(1,)"
