"""Real texts and their vectors, for benchmarks: Debian's package descriptions and Python's own docstrings.

    python benchmarks/data.py [--rows 200000] [--queries 1000]

fetches the descriptions with apt into a directory of its own (nothing of the machine's apt state changes), splits
them into short texts (summaries), long texts (whole descriptions) and sentences, adds the standard library's
docstrings, and embeds a fixed sample of all of them with MiniLM. Everything is kept in the cache
(``$VSSNATIVE_CACHE/datasets/debian``), and an interrupted run goes on where it stopped.

Files: ``texts.jsonl`` (one ``[kind, text]`` a line), ``vectors.npy`` float32 (rows, 384),
``vectors_50k.npy`` (the first 50,000 of them), ``queries.jsonl`` and ``queries.npy`` (texts that are not among the
rows).
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vssnative.embedding import get_embedder
from vssnative.embedding.storage import atomic_file, cache_directory

KINDS = ("short", "sentence", "long", "docstring")
# Shares of the sample, in percent: few long texts, since one costs as much time as ten short ones.
_SHARES = {"short": 30, "sentence": 62, "long": 5, "docstring": 3}
_SEED = 20
_STEP = 4096
_EARLY = 50_000
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def dataset_directory() -> Path:
    """Where all files of the data set are."""
    return cache_directory("datasets", "debian")


def source_texts() -> dict[str, list[str]]:
    """Unique texts of each kind, sorted; made once, then read from the cache."""
    path = dataset_directory() / "sources.json"
    if path.is_file():
        sources: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
        return sources
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for summary, paragraphs in _packages(_translations()):
        found["short"].add(summary)
        if paragraphs:
            found["long"].add(f"{summary}. {' '.join(paragraphs)}")
        for paragraph in paragraphs:
            found["sentence"].update(
                sentence for sentence in _SENTENCE_END.split(paragraph) if 20 <= len(sentence) <= 600
            )
    found["docstring"].update(_docstrings())
    sources = {kind: sorted(texts) for kind, texts in found.items()}
    with atomic_file(path) as file:
        file.write(json.dumps(sources).encode())
    return sources


def sample(rows: int, queries: int) -> list[tuple[str, str]]:
    """``rows + queries`` unique texts with their kinds, the same ones every time, in one fixed random order."""
    sources = source_texts()
    wanted = rows + queries
    chooser = random.Random(_SEED)
    chosen: dict[str, str] = {}
    for kind in KINDS:
        texts = sources[kind]
        count = min(len(texts), -(-wanted * _SHARES[kind] // 100))
        for text in chooser.sample(texts, count):
            chosen.setdefault(text, kind)
    spare = [text for text in sources["sentence"] + sources["short"] if text not in chosen]
    chooser.shuffle(spare)
    for text in spare[: max(0, wanted - len(chosen))]:
        chosen[text] = "sentence"
    pairs = [(kind, text) for text, kind in chosen.items()]
    if len(pairs) < wanted:
        raise SystemExit(f"only {len(pairs)} texts were found, {wanted} were asked for")
    chooser.shuffle(pairs)
    return pairs[:wanted]


def build(rows: int, queries: int) -> Path:
    """Make the data set, or go on making it; returns its directory."""
    directory = dataset_directory()
    if _complete(directory, rows, queries):
        return directory
    pairs = sample(rows, queries)
    _write_texts(directory / "texts.jsonl", pairs[:rows])
    _write_texts(directory / "queries.jsonl", pairs[rows:])
    texts = [text for _, text in pairs]
    embedder = get_embedder("minilm")
    with atomic_file(directory / "queries.npy") as file:
        np.save(file, embedder.embed_documents(texts[rows:]))

    partial = directory / f"vectors.{rows}.{queries}.partial"
    row_bytes = embedder.dim * 4
    done = partial.stat().st_size // row_bytes if partial.is_file() else 0
    started, first = time.monotonic(), done
    with partial.open("ab") as file:
        file.truncate(done * row_bytes)
        while done < rows:
            stop = min(done + _STEP, rows)
            file.write(embedder.embed_documents(texts[done:stop]).tobytes())
            file.flush()
            if done < _EARLY <= stop and rows > _EARLY:
                _save(directory / "vectors_50k.npy", partial, _EARLY, embedder.dim)
            done = stop
            rate = (done - first) / (time.monotonic() - started)
            print(f"{done} of {rows} texts, {rate:.0f} a second", file=sys.stderr, flush=True)
    _save(directory / "vectors.npy", partial, rows, embedder.dim)
    partial.unlink()
    return directory


def _complete(directory: Path, rows: int, queries: int) -> bool:
    sizes = {"vectors.npy": rows, "queries.npy": queries}
    for name, count in sizes.items():
        path = directory / name
        if not path.is_file() or np.load(path, mmap_mode="r").shape[0] != count:
            return False
    return True


def _save(target: Path, raw: Path, rows: int, dim: int) -> None:
    with atomic_file(target) as file:
        np.save(file, np.memmap(raw, dtype=np.float32, mode="r", shape=(rows, dim)))


def _write_texts(path: Path, pairs: list[tuple[str, str]]) -> None:
    with atomic_file(path) as file:
        for pair in pairs:
            file.write(json.dumps(pair).encode() + b"\n")


def _translations() -> Iterator[str]:
    """Debian's English descriptions, one file's text after the other."""
    state = dataset_directory() / "apt"
    lists = state / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-o", "Acquire::Languages=en", "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={state}"]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    for path in sorted(lists.glob("*Translation-en*")):
        output = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", str(path)], check=True, capture_output=True
        )
        yield output.stdout.decode("utf-8", "replace")


def _packages(lists: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    """Summary of each package, and its description's paragraphs and list items as running text."""
    for text in lists:
        for stanza in text.split("\n\n"):
            _, found, body = stanza.partition("\nDescription-en: ")
            if not found:
                continue
            summary, *lines = body.split("\n")
            paragraphs = [""]
            for line in lines:
                words = " ".join(line.split())
                if words == "." or words[:2] in ("* ", "- "):
                    paragraphs.append("")
                if words != ".":
                    paragraphs[-1] += f" {words}"
            yield summary.strip(), [text.strip(" *-") for text in paragraphs if text.strip(" *-")]


def _docstrings() -> Iterator[str]:
    """Docstrings of the standard library, read from its sources without importing them."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text and len(text) >= 20:
                    yield text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1_000)
    arguments = parser.parse_args()
    print(build(arguments.rows, arguments.queries))


if __name__ == "__main__":
    main()
