"""Vectors out of other packages' files, into a vss0 table.

Each source is read as bytes of SQLite tables, so the other package need not be installed:

    sqlite_vec      tables of sqlite-vec (vec0): vectors, metadata, partition keys, auxiliary columns, keys
    vec1            tables of SQLite's vec1
    blobs           blob columns of ordinary tables, as sqlite-vector (sqliteai-vector) searches them
    chroma          a collection in the folder of a chromadb.PersistentClient
    faiss_file      what faiss.write_index wrote

`target.load` makes the table and fills it, in one transaction, and counts.
"""

from __future__ import annotations

from .source import Column, Source
from .target import load

__all__ = ["Column", "Source", "load"]
