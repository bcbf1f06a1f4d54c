"""Builds the ONNX graph of a BERT encoder from its safetensors weights, without torch.

The graph is written in the form that ONNX Runtime runs fastest on a CPU: the operators of its ``com.microsoft``
domain that fuse embedding lookup with layer normalization, attention, residual with layer normalization, and
bias with GELU (the exact one, by erf). Right padding is given by each text's length, so no mask is built.

Architecture: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019.

Inputs: ``input_ids`` int32 (batch, sequence), ``lengths`` int32 (batch).
Output: ``last_hidden_state`` float32 (batch, sequence, hidden).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .._extras import need
from .bert_weights import Array, BertWeights
from .storage import atomic_file

# Part of the cached file's name: raise it whenever the graph below changes.
GRAPH_VERSION = 1


def build_bert_graph(transformer: Path, target: Path) -> None:
    """Write the graph of the BERT model in ``transformer`` (config.json, model.safetensors) to ``target``, atomically.

    Raises:
        ConfigurationError: if the model is no BERT encoder with absolute positions and exact GELU, or a weight is
            missing or has another shape than its config says.
    """
    onnx = need("onnx", "onnx", "graphs made of a model's weights")
    weights = BertWeights(transformer)
    model = _Builder(onnx, weights).model()
    data = model.SerializeToString()
    with atomic_file(target) as file:
        file.write(data)


class _Builder:
    def __init__(self, onnx_package: Any, weights: BertWeights) -> None:
        self._onnx = onnx_package
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self) -> Any:
        helper, proto = self._onnx.helper, self._onnx.TensorProto
        state = self._embeddings()
        for layer in range(self._weights.layers):
            state = self._layer(state, layer)
        self._nodes.append(helper.make_node("Identity", [state], ["last_hidden_state"]))
        graph = helper.make_graph(
            self._nodes,
            "bert_encoder",
            [
                helper.make_tensor_value_info("input_ids", proto.INT32, ["batch", "sequence"]),
                helper.make_tensor_value_info("lengths", proto.INT32, ["batch"]),
            ],
            [
                helper.make_tensor_value_info(
                    "last_hidden_state", proto.FLOAT, ["batch", "sequence", self._weights.hidden]
                )
            ],
            self._constants,
        )
        return helper.make_model(
            graph,
            producer_name="vssnative",
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
            ir_version=8,
        )

    def _constant(self, name: str, values: Array) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(
        self, kind: str, inputs: list[str], output: str, domain: str = "com.microsoft", **attributes: Any
    ) -> str:
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def _embeddings(self) -> str:
        weights = self._weights
        hidden = weights.hidden
        positions = weights.positions()
        # Every token is of type 0 here, so its embedding is a constant that the positions can carry.
        positions = positions + weights.take("embeddings.token_type_embeddings.weight", None, hidden)[0]
        inputs = [
            "input_ids",
            "",
            self._constant("words", weights.take("embeddings.word_embeddings.weight", None, hidden)),
            self._constant("positions", positions),
            "",
            self._constant("embed_gamma", weights.take("embeddings.LayerNorm.weight", hidden)),
            self._constant("embed_beta", weights.take("embeddings.LayerNorm.bias", hidden)),
        ]
        self._nodes.append(
            self._onnx.helper.make_node(
                "EmbedLayerNormalization",
                inputs,
                ["embedded", "mask_index"],
                domain="com.microsoft",
                epsilon=weights.epsilon,
            )
        )
        return "embedded"

    def _layer(self, state: str, layer: int) -> str:
        weights, hidden, inner = self._weights, self._weights.hidden, self._weights.inner
        source = f"encoder.layer.{layer}"
        own = f"layer{layer}"
        parts = [f"{source}.attention.self.{part}" for part in ("query", "key", "value")]
        qkv = np.concatenate([weights.take(f"{part}.weight", hidden, hidden).T for part in parts], axis=1)
        qkv_bias = np.concatenate([weights.take(f"{part}.bias", hidden) for part in parts])
        attended = self._node(
            "Attention",
            [
                state,
                self._constant(f"{own}_qkv", qkv),
                self._constant(f"{own}_qkv_bias", qkv_bias),
                "lengths",
            ],
            f"{own}_attended",
            num_heads=weights.heads,
        )
        projected = self._linear(
            f"{source}.attention.output.dense", attended, f"{own}_projected", hidden, hidden
        )
        middle = self._add_norm(f"{source}.attention.output", projected, state, f"{own}_middle")
        wide = self._linear(f"{source}.intermediate.dense", middle, f"{own}_wide", hidden, inner)
        activated = self._node(
            "BiasGelu",
            [
                wide,
                self._constant(f"{own}_wide_bias", weights.take(f"{source}.intermediate.dense.bias", inner)),
            ],
            f"{own}_activated",
        )
        narrow = self._linear(f"{source}.output.dense", activated, f"{own}_narrow", inner, hidden)
        return self._add_norm(f"{source}.output", narrow, middle, f"{own}_out")

    def _linear(self, source: str, state: str, output: str, width: int, height: int) -> str:
        matrix = self._constant(f"{output}_weight", self._weights.take(f"{source}.weight", height, width).T)
        return self._node("MatMul", [state, matrix], output, domain="")

    def _add_norm(self, source: str, state: str, residual: str, output: str) -> str:
        weights, hidden = self._weights, self._weights.hidden
        inputs = [
            state,
            residual,
            self._constant(f"{output}_gamma", weights.take(f"{source}.LayerNorm.weight", hidden)),
            self._constant(f"{output}_beta", weights.take(f"{source}.LayerNorm.bias", hidden)),
            self._constant(f"{output}_bias", weights.take(f"{source}.dense.bias", hidden)),
        ]
        return self._node("SkipLayerNormalization", inputs, output, epsilon=weights.epsilon)
