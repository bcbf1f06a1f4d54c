"""bfloat16: near enough, marked, comparable with float32, known to verify; and every level near the reference."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

import vssnative
from vssnative import _cli as cli
from vssnative import _core
from vssnative.embedding import OnnxEmbedder, from_config, get_embedder, precision
from vssnative.embedding.minilm import DIGEST, minilm_directory
from vssnative.embedding.native_encoder import NativeEncoder
from vssnative.errors import ConfigurationError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "embedding"
LEVELS = _core.encoder_levels()
LEAST = {"float32": 0.99999, "bfloat16": 0.9999}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    values: list[str] = json.loads((FIXTURES / "texts.json").read_text(encoding="utf-8"))
    return values


@pytest.fixture(scope="module")
def reference() -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = np.load(FIXTURES / "vectors.npy")
    return values


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("VSSNATIVE_PRECISION", raising=False)
    yield
    precision._chosen = None


def least_cosine(
    level: str, kind: str, texts: list[str], reference: npt.NDArray[np.float32]
) -> tuple[float, npt.NDArray[np.float32]]:
    embedder = get_embedder("minilm", precision=kind)
    assert isinstance(embedder, OnnxEmbedder)
    embedder._encoder = NativeEncoder(minilm_directory(), level, kind)
    vectors = embedder.embed_documents(texts)
    return float((vectors.astype(np.float64) * reference).sum(axis=1).min()), vectors


# Where a level has no units for bfloat16 it computes the same with either (tests/unit/test_embedding_encoder.py), and
# avx512bf16 computes float32 as avx512 does.
@pytest.mark.parametrize(
    ("level", "kind"),
    [
        *((level, "float32") for level in LEVELS if level in ("avx2", "avx512", "amx")),
        *((level, "bfloat16") for level in LEVELS if level in ("avx512bf16", "amx")),
    ],
)
def test_each_level_is_near_the_reference_on_all_texts(
    level: str, kind: str, texts: list[str], reference: npt.NDArray[np.float32]
) -> None:
    least, vectors = least_cosine(level, kind, texts, reference)
    assert least >= LEAST[kind]
    if kind == "bfloat16":
        # It is another computation, not the exact one under another name.
        assert np.abs(vectors - reference).max() > 1e-4


@pytest.mark.skipif(
    "avx512bf16" not in LEVELS or "amx" in LEVELS, reason="avx512bf16 is not the best level here"
)
def test_bfloat16_is_computed_as_float32_where_that_is_faster() -> None:
    """Intel's ``vdpbf16ps`` does half as many sums a cycle as float32's instructions, AMD's twice as many."""
    intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    code = (
        "from vssnative import _core; print(_core.fastest_level('bfloat16'), _core.fastest_level('float32'))"
    )
    found = {}
    for pinned in ("", "avx512bf16", "avx2"):
        env = {name: value for name, value in os.environ.items() if name != "VSSNATIVE_SIMD"}
        env |= {"VSSNATIVE_SIMD": pinned} if pinned else {}
        found[pinned] = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        ).stdout.split()
    assert found == {
        "": ["avx512" if intel else "avx512bf16", "avx512bf16"],
        "avx512bf16": ["avx512bf16", "avx512bf16"],
        "avx2": ["avx2", "avx2"],
    }


@pytest.mark.parametrize("kind", LEAST)
@pytest.mark.parametrize("level", ["scalar", *_core.encoder_models()])
def test_slow_levels_and_models_are_near_the_reference(
    level: str, kind: str, texts: list[str], reference: npt.NDArray[np.float32]
) -> None:
    some = [number for number, text in enumerate(texts) if 0 < len(text) < 60][:4]
    least, _ = least_cosine(level, kind, [texts[number] for number in some], reference[some])
    assert least >= LEAST[kind]


def test_the_digest_and_the_config_say_so() -> None:
    exact, rounded = get_embedder("minilm"), get_embedder("minilm", precision="bfloat16")
    assert (exact.digest, rounded.digest) == (DIGEST, f"{DIGEST}+bfloat16")
    assert precision.comparable(exact.digest, rounded.digest)
    assert not precision.comparable(exact.digest, get_embedder("minilm", dim=8).digest)
    assert exact.config() == {"kind": "minilm", "name": "minilm", "weights": "safetensors"}
    assert rounded.config() == {**exact.config(), "precision": "bfloat16"}
    assert get_embedder("minilm", precision="float32").config() == exact.config()


def test_the_process_and_the_environment_have_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = get_embedder("minilm")
    monkeypatch.setenv("VSSNATIVE_PRECISION", "bfloat16")
    assert get_embedder("minilm").digest == f"{DIGEST}+bfloat16"
    # What was recorded stays what it is.
    assert from_config(exact.config()).digest == DIGEST
    vssnative.configure(precision="float32")
    assert get_embedder("minilm").digest == DIGEST
    vssnative.configure(precision="bfloat16")
    monkeypatch.delenv("VSSNATIVE_PRECISION")
    assert get_embedder("minilm").digest == f"{DIGEST}+bfloat16"
    assert get_embedder("minilm", precision="float32").digest == DIGEST
    with pytest.raises(ConfigurationError, match='"float32" or "bfloat16", not \'int8\''):
        vssnative.configure(precision="int8")
    with pytest.raises(ConfigurationError, match='"float32" or "bfloat16", not \'half\''):
        get_embedder("minilm", precision="half")


POSTS = ["baking bread", "nearest neighbours", "tomatoes in the garden", "a harbour in winter"]


def make_posts(conn: sqlite3.Connection) -> None:
    conn.execute("create table posts(id integer primary key, title text)")
    conn.executemany("insert into posts(title) values (?)", [(title,) for title in POSTS])
    conn.commit()


def test_a_table_keeps_its_precision_and_is_searched_with_either(
    open_db: Callable[..., sqlite3.Connection], tmp_path: Path
) -> None:
    conn = open_db()
    make_posts(conn)
    vssnative.add_embeddings(
        conn, "posts", columns=["title"], model=get_embedder("minilm", precision="bfloat16")
    )
    vssnative.sync(conn)
    [(digest,)] = conn.execute("select model_digest from vssnative_generations").fetchall()
    assert digest == f"{DIGEST}+bfloat16"
    for given in (None, get_embedder("minilm"), get_embedder("minilm", precision="bfloat16")):
        hits = vssnative.search(conn, "posts", "vector search", k=1, embedder=given)
        assert [hit.row["title"] for hit in hits] == ["nearest neighbours"]
        assert vssnative.verify(conn, "posts", embedder=given).ok
    conn.close()
    # A processor without these units makes exact vectors, which verify takes for the same.
    code = (
        f"import vssnative; conn = vssnative.connect({str(tmp_path / 'test.db')!r});"
        "print(vssnative.verify(conn, 'posts').ok)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "VSSNATIVE_SIMD": "avx2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "True\n"


def test_verify_still_finds_another_texts_vector(db: sqlite3.Connection) -> None:
    make_posts(db)
    vssnative.add_embeddings(
        db, "posts", columns=["title"], model=get_embedder("minilm", precision="bfloat16")
    )
    vssnative.sync(db)
    other = get_embedder("minilm").embed_documents(["baking breads"])[0]
    db.execute("update vss_posts set title_embedding = ? where rowid = 1", (other.tobytes(),))
    db.commit()
    assert not vssnative.verify(db, "posts").ok


def test_texts_embedded_before_are_not_taken_for_the_other_precision(db: sqlite3.Connection) -> None:
    make_posts(db)
    vssnative.add_embeddings(
        db, "posts", columns=["title"], model=get_embedder("minilm", precision="bfloat16")
    )
    vssnative.sync(db)
    vssnative.change_model(db, "posts", "minilm")
    assert vssnative.sync(db).texts == len(POSTS)
    vector = np.frombuffer(
        db.execute("select vector from vssnative_cache order by rowid desc limit 1").fetchone()[0], "<f4"
    )
    assert len(vector) == 384


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "posts.db"
    conn = sqlite3.connect(path)
    make_posts(conn)
    conn.close()
    words = ["add-embeddings", str(path), "posts", "-c", "title", "--precision", "bfloat16"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    conn = sqlite3.connect(path)
    assert conn.execute("select model_digest from vssnative_generations").fetchall() == [
        (f"{DIGEST}+bfloat16",)
    ]
    conn.close()
