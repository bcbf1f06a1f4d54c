"""Texts a second of every level, precision and backend that this machine has, in one run, and beside them its peaks.

    python benchmarks/encoder/levels.py [--rounds 5] [--texts FILE] [--site DIRECTORY] [--json FILE] [--scalar] [--accuracy] [--memory]

Texts: lines of FILE, by default first lines of the standard library's docstrings. Workloads: short (a line each), eight joined,
mixed, and a short one in each call, as searches by text have it. Rounds alternate between the variants, so a disturbance of
the machine meets all alike; shown are medians, and the median of each round's ratio to the first variant, in brackets that of
the process's processor time, which others on the machine disturb less. Peaks are those of independent instructions (peak.cpp,
built by g++), measured in every round on all threads; the share, of processor time, is of a thread's peak at 21.3 MFLOP a token (three times that for
float32 on AMX, where a product is three), tokenization included. `--site` names the site-packages of another
environment with torch and sentence-transformers, which is then one more variant. `--accuracy` adds the least cosine on the
tests' 1,100 texts, `--memory` the MB of a new process at its largest that embeds the short texts.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = int(os.environ.setdefault("VSSNATIVE_THREADS", "2"))
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

import numpy as np

from vssnative import _core
from vssnative.embedding import OnnxEmbedder, get_embedder
from vssnative.embedding.minilm import minilm_directory
from vssnative.embedding.native_encoder import NativeEncoder

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "tests" / "fixtures" / "embedding"
FLOP_PER_TOKEN = 21.3e6
UNITS = {"scalar": None, "avx2": "avx2", "avx512": "avx512", "avx512bf16": "avx512bf16", "amx": "amx"}

ALONE = "one a call"

Encode = Callable[[list[str]], Any]


def lines_of_docstrings() -> list[str]:
    """First lines of the docstrings of the standard library's functions."""
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                found.append(" ".join(text.split("\n\n")[0].split()))
    return found


def workloads(lines: list[str], scale: float) -> dict[str, list[str]]:
    chooser = np.random.default_rng(6)

    def some(count: int, joined: int) -> list[str]:
        rows = chooser.integers(len(lines), size=(int(count * scale), joined))
        return [" ".join(lines[i] for i in row) for row in rows]

    mixed = some(160, 1) + some(40, 8)
    chooser.shuffle(mixed)  # type: ignore[arg-type]
    return {"short": some(480, 1), "eight joined": some(96, 8), "mixed": mixed, ALONE: some(160, 1)}


def encode_all(encode: Encode, name: str, texts: list[str]) -> None:
    """The texts of a workload, in as many calls as it has."""
    for call in [[text] for text in texts] if name == ALONE else [texts]:
        encode(call)


def native(level: str, precision: str) -> Encode:
    embedder = get_embedder("minilm", threads=THREADS, precision=precision)
    assert isinstance(embedder, OnnxEmbedder)
    embedder._encoder = NativeEncoder(minilm_directory(), level, precision)
    return embedder.embed_documents


def backend(name: str, precision: str) -> Encode:
    return get_embedder("minilm", threads=THREADS, backend=name, precision=precision).embed_documents


def sentence_transformers(_: str, __: str) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(minilm_directory()), device="cpu")
    return lambda texts: model.encode(texts, batch_size=32, convert_to_numpy=True)


MAKERS: dict[str, Callable[[str, str], Encode]] = {
    **dict.fromkeys(("scalar", "avx2", "avx512", "avx512bf16", "amx", "neon", "neonbf16"), native),
    "onnxruntime": backend,
    "openvino": backend,
    "sentence-transformers": sentence_transformers,
}


def variants(*, scalar: bool) -> list[tuple[str, str]]:
    """Name and precision, the first one what the others are compared with."""
    levels = [level for level in _core.encoder_levels() if level != "scalar"] or ["scalar"]
    found = [(level, "float32") for level in levels if level not in ("avx512bf16", "neonbf16")]
    found += [(level, "bfloat16") for level in levels if level in ("avx512bf16", "amx", "neonbf16")]
    if scalar and levels != ["scalar"]:
        found.append(("scalar", "float32"))
    return [
        *found,
        ("onnxruntime", "float32"),
        ("openvino", "float32"),
        ("openvino", "bfloat16"),
        ("sentence-transformers", "float32"),
    ]


def peaks(program: Path) -> dict[str, float]:
    """GFLOP/s of each unit, all threads at once."""
    children = [subprocess.Popen([program], stdout=subprocess.PIPE, text=True) for _ in range(THREADS)]
    total: dict[str, float] = {}
    for child in children:
        for line in child.communicate()[0].splitlines():
            unit, value = line.split()
            total[unit] = total.get(unit, 0.0) + float(value)
    return total


def memory_of(name: str, precision: str, arguments: argparse.Namespace) -> float:
    """MB of a new process at its largest that has embedded the short texts once."""
    command = [sys.executable, __file__, "--alone", name, precision]
    if arguments.site:
        command += ["--site", str(arguments.site)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def least_cosine(encode: Encode) -> float:
    texts = json.loads((FIXTURES / "texts.json").read_text(encoding="utf-8"))
    vectors = np.asarray(encode(texts), dtype=np.float64)
    return float((vectors * np.load(FIXTURES / "vectors.npy")).sum(axis=1).min())


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    lines = (
        arguments.texts.read_text(encoding="utf-8").splitlines() if arguments.texts else lines_of_docstrings()
    )
    rows = workloads([line for line in lines if line.strip()], arguments.scale)
    tokenizer = get_embedder("minilm").tokenizer  # type: ignore[attr-defined]
    tokens = {name: int(tokenizer.encode(texts).lengths.sum()) for name, texts in rows.items()}
    made: dict[str, Encode] = {}
    result: dict[str, Any] = {"cpu": cpu_name(), "threads": THREADS, "tokens": tokens, "missing": {}}
    for name, precision in variants(scalar=arguments.scalar):
        try:
            made[f"{name} {precision}"] = MAKERS[name](name, precision)
            made[f"{name} {precision}"](rows["mixed"][:64])
        except Exception as error:  # noqa: BLE001 - whatever keeps one from running is reported
            made.pop(f"{name} {precision}", None)
            result["missing"][name] = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
    rates: dict[str, dict[str, list[float]]] = {label: {name: [] for name in rows} for label in made}
    spent: dict[str, dict[str, list[float]]] = {label: {name: [] for name in rows} for label in made}
    tokenizing: dict[str, list[float]] = {name: [] for name in rows}
    units: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "peak"
        subprocess.run(["g++", "-O2", "-std=c++20", HERE / "peak.cpp", "-o", program], check=True)
        for _ in range(arguments.rounds):
            units.append(peaks(program))
            for name, texts in rows.items():
                for label, encode in made.items():
                    start, busy = time.perf_counter(), time.process_time()
                    encode_all(encode, name, texts)
                    rates[label][name].append(len(texts) / (time.perf_counter() - start))
                    spent[label][name].append(time.process_time() - busy)
                busy = time.process_time()
                tokenizer.encode(texts)
                tokenizing[name].append(time.process_time() - busy)
    result["peaks"] = {unit: statistics.median(one[unit] for one in units) for unit in units[0]}
    result["tokenizing"] = {name: statistics.median(values) for name, values in tokenizing.items()}
    result["rates"], result["processor seconds"] = rates, spent
    result["counts"] = {name: len(texts) for name, texts in rows.items()}
    if arguments.memory:
        result["memory"] = {label: memory_of(*label.rsplit(" ", 1), arguments) for label in made}
    if arguments.accuracy:
        result["least cosine"] = {label: least_cosine(encode) for label, encode in made.items()}
    return result


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def show(result: dict[str, Any]) -> None:
    print(f"{result['cpu']}, {result['threads']} threads, load {os.getloadavg()[0]:.1f} at the end")
    print("peaks, GFLOP/s:", {unit: round(value) for unit, value in result["peaks"].items()})
    first = next(iter(result["rates"]))
    print("| variant |", " | ".join(result["counts"]), "| MB | least cosine |")
    print("| --- |", " --- |" * (len(result["counts"]) + 2))
    for label, rates in result["rates"].items():
        cells = []
        unit = UNITS.get(label.split()[0])
        if unit is not None and label.endswith("float32"):
            unit = "avx512" if unit == "avx512bf16" else unit
        for name, values in rates.items():
            rate = statistics.median(values)
            ratio = statistics.median(
                a / b for a, b in zip(values, result["rates"][first][name], strict=True)
            )
            spent = result["processor seconds"]
            busy = statistics.median(
                a / b for a, b in zip(spent[first][name], spent[label][name], strict=True)
            )
            cell = f"{rate:,.0f}, {ratio:.2f} x ({busy:.2f} x)"
            if unit in result["peaks"]:
                # Of a second of one thread, whatever the others on the machine do.
                products = 3 if label == "amx float32" else 1
                flop = (
                    products * result["tokens"][name] * FLOP_PER_TOKEN / statistics.median(spent[label][name])
                )
                cell += f", {flop / 1e9 / (result['peaks'][unit] / result['threads']):.2f}"
            cells.append(cell)
        cosine = result.get("least cosine", {}).get(label)
        memory = result.get("memory", {}).get(label)
        print(
            f"| {label} |",
            " | ".join(cells),
            f"| {'' if memory is None else round(memory)} |",
            f"{cosine or '':.7} |",
        )
    for label, spent in result["processor seconds"].items():
        shares = {
            name: result["tokenizing"][name] / statistics.median(values) for name, values in spent.items()
        }
        print(f"tokenization's share of {label}:", {name: round(share, 3) for name, share in shares.items()})
    for name, reason in result["missing"].items():
        print(f"left out: {name}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="times the texts of each workload")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--site", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scalar", action="store_true", help="the scalar level too, which is slow")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--alone", nargs=2, metavar=("NAME", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.site:
        sys.path.append(str(arguments.site))
    if arguments.alone:
        name, precision = arguments.alone
        MAKERS[name](name, precision)(workloads(lines_of_docstrings(), 1.0)["short"])
        # Not ru_maxrss, which begins with what the parent had when it forked.
        status = Path("/proc/self/status").read_text()
        print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        return
    result = run(arguments)
    show(result)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
