"""Each package as its own README uses it. All keep vectors of rows that have a text and a year; L2 distance.

Where Python's sqlite3 cannot load extensions, the SQLite extensions of others are loaded through apsw. Imports are inside
the classes, because what an import costs is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .kinds import Data, K, Matrix


class Peer:
    """A table in a folder. What a package does not offer raises NotImplementedError."""

    name: str

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        raise NotImplementedError

    def fill(self, data: Data) -> None:
        raise NotImplementedError

    def search(self, query: Matrix) -> list[int]:
        raise NotImplementedError

    def batch(self, queries: Matrix) -> list[list[int]]:
        return [self.search(query) for query in queries]

    def filtered(self, query: Matrix, below: int) -> list[int]:
        raise NotImplementedError

    def delete_odd(self, rows: int) -> None:
        raise NotImplementedError

    def update(self, id: int, vector: Matrix) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def _values(data: Data) -> Iterator[tuple[int, bytes, int, str]]:
    rows = zip(data.matrix, data.years.tolist(), data.texts, strict=True)
    return ((i, vector.tobytes(), year, text) for i, (vector, year, text) in enumerate(rows))


class _Sql(Peer):
    """A virtual table with the columns of a row."""

    extension: str
    create: str
    by_k = f"select rowid from v where e match ? and k = {K}"
    where = " and year < ?"
    conn: Any

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        new = not (folder / "v.db").exists()
        self.conn = self.opened(folder / "v.db")
        if new:
            self.conn.execute(self.create.format(dim=dim, rows=rows, folder=folder))

    def opened(self, path: Path) -> Any:
        import apsw

        conn = apsw.Connection(str(path))
        conn.enable_load_extension(True)
        conn.load_extension(self.loadable())
        return conn

    def loadable(self) -> str:
        raise NotImplementedError

    def fill(self, data: Data) -> None:
        with self.conn:
            self.conn.executemany("insert into v(rowid, e, year, text) values(?, ?, ?, ?)", _values(data))

    def search(self, query: Matrix) -> list[int]:
        return [row[0] for row in self.conn.execute(self.by_k, (query.tobytes(),))]

    def filtered(self, query: Matrix, below: int) -> list[int]:
        return [row[0] for row in self.conn.execute(self.by_k + self.where, (query.tobytes(), below))]

    def delete_odd(self, rows: int) -> None:
        with self.conn:
            self.conn.execute("delete from v where rowid % 2 = 1")

    def update(self, id: int, vector: Matrix) -> None:
        with self.conn:
            self.conn.execute("update v set e = ? where rowid = ?", (vector.tobytes(), id))

    def close(self) -> None:
        self.conn.close()


class OursSql(_Sql):
    name = "vssnative, SQL"
    create = "create virtual table v using vss0(e({dim}), year integer, text text)"

    def opened(self, path: Path) -> Any:
        import vssnative

        return vssnative.connect(path)


class OursExactSql(OursSql):
    name = "vssnative, SQL, index=flat"
    create = "create virtual table v using vss0(e({dim}) index=flat, year integer, text text)"


class OursIndex(Peer):
    """Vectors by numpy, the rest in a table of the user's."""

    name = "vssnative, Index"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        from vssnative import Index, connect

        self.conn = connect(folder / "v.db")
        self.conn.execute("create table if not exists posts(id integer primary key, year integer, text text)")
        self.index = Index(self.conn)

    def fill(self, data: Data) -> None:
        ids = range(len(data.matrix))
        self.conn.executemany(
            "insert into posts values(?, ?, ?)", zip(ids, data.years.tolist(), data.texts, strict=True)
        )
        self.index.add(np.arange(len(data.matrix)), data.matrix)
        self.conn.commit()

    def search(self, query: Matrix) -> list[int]:
        return [int(i) for i in self.index.search(query, K)[0]]

    def batch(self, queries: Matrix) -> list[list[int]]:
        result: list[list[int]] = self.index.search(queries, K)[0].tolist()
        return result

    def filtered(self, query: Matrix, below: int) -> list[int]:
        where = "rowid in (select id from posts where year < ?)"
        return [int(i) for i in self.index.search(query, K, where=where, params=[below])[0] if i >= 0]

    def delete_odd(self, rows: int) -> None:
        self.conn.execute("delete from posts where id % 2 = 1")
        self.index.remove(np.arange(1, rows, 2))
        self.conn.commit()

    def update(self, id: int, vector: Matrix) -> None:
        self.index.add([id], vector[None], replace=True)
        self.conn.commit()

    def close(self) -> None:
        self.conn.close()


class SqliteVec(_Sql):
    name = "sqlite-vec"
    create = "create virtual table v using vec0(e float[{dim}], year integer, +text text)"

    def loadable(self) -> str:
        import sqlite_vec

        return str(sqlite_vec.loadable_path())


class Vec1(_Sql):
    name = "vec1"
    create = "create virtual table v using vec1(e, year, text)"
    by_k = f"select rowid from v(?, {K})"
    where = " where year < ?"

    def loadable(self) -> str:
        import apsw.sqlite_extra

        return str(apsw.sqlite_extra.path("vec1"))


class Vectorlite(_Sql):
    """Its index is in memory and written to a file when the connection closes; text and year are in another table."""

    name = "vectorlite"
    create = (
        "create table posts(id integer primary key, year integer, text text);"
        "create virtual table v using vectorlite(e float32[{dim}], hnsw(max_elements={rows}), '{folder}/v.index')"
    )
    by_k = f"select rowid from v where knn_search(e, knn_param(?, {K}))"
    where = " and rowid in (select id from posts where year < ?)"

    def loadable(self) -> str:
        import vectorlite_py

        return str(vectorlite_py.vectorlite_path())

    def fill(self, data: Data) -> None:
        with self.conn:
            self.conn.executemany("insert into v(rowid, e) values(?, ?)", (row[:2] for row in _values(data)))
            self.conn.executemany(
                "insert into posts values(?, ?, ?)", ((i, y, t) for i, _, y, t in _values(data))
            )

    def delete_odd(self, rows: int) -> None:
        with self.conn:
            self.conn.executemany("delete from v where rowid = ?", ((i,) for i in range(1, rows, 2)))
            self.conn.execute("delete from posts where id % 2 = 1")


class SqliteVector(_Sql):
    """An ordinary table. Its README quantizes and preloads; rows changed later need both again."""

    name = "sqlite-vector, quantized"
    create = "create table v(id integer primary key, e blob, year integer, text text)"
    by_k = f"select rowid from vector_quantize_scan('v', 'e', ?, {K})"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        super().__init__(folder, dim, rows)
        options = f"dimension={dim},type=FLOAT32,distance=L2"
        self.conn.execute(f"select vector_init('v', 'e', '{options}')").fetchall()
        if self.conn.execute("select count(*) from sqlite_master where name like '%vector0%'").fetchone()[0]:
            self.conn.execute("select vector_quantize_preload('v', 'e')").fetchall()

    def loadable(self) -> str:
        import importlib.resources

        return str(importlib.resources.files("sqlite_vector.binaries") / "vector")

    def fill(self, data: Data) -> None:
        with self.conn:
            self.conn.executemany("insert into v(id, e, year, text) values(?, ?, ?, ?)", _values(data))
        self.refresh()

    def refresh(self) -> None:
        self.conn.execute("select vector_quantize('v', 'e')").fetchall()

    def filtered(self, query: Matrix, below: int) -> list[int]:
        sql = (
            "select v.id from v join vector_quantize_scan_stream('v', 'e', ?) as s on s.rowid = v.id"
            f" where v.year < ? order by s.distance limit {K}"
        )
        return [row[0] for row in self.conn.execute(sql, (query.tobytes(), below))]

    def delete_odd(self, rows: int) -> None:
        super().delete_odd(rows)
        self.refresh()

    def update(self, id: int, vector: Matrix) -> None:
        super().update(id, vector)
        self.refresh()


class LanceDb(Peer):
    name = "lancedb"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        import lancedb

        self.db = lancedb.connect(str(folder))
        self.table: Any = self.db.open_table("v") if (folder / "v.lance").exists() else None
        self.dim = dim

    def fill(self, data: Data) -> None:
        import pyarrow as pa

        flat = pa.array(data.matrix.reshape(-1))
        columns = {
            "id": pa.array(np.arange(len(data.matrix))),
            "vector": pa.FixedSizeListArray.from_arrays(flat, self.dim),
            "year": pa.array(data.years),
            "text": pa.array(data.texts),
        }
        self.table = self.db.create_table("v", pa.table(columns))

    def search(self, query: Matrix) -> list[int]:
        return [row["id"] for row in self.table.search(query).limit(K).to_list()]

    def batch(self, queries: Matrix) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in queries]
        for row in self.table.search(list(queries)).limit(K).to_list():
            found[row["query_index"]].append(row["id"])
        return found

    def filtered(self, query: Matrix, below: int) -> list[int]:
        return [row["id"] for row in self.table.search(query).where(f"year < {below}").limit(K).to_list()]

    def delete_odd(self, rows: int) -> None:
        self.table.delete("id % 2 = 1")

    def update(self, id: int, vector: Matrix) -> None:
        self.table.update(where=f"id = {id}", values={"vector": vector.tolist()})


class Chroma(Peer):
    name = "chromadb"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        import chromadb

        self.client = chromadb.PersistentClient(str(folder))
        self.collection = self.client.get_or_create_collection("rows")

    def _parts(self, ids: Iterable[int]) -> Iterator[list[int]]:
        numbers, most = list(ids), self.client.get_max_batch_size()
        return (numbers[i : i + most] for i in range(0, len(numbers), most))

    def fill(self, data: Data) -> None:
        for part in self._parts(range(len(data.matrix))):
            self.collection.add(
                ids=[str(i) for i in part],
                embeddings=data.matrix[part[0] : part[-1] + 1],  # type: ignore[arg-type]
                documents=[data.texts[i] for i in part],
                metadatas=[{"year": int(data.years[i])} for i in part],
            )

    def search(self, query: Matrix) -> list[int]:
        return self.batch(query[None])[0]

    def batch(self, queries: Matrix) -> list[list[int]]:
        found = self.collection.query(query_embeddings=queries, n_results=K)  # type: ignore[arg-type]
        return [[int(i) for i in ids] for ids in found["ids"]]

    def filtered(self, query: Matrix, below: int) -> list[int]:
        found = self.collection.query(
            query_embeddings=query[None],  # type: ignore[arg-type]
            n_results=K,
            where={"year": {"$lt": below}},
        )
        return [int(i) for i in found["ids"][0]]

    def delete_odd(self, rows: int) -> None:
        for part in self._parts(range(1, rows, 2)):
            self.collection.delete(ids=[str(i) for i in part])

    def update(self, id: int, vector: Matrix) -> None:
        self.collection.update(ids=[str(id)], embeddings=vector[None])  # type: ignore[arg-type]


class Zvec(Peer):
    """By its README a flat index."""

    name = "zvec"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        import zvec

        self.zvec = zvec
        path = folder / "v"
        if path.exists():
            self.collection = zvec.open(str(path))
            return
        schema = zvec.CollectionSchema(
            name="rows",
            fields=[
                zvec.FieldSchema("year", zvec.DataType.INT64),
                zvec.FieldSchema("text", zvec.DataType.STRING),
            ],
            vectors=zvec.VectorSchema("e", zvec.DataType.VECTOR_FP32, dim, self.kind()),
        )
        self.collection = zvec.create_and_open(str(path), schema)

    def kind(self) -> Any:
        return self.zvec.FlatIndexParam(self.zvec.MetricType.L2)

    def fill(self, data: Data) -> None:
        made = [
            self.zvec.Doc(
                id=str(i),
                vectors={"e": vector},
                fields={"year": int(data.years[i]), "text": data.texts[i]},
            )
            for i, vector in enumerate(data.matrix)
        ]
        for first in range(0, len(made), 1000):
            self.collection.insert(made[first : first + 1000])
        self.collection.optimize()
        self.collection.flush()

    def _ids(self, query: Matrix, **more: Any) -> list[int]:
        found = self.collection.query(self.zvec.Query("e", vector=query), topk=K, output_fields=[], **more)
        return [int(doc.id) for doc in found]

    def search(self, query: Matrix) -> list[int]:
        return self._ids(query)

    def filtered(self, query: Matrix, below: int) -> list[int]:
        return self._ids(query, filter=f"year < {below}")

    def delete_odd(self, rows: int) -> None:
        ids = [str(i) for i in range(1, rows, 2)]
        for first in range(0, len(ids), 1000):
            self.collection.delete(ids[first : first + 1000])
        self.collection.flush()

    def update(self, id: int, vector: Matrix) -> None:
        self.collection.update(self.zvec.Doc(id=str(id), vectors={"e": vector}))
        self.collection.flush()

    def close(self) -> None:
        self.collection.close()


class ZvecGraph(Zvec):
    name = "zvec, HNSW"

    def kind(self) -> Any:
        return self.zvec.HnswIndexParam(self.zvec.MetricType.L2)


class FaissFlat(Peer):
    """In memory: vectors alone, written to a file by hand."""

    name = "faiss, IndexFlatL2"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        import faiss

        self.path = folder / "v.faiss"
        self.faiss = faiss
        self.index = faiss.read_index(str(self.path)) if self.path.exists() else faiss.IndexFlatL2(dim)

    def fill(self, data: Data) -> None:
        self.index.add(data.matrix)
        self.faiss.write_index(self.index, str(self.path))

    def search(self, query: Matrix) -> list[int]:
        return self.batch(query[None])[0]

    def batch(self, queries: Matrix) -> list[list[int]]:
        result: list[list[int]] = self.index.search(queries, K)[1].tolist()
        return result


class HnswLib(Peer):
    """In memory: vectors alone. M, ef_construction and ef are those of its README."""

    name = "hnswlib"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        import hnswlib

        self.path, self.rows = folder / "v.hnsw", rows
        self.index = hnswlib.Index(space="l2", dim=dim)
        if self.path.exists():
            self.index.load_index(str(self.path))
            self.index.set_ef(50)

    def fill(self, data: Data) -> None:
        self.index.init_index(max_elements=self.rows, ef_construction=200, M=16)
        self.index.add_items(data.matrix, np.arange(self.rows))
        self.index.save_index(str(self.path))

    def search(self, query: Matrix) -> list[int]:
        return self.batch(query[None])[0]

    def batch(self, queries: Matrix) -> list[list[int]]:
        result: list[list[int]] = self.index.knn_query(queries, k=K)[0].tolist()
        return result

    def delete_odd(self, rows: int) -> None:
        for i in range(1, rows, 2):
            self.index.mark_deleted(i)
        self.index.save_index(str(self.path))

    def update(self, id: int, vector: Matrix) -> None:
        self.index.add_items(vector[None], [id])
        self.index.save_index(str(self.path))


class USearch(Peer):
    """In memory: vectors alone."""

    name = "usearch"

    def __init__(self, folder: Path, dim: int, rows: int) -> None:
        from usearch.index import Index

        self.path = folder / "v.usearch"
        self.index = Index(ndim=dim, metric="l2sq")
        if self.path.exists():
            self.index.load(str(self.path))

    def fill(self, data: Data) -> None:
        self.index.add(np.arange(len(data.matrix)), data.matrix)
        self.index.save(str(self.path))

    def search(self, query: Matrix) -> list[int]:
        return [int(i) for i in self.index.search(query, K).keys]

    def batch(self, queries: Matrix) -> list[list[int]]:
        return [[int(i) for i in keys] for keys in self.index.search(queries, K).keys]

    def delete_odd(self, rows: int) -> None:
        self.index.remove(np.arange(1, rows, 2))
        self.index.save(str(self.path))

    def update(self, id: int, vector: Matrix) -> None:
        self.index.remove(id)
        self.index.add(id, vector)
        self.index.save(str(self.path))


ALL: dict[str, type[Peer]] = {
    kind.name: kind
    for kind in (
        OursSql,
        OursIndex,
        OursExactSql,
        SqliteVec,
        Vec1,
        Vectorlite,
        SqliteVector,
        Zvec,
        ZvecGraph,
        LanceDb,
        Chroma,
        FaissFlat,
        HnswLib,
        USearch,
    )
}
