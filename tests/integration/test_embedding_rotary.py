"""Encoders with rotated queries and keys: the vectors are those that sentence-transformers gives for tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from tests.fixtures.embedding.tiny_models import TEXTS, tolerance
from tests.fixtures.embedding.tiny_rotary import HIDDEN, INNER, NTK_CONFIG, ROTARY, write_rotary
from vssnative import _core
from vssnative.embedding import OnnxEmbedder, get_embedder
from vssnative.embedding.model_digest import directory_digest
from vssnative.embedding.native_encoder import NativeEncoder
from vssnative.errors import ConfigurationError, EmbeddingError

REFERENCE = Path(__file__).parent.parent / "fixtures" / "embedding" / "rotary.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, npt.NDArray[np.float32]]:
    with np.load(REFERENCE) as found:
        return dict(found)


def embed(directory: Path, level: str | None = None) -> npt.NDArray[np.float32]:
    embedder = get_embedder(f"onnx:{directory}")
    assert isinstance(embedder, OnnxEmbedder)
    if level is not None:
        embedder._encoder = NativeEncoder(directory, level)
    return embedder.embed_documents(TEXTS)


def change_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def rename(directory: Path, name_of: Callable[[str], str]) -> None:
    tensors = load_file(directory / "model.safetensors")
    save_file(
        {name_of(name): value for name, value in tensors.items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )


@pytest.mark.parametrize("level", [*_core.encoder_levels(), "tiles model"])
@pytest.mark.parametrize("name", ROTARY)
def test_vectors_are_those_of_sentence_transformers(
    name: str, level: str, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
) -> None:
    directory = write_rotary(tmp_path / "model", name)
    np.testing.assert_allclose(embed(directory, level), reference[name], atol=tolerance(level))


@pytest.mark.parametrize("name", ROTARY)
def test_the_own_encoder_is_taken_for_them(name: str, tmp_path: Path) -> None:
    embedder = get_embedder(f"onnx:{write_rotary(tmp_path / 'model', name)}")
    assert isinstance(embedder, OnnxEmbedder)
    assert isinstance(embedder._encoder, NativeEncoder)
    with pytest.raises(ConfigurationError, match="not '(gte|nomic_bert|modernbert)'"):
        get_embedder(f"onnx:{tmp_path / 'model'}", backend="onnxruntime")


def test_configs_of_nomics_own_are_read(
    tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
) -> None:
    directory = write_rotary(tmp_path / "model", "nomic_bert")
    own = json.loads((directory / "config.json").read_text())
    config = {
        "model_type": "nomic_bert",
        "n_embd": HIDDEN,
        "n_head": own["num_attention_heads"],
        "n_layer": own["num_hidden_layers"],
        "n_inner": INNER,
        "n_positions": 8192,
        "layer_norm_epsilon": 1e-12,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "activation_function": "swiglu",
        "prenorm": False,
        "qkv_proj_bias": False,
        "rotary_scaling_factor": None,
    }
    (directory / "config.json").write_text(json.dumps(config))
    np.testing.assert_allclose(embed(directory), reference["nomic_bert"], atol=tolerance())
    for wrong in ({"prenorm": True}, {"rotary_emb_fraction": 0.5}, {"rotary_scaling_factor": 2}):
        (directory / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))}=.* is not supported"):
            get_embedder(f"onnx:{directory}")


def test_tensors_as_transformers_names_them_are_read(
    tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
) -> None:
    directory = write_rotary(tmp_path / "model", "gte")
    renamed = {}
    for name, value in load_file(directory / "model.safetensors").items():
        for old, new in (
            ("encoder.layer.", "layers."),
            ("attention.o_proj", "self_attn.o_proj"),
            ("attn_ln", "post_attention_layernorm"),
            ("mlp_ln", "post_mlp_layernorm"),
        ):
            name = name.replace(old, new)
        if "qkv_proj" in name:
            for part, rows in zip("qkv", np.split(value, 3), strict=True):
                renamed[name.replace("attention.qkv_proj", f"self_attn.{part}_proj")] = rows.copy()
        elif "up_gate_proj" in name:
            for part, rows in zip(("up", "gate"), np.split(value, 2), strict=True):
                renamed[name.replace("up_gate", part)] = rows.copy()
        else:
            renamed[name] = value
    save_file(renamed, directory / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_allclose(embed(directory), reference["gte"], atol=tolerance())


@pytest.mark.parametrize("is_packed", [True, False])
def test_scaled_rotations_as_gtes_authors_write_them(
    is_packed: bool, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
) -> None:
    directory = write_rotary(tmp_path / "model", "gte_scaled")
    change_config(directory, rope_parameters=..., **NTK_CONFIG | {"pack_qkv": is_packed})
    if not is_packed:
        tensors = load_file(directory / "model.safetensors")
        for name in [name for name in tensors if "qkv_proj" in name]:
            for part, rows in zip("qkv", np.split(tensors.pop(name), 3), strict=True):
                tensors[name.replace("qkv", part)] = rows.copy()
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_allclose(embed(directory), reference["gte_scaled"], atol=tolerance())
    assert np.abs(reference["gte_scaled"] - reference["gte"]).max() > 0.01


def test_scaling_changes_the_digest(tmp_path: Path) -> None:
    plain = directory_digest(write_rotary(tmp_path / "plain", "gte"))
    directory = write_rotary(tmp_path / "scaled", "gte")
    change_config(directory, rope_scaling={"rope_type": "default"})
    assert directory_digest(directory) == plain
    change_config(directory, rope_scaling={"type": "linear", "factor": 2})
    assert directory_digest(directory) != plain


@pytest.mark.parametrize(("name", "prefix"), [("gte", "new."), ("modernbert", "model.")])
def test_tensors_of_a_model_with_a_head_are_read(
    name: str, prefix: str, tmp_path: Path, reference: dict[str, npt.NDArray[np.float32]]
) -> None:
    directory = write_rotary(tmp_path / "model", name)
    rename(directory, lambda tensor: prefix + tensor)
    np.testing.assert_allclose(embed(directory), reference[name], atol=tolerance())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gte", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rotations scaled so"),
        ("gte", {"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.6}}, "rotations scaled so"),
        ("gte", {"rope_parameters": {"rope_theta": 10.0, "rope_type": "linear"}}, "factor"),
        ("gte", {"rope_scaling": {"type": "ntk", "factor": 0.5}}, "factor"),
        ("gte", {"rope_scaling": {"type": "ntk", "factor": "2"}}, "factor"),
        ("gte", NTK_CONFIG | {"logn_attention_scale": True}, "logn_attention_scale=True is not"),
        ("gte", NTK_CONFIG | {"layer_norm_type": "rms_norm"}, "layer_norm_type='rms_norm' is not"),
        ("gte", {"rope_parameters": {"rope_theta": 0}}, "rope_theta"),
        ("gte", {"hidden_act": "relu"}, "hidden_act must be gelu or silu"),
        ("gte", {"num_hidden_layers": 3}, "encoder.layer.2.*missing"),
        ("gte", {"num_hidden_layers": 0}, "num_hidden_layers"),
        ("gte", {"intermediate_size": 64}, "expected"),
        ("modernbert", {"local_attention": 0}, "local_attention"),
        ("modernbert", {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types"),
        ("modernbert", {"hidden_activation": "tanh"}, "hidden_activation"),
    ],
)
def test_what_the_encoder_does_not_compute_is_refused(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    directory = write_rotary(tmp_path / "model", name)
    change_config(directory, **changes)
    with pytest.raises(ConfigurationError, match=message):
        get_embedder(f"onnx:{directory}")


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    directory = write_rotary(tmp_path / "model", "modernbert")
    tensors = load_file(directory / "model.safetensors")
    del tensors["layers.1.mlp.Wi.weight"]
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match="layers.1.mlp.Wi.weight is missing"):
        get_embedder(f"onnx:{directory}")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gte", {"rope_parameters": {"rope_theta": 501.0}}),
        ("gte", {"hidden_act": "silu"}),
        ("gte", {"num_attention_heads": 1}),
        ("gte", {"num_hidden_layers": 1}),
        ("modernbert", {"local_attention": 8}),
        ("modernbert", {"local_rope_theta": 9000.0}),
        ("modernbert", {"global_attn_every_n_layers": 2}),
        ("modernbert", {"norm_eps": 1e-6}),
    ],
)
def test_what_a_config_says_is_in_the_digest(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    directory = write_rotary(tmp_path / "model", name)
    before, vectors = get_embedder(f"onnx:{directory}").digest, embed(directory)
    change_config(directory, _note="of no matter")
    assert get_embedder(f"onnx:{directory}").digest == before
    change_config(directory, **changes)
    assert get_embedder(f"onnx:{directory}").digest != before
    assert np.abs(embed(directory) - vectors).max() > 0


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("modernbert_by_layers", {"layer_types": 3}),
        ("modernbert_by_layers", {"layer_types": [["full_attention"]]}),
        ("modernbert_by_layers", {"layer_types": {"full_attention": 1}}),
        ("modernbert", {"rope_parameters": "linear"}),
        ("modernbert", {"rope_parameters": {"full_attention": 7, "sliding_attention": [1]}}),
        ("modernbert", {"norm_eps": "small"}),
        ("modernbert", {"norm_eps": None}),
        ("gte", {"rope_parameters": [1]}),
        ("gte", {"rope_scaling": "linear"}),
        ("gte", {"layer_norm_eps": float("nan")}),
        ("gte", {"layer_norm_eps": -1}),
        ("gte", {"layer_norm_eps": {}}),
        ("nomic_bert", {"layer_norm_epsilon": True, "layer_norm_eps": ...}),
    ],
)
def test_a_config_of_other_types_is_named(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    directory = write_rotary(tmp_path / "model", name)
    change_config(directory, **changes)
    with pytest.raises(ConfigurationError, match="layer_types|must be a"):
        get_embedder(f"onnx:{directory}").embed_documents(["a fox"])


@pytest.mark.parametrize("number", [300, 2**31, 2**32 - 1])
def test_a_tokenizer_with_ids_that_the_model_has_not(number: int, tmp_path: Path) -> None:
    directory = write_rotary(tmp_path / "model", "gte")
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["fox"] = number
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(EmbeddingError, match="the tokenizer gave what the model does not take"):
        get_embedder(f"onnx:{directory}").embed_documents(["a fox"])
