"""The peers of approximate search, built once and kept in the cache, each a function from a query to the rowids found.

Building is not timed here, so that an index of an earlier run serves again. Vectors have length 1, so every distance
gives the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt

from vssnative.embedding.storage import cache_directory

Matrix = npt.NDArray[np.float32]
Search = Callable[[Matrix], Any]
K = 10


class Peer:
    """A name and its searches, one for each setting, from fast to thorough."""

    def __init__(self, name: str, searches: dict[str, Search]) -> None:
        self.name = name
        self.searches = searches


def _path(rows: int, name: str) -> Path:
    return cache_directory("datasets", "peers") / f"{rows}-{name}"


def faiss_graph(matrix: Matrix) -> Peer:
    import faiss

    path = _path(len(matrix), "hnsw32.faiss")
    if path.is_file():
        graph = faiss.read_index(str(path))
    else:
        graph = faiss.IndexHNSWFlat(matrix.shape[1], 32)
        graph.hnsw.efConstruction = 80
        graph.add(matrix)
        faiss.write_index(graph, str(path))
    faiss.omp_set_num_threads(1)

    def at(ef: int) -> Search:
        def search(query: Matrix) -> Any:
            graph.hnsw.efSearch = ef
            return graph.search(query[None], K)[1][0]

        return search

    return Peer(
        "Faiss HNSW32", {f"efSearch={ef}": at(ef) for ef in (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)}
    )


def faiss_codes(matrix: Matrix) -> Peer:
    import faiss

    name = "IVF1024,PQ192x4fs,RFlat"
    path = _path(len(matrix), "ivf1024.faiss")
    if path.is_file():
        index = faiss.read_index(str(path))
    else:
        index = faiss.index_factory(matrix.shape[1], name)
        index.train(matrix[:100_000])
        index.add(matrix)
        faiss.write_index(index, str(path))
    faiss.omp_set_num_threads(1)
    inner = faiss.extract_index_ivf(index)

    def at(nprobe: int, factor: int) -> Search:
        def search(query: Matrix) -> Any:
            inner.nprobe = nprobe
            index.k_factor = factor
            return index.search(query[None], K)[1][0]

        return search

    settings = [(16, 8), (32, 8), (64, 8), (96, 16), (128, 16), (192, 16), (256, 16), (384, 16)]
    return Peer(f"Faiss {name}", {f"nprobe={n} k_factor={f}": at(n, f) for n, f in settings})


def faiss_flat(matrix: Matrix) -> Peer:
    import faiss

    flat = faiss.IndexFlatL2(matrix.shape[1])
    flat.add(matrix)
    faiss.omp_set_num_threads(1)
    return Peer("Faiss flat", {"": lambda query: flat.search(query[None], K)[1][0]})


def usearch(matrix: Matrix) -> Peer:
    from usearch.index import Index

    index = Index(ndim=matrix.shape[1], metric="l2sq", dtype="f32", connectivity=32, expansion_add=80)
    path = _path(len(matrix), "usearch")
    if path.is_file():
        index.load(str(path))
    else:
        index.add(np.arange(len(matrix)), matrix, threads=2)
        index.save(str(path))

    def at(expansion: int) -> Search:
        def search(query: Matrix) -> Any:
            index.expansion_search = expansion
            return index.search(query, K, threads=1).keys

        return search

    return Peer("usearch", {f"expansion={e}": at(e) for e in (16, 32, 64, 96, 128, 192, 256, 384)})


def hnswlib(matrix: Matrix) -> Peer:
    import hnswlib as library

    index = library.Index(space="l2", dim=matrix.shape[1])
    path = _path(len(matrix), "hnswlib")
    if path.is_file():
        index.load_index(str(path))
    else:
        index.init_index(max_elements=len(matrix), ef_construction=80, M=32)
        index.add_items(matrix, np.arange(len(matrix)), num_threads=2)
        index.save_index(str(path))
    index.set_num_threads(1)

    def at(ef: int) -> Search:
        def search(query: Matrix) -> Any:
            index.set_ef(ef)
            return index.knn_query(query[None], k=K)[0][0]

        return search

    return Peer("hnswlib", {f"ef={ef}": at(ef) for ef in (16, 32, 64, 96, 128, 192, 256, 384)})


def _filled(
    path: Path, extension: str, create: str, insert: str, matrix: Matrix
) -> tuple[apsw.Connection, bool]:
    there = path.is_file()
    conn = apsw.Connection(str(path))
    conn.execute("pragma mmap_size = 4000000000")
    conn.enable_load_extension(True)
    conn.load_extension(extension)
    if not there:
        conn.execute("pragma journal_mode = wal; pragma synchronous = normal")
        conn.execute(create)
        rows: Iterator[tuple[int, bytes]] = ((i, row.tobytes()) for i, row in enumerate(matrix))
        with conn:
            conn.executemany(insert, rows)
    return conn, there


def vectorlite(matrix: Matrix) -> Peer:
    import vectorlite_py

    folder = cache_directory("datasets", "peers")
    stored = folder / f"{len(matrix)}-vectorlite.index"
    conn = apsw.Connection(str(folder / f"{len(matrix)}-vectorlite.db"))
    conn.enable_load_extension(True)
    conn.load_extension(vectorlite_py.vectorlite_path())
    there = conn.execute("select count(*) from sqlite_master where name = 'v'").fetchall() == [(1,)]
    if not there:
        # Its index is in memory; the file is written when the connection closes.
        conn.execute(
            f"create virtual table v using vectorlite(e float32[{matrix.shape[1]}] l2,"
            f" hnsw(max_elements={len(matrix)}, ef_construction=80, M=32), '{stored}')"
        )
        with conn:
            conn.executemany(
                "insert into v(rowid, e) values(?, ?)", ((i, row.tobytes()) for i, row in enumerate(matrix))
            )
        conn.close()
        return vectorlite(matrix)

    def at(ef: int) -> Search:
        sql = f"select rowid from v where knn_search(e, knn_param(?, {K}, {ef}))"
        return lambda query: [row[0] for row in conn.execute(sql, (query.tobytes(),))]

    return Peer("vectorlite", {f"ef={ef}": at(ef) for ef in (32, 64, 128, 256)})


def sqlite_vec(matrix: Matrix) -> Peer:
    import sqlite_vec as library

    conn, _ = _filled(
        _path(len(matrix), "sqlite-vec.db"),
        library.loadable_path(),
        f"create virtual table v using vec0(e float[{matrix.shape[1]}])",
        "insert into v(rowid, e) values(?, ?)",
        matrix,
    )
    sql = f"select rowid from v where e match ? and k = {K}"
    return Peer("sqlite-vec", {"": lambda query: [row[0] for row in conn.execute(sql, (query.tobytes(),))]})


def sqlite_vector(matrix: Matrix) -> Peer:
    import importlib.resources

    binary = importlib.resources.files("sqlite_vector.binaries") / "vector"
    conn, there = _filled(
        _path(len(matrix), "sqlite-vector.db"),
        str(binary),
        "create table v(id integer primary key, e blob)",
        "insert into v(id, e) values(?, ?)",
        matrix,
    )
    conn.execute(
        f"select vector_init('v', 'e', 'dimension={matrix.shape[1]},type=FLOAT32,distance=L2')"
    ).fetchall()
    if not there:
        conn.execute("select vector_quantize('v', 'e')").fetchall()
    conn.execute("select vector_quantize_preload('v', 'e')").fetchall()
    sql = f"select rowid from vector_quantize_scan('v', 'e', ?, {K})"
    return Peer(
        "sqlite-vector, preloaded",
        {"": lambda query: [row[0] for row in conn.execute(sql, (query.tobytes(),))]},
    )


def vec1(matrix: Matrix) -> Peer:
    import apsw.sqlite_extra

    conn, there = _filled(
        _path(len(matrix), "vec1.db"),
        str(apsw.sqlite_extra.path("vec1")),
        "create virtual table v using vec1(e)",
        "insert into v(rowid, e) values(?, ?)",
        matrix,
    )
    if not there:
        # Its training takes a minute for each 40,000 rows.
        [(model,)] = conn.execute(
            """select vec1_train(e, '{"nbucket": 1024, "codesize": 96, "quantizer": "opq"}') from v where rowid % ? = 0""",
            (max(len(matrix) // 50_000, 1),),
        )
        conn.execute("insert into v(cmd, arg) values('rebuild', ?)", (model,))

    def at(nprobe: int) -> Search:
        # Reranking is done in SQL, as its manual says.
        sql = (
            "select rowid from (select rowid, vec1_l2_distance(e, ?1) as d from v(?1, ?2)) order by d limit"
            f" {K}"
        )
        option = f'{{"K": 50, "nprobe": {nprobe}}}'
        return lambda query: [row[0] for row in conn.execute(sql, (query.tobytes(), option))]

    return Peer(
        "vec1, 1,024 buckets, OPQ 96, rerank 50", {f"nprobe={n}": at(n) for n in (16, 32, 51, 102, 205)}
    )
