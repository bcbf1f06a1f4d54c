"""Graphs of a model's own (``model.onnx``): used as they are, and refused where they reach outside or do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.fixtures.embedding.tiny_graphs import write_onnx
from tests.fixtures.embedding.tiny_models import HIDDEN, RECIPES, TEXTS, write_model
from vssnative.embedding import OnnxEmbedder
from vssnative.errors import ConfigurationError, EmbeddingError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSSNATIVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestOnnxFiles:
    @pytest.mark.parametrize("name", ["onnx/model.onnx", "model.onnx"])
    def test_a_models_own_graph_is_used(self, name: str, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean_plain"])
        table = write_onnx(model / name)
        embedder = OnnxEmbedder(model)
        expected = [table[ids].mean(axis=0) for ids in embedder.tokens(TEXTS, "document").ids]
        np.testing.assert_allclose(embedder.embed_documents(TEXTS), expected, atol=1e-6)
        # The second time the approval is remembered.
        np.testing.assert_allclose(OnnxEmbedder(model).embed_documents(TEXTS), expected, atol=1e-6)

    def test_weights_in_other_files_are_refused(self, tmp_path: Path, cache: Path) -> None:
        def outside(model: onnx.ModelProto) -> None:
            tensor = model.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in {"location": "../../../etc/passwd", "offset": "0", "length": "12800"}.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value

        self.refused(tmp_path, outside, "weight 'table' is kept in another file; refused")

    def test_weights_of_a_node_in_other_files_are_refused(self, tmp_path: Path, cache: Path) -> None:
        def outside(model: onnx.ModelProto) -> None:
            constant = onnx.helper.make_node(
                "Constant",
                [],
                ["unused"],
                value=onnx.numpy_helper.from_array(np.zeros(3, np.float32), "hidden"),
            )
            constant.attribute[0].t.data_location = onnx.TensorProto.EXTERNAL
            model.graph.node.insert(0, constant)

        self.refused(tmp_path, outside, "weight 'hidden' is kept in another file")

    def test_operators_of_other_libraries_are_refused(self, tmp_path: Path, cache: Path) -> None:
        def foreign(model: onnx.ModelProto) -> None:
            model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.contrib", 1))
            model.graph.node[0].domain = "ai.onnx.contrib"

        self.refused(tmp_path, foreign, "operator Gather of domain 'ai.onnx.contrib'")

    def test_operators_inside_a_branch_are_refused_too(self, tmp_path: Path, cache: Path) -> None:
        def foreign(model: onnx.ModelProto) -> None:
            branch = onnx.helper.make_graph(
                [onnx.helper.make_node("Run", [], ["out"], domain="evil")],
                "branch",
                [],
                [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])],
            )
            model.graph.node.append(
                onnx.helper.make_node("If", ["axis"], ["unused"], then_branch=branch, else_branch=branch)
            )

        self.refused(tmp_path, foreign, "operator Run of domain 'evil'")

    def test_a_file_that_is_no_graph(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        (model / "model.onnx").write_bytes(b"\xff" * 100)
        with pytest.raises(ConfigurationError, match="no readable ONNX model"):
            OnnxEmbedder(model)

    def test_inputs_that_are_unknown(self, tmp_path: Path, cache: Path) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        write_onnx(model / "model.onnx", names=("pixels",))
        with pytest.raises(ConfigurationError, match="unexpected graph inputs .*pixels"):
            OnnxEmbedder(model)

    def test_outputs_that_are_unknown(self, tmp_path: Path, cache: Path) -> None:
        def rename(model: onnx.ModelProto) -> None:
            model.graph.output[0].name = model.graph.node[-1].output[0] = "logits"

        model = write_model(tmp_path / "model", RECIPES["mean"])
        write_onnx(model / "model.onnx", change=rename)
        with pytest.raises(
            ConfigurationError, match=r"expected an output last_hidden_state .* found \['logits'\]"
        ):
            OnnxEmbedder(model)

    def test_a_graph_of_another_width(self, tmp_path: Path, cache: Path) -> None:
        def widen(model: onnx.ModelProto) -> None:
            table = onnx.numpy_helper.from_array(np.zeros((200, 5), np.float32), "table")
            model.graph.initializer[0].CopyFrom(table)
            model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 5

        model = write_model(tmp_path / "model", RECIPES["mean"])
        write_onnx(model / "model.onnx", change=widen)
        with pytest.raises(EmbeddingError, match=r"gave float32 \(1, 3, 5\); expected float32 \(1, 3, 16\)"):
            OnnxEmbedder(model).embed_documents(["fox"])

    @pytest.mark.parametrize(
        ("backend", "words"),
        [
            ("onnxruntime", "ONNX Runtime failed on 1 texts"),
            ("openvino", "OpenVINO failed on 1 texts: token .* is not among the graph's 3"),
        ],
    )
    def test_a_token_beyond_the_graphs_table(
        self, backend: str, words: str, tmp_path: Path, cache: Path
    ) -> None:
        def shrink(model: onnx.ModelProto) -> None:
            table = onnx.numpy_helper.from_array(np.zeros((3, HIDDEN), np.float32), "table")
            model.graph.initializer[0].CopyFrom(table)

        model = write_model(tmp_path / "model", RECIPES["mean"])
        write_onnx(model / "model.onnx", change=shrink)
        with pytest.raises(EmbeddingError, match=words):
            OnnxEmbedder(model, backend=backend).embed_documents(["fox"])

    def refused(self, tmp_path: Path, change: Any, words: str) -> None:
        model = write_model(tmp_path / "model", RECIPES["mean"])
        write_onnx(model / "model.onnx", change=change)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=words):
                OnnxEmbedder(model)
