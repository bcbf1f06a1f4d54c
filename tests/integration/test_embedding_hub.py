"""Models of the hub, from a hub on loopback: fetched once, pinned, used offline; its failures told in a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.fixtures.embedding.tiny_models import RECIPES, TEXTS, tolerance, write_model
from tests.loopback import LoopbackServer
from vssnative.embedding.hub import documented_prompts, fetch, reachable
from vssnative.errors import ModelNotFoundError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "embedding"


class StubHub:
    """Serves one directory as the repository tiny/model, as the hub's API does."""

    def __init__(self, directory: Path) -> None:
        self.paths: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.paths.append(path)
                if path.startswith("/api/models/tiny/model"):
                    files = [p for p in sorted(directory.rglob("*")) if p.is_file()]
                    names = [str(p.relative_to(directory)) for p in files]
                    answer: object = {
                        "id": "tiny/model",
                        "sha": COMMIT,
                        "siblings": [{"rfilename": name} for name in names],
                    }
                    if "/tree/" in path:
                        answer = [
                            {"type": "file", "path": name, "size": p.stat().st_size, "oid": COMMIT}
                            for name, p in zip(names, files, strict=True)
                        ]
                    self.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
                    return
                name = path.removeprefix(f"/tiny/model/resolve/{COMMIT}/")
                if name != path and (directory / name).is_file():
                    body = (directory / name).read_bytes()
                    etag = hashlib.sha256(body).hexdigest()
                    self.reply(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
                    return
                self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

            def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = LoopbackServer(Handler)
        self.url = self.server.root

    def close(self) -> None:
        self.server.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StubHub]:
    model = write_model(tmp_path / "repository", RECIPES["prompts"])
    # What must not be fetched: code and pickles.
    (model / "modeling_tiny.py").write_text("raise SystemExit('run')\n")
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    hub = StubHub(model)
    yield hub
    hub.close()


def run(code: str, tmp_path: Path, endpoint: str, **environment: str) -> str:
    """Run code in a new process, which reads the hub's address when it starts."""
    values = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_ETAG_TIMEOUT": "5",
        "VSSNATIVE_CACHE": str(tmp_path / "cache"),
        **environment,
    }
    head = "import json, numpy as np\nfrom vssnative.embedding import from_config, get_embedder\n"
    result = subprocess.run(
        [sys.executable, "-c", head + code],
        capture_output=True,
        text=True,
        env=values,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


FETCH = """
embedder = get_embedder("hf:tiny/model")
np.save({path!r}, embedder.embed_queries({texts!r}))
print(json.dumps(embedder.config()))
"""


def test_a_model_is_fetched_once_pinned_and_used_offline(hub: StubHub, tmp_path: Path) -> None:
    target = str(tmp_path / "vectors.npy")
    output = run(FETCH.format(path=target, texts=TEXTS), tmp_path, hub.url)
    config = json.loads(output)
    assert config == {"kind": "hf", "name": "tiny/model", "repository": "tiny/model", "revision": COMMIT}
    with np.load(FIXTURES / "tiny.npz") as reference:
        np.testing.assert_allclose(np.load(target), reference["prompts/query"], atol=tolerance())
    fetched = {path.rpartition("/")[2] for path in hub.paths if "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert not {name for name in fetched if name.endswith((".py", ".bin"))}

    # From its config, and by its name, with the hub gone and told to stay offline.
    asked = len(hub.paths)
    offline = f"print(from_config({config!r}).digest == get_embedder('hf:tiny/model').digest)"
    assert run(offline, tmp_path, hub.url, HF_HUB_OFFLINE="1") == "True\n"
    argument = "print(get_embedder('hf:tiny/model', offline=True).name)"
    assert run(argument, tmp_path, "http://127.0.0.1:9") == "tiny/model\n"
    assert len(hub.paths) == asked


FAIL = """
from vssnative.errors import ModelNotFoundError, ConfigurationError
try:
    get_embedder({name!r}, **{options!r})
except (ModelNotFoundError, ConfigurationError) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "hf:tiny/other",
            {},
            "ModelNotFoundError model tiny/other: the hub knows no such model, or it is private",
        ),
        (
            "hf:tiny/other",
            {"offline": True},
            "is not in the local cache, and the hub was not asked (offline)",
        ),
        ("hf:../escape", {}, "ConfigurationError hf:../escape: expected hf:owner/name"),
        ("hf:a/b/c", {}, "ConfigurationError hf:a/b/c: expected hf:owner/name"),
        ("hf:", {}, "ConfigurationError hf:: expected hf:owner/name"),
    ],
)
def test_failures_are_sentences(
    name: str, options: dict[str, object], expected: str, hub: StubHub, tmp_path: Path
) -> None:
    output = run(FAIL.format(name=name, options=options), tmp_path, hub.url)
    assert expected in output


def test_a_machine_without_a_network_gets_a_sentence(tmp_path: Path) -> None:
    output = run(FAIL.format(name="hf:tiny/model", options={}), tmp_path, "http://127.0.0.1:9")
    assert output == (
        "ModelNotFoundError model tiny/model is not in the local cache, and the hub cannot be reached from here; "
        "`vssnative model import DIRECTORY --name hf:tiny/model` takes it from a directory of its files\n"
    )


def test_a_hub_that_does_not_answer_is_not_asked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def download(*_: object, local_files_only: bool, **__: object) -> str:
        asked.append(local_files_only)
        raise LocalEntryNotFoundError("not here")

    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        with pytest.raises(ModelNotFoundError, match="cannot be reached from here"):
            fetch("tiny/model", cache_dir=tmp_path)
    assert asked == [True]


def test_a_name_that_is_looked_up_for_ever_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    def connect(*_: object, **__: object) -> None:
        gone.wait()
        raise OSError("no such name")

    monkeypatch.setattr("socket.create_connection", connect)
    try:
        assert not reachable("https://hub.invalid", patience=0.01)
    finally:
        gone.set()


def test_what_lies_behind_a_proxy_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert reachable("https://hub.invalid")
    monkeypatch.setenv("no_proxy", "hub.invalid")
    assert not reachable("https://hub.invalid")


def test_prompts_that_only_the_documentation_states() -> None:
    assert documented_prompts("intfloat/e5-base-v2") == ("query: ", "passage: ")
    assert documented_prompts("BAAI/bge-small-en-v1.5")[1] == ""
    assert documented_prompts("nomic-ai/nomic-embed-text-v1.5") == ("search_query: ", "search_document: ")
    assert documented_prompts("intfloat/multilingual-e5-large-instruct") == ("", "")
    assert documented_prompts("sentence-transformers/all-mpnet-base-v2") == ("", "")
