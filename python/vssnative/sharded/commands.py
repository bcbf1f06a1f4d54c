"""``vssnative shards``: each command is one call of `ShardedIndex`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import _display as display
from .._words import counted
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .index import ShardedIndex

__all__ = ["app"]

app = typer.Typer(
    help="An index of many files, served by this machine or a Ray cluster.", no_args_is_help=True
)

Url = Annotated[
    str, typer.Argument(help="The directory or URL of the index.", show_default=False, metavar="URL")
]
EngineOption = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Who serves and writes the shards.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for other programs.")]
Numbers = Annotated[
    Path,
    typer.Argument(
        help="A .npy file of float32 (n, dim).",
        exists=True,
        dir_okay=False,
        show_default=False,
        metavar="MATRIX",
    ),
]


@app.command()
def create(
    url: Url,
    dim: Annotated[int, typer.Option(help="Dimensions of a vector.", show_default=False)],
    shards: Annotated[int, typer.Option(help="How many files.")] = 8,
    metric: Annotated[str, typer.Option(help="l2, inner_product, cosine, l1, hamming or another.")] = "l2",
    type: Annotated[str, typer.Option(help="float32, float16, bfloat16, int8 or bit.")] = "float32",
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column for --where, as NAME:TYPE, for example company:text; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an empty index.

    Example: vssnative shards create posts.shards --dim 384 --column company:text
    """
    from .index import ShardedIndex

    columns = {}
    for text in column or []:
        name, colon, kind = text.partition(":")
        if not colon:
            raise ConfigurationError(f"--column: expected NAME:TYPE, got {text!r}")
        columns[name] = kind
    with ShardedIndex.create(
        url, dim, metric, shards=shards, type=type, columns=columns, engine="local"
    ) as index:
        words = f"{index.url}: an empty index of {shards} shards, {dim} dimensions, {index.settings.metric}"
        _tell(as_json, words, url=index.url, shards=shards, dim=dim, metric=index.settings.metric)


@app.command()
def add(
    url: Url,
    matrix: Numbers,
    ids: Annotated[
        Path,
        typer.Option(help="A .npy file of integers (n,).", exists=True, dir_okay=False, show_default=False),
    ],
    columns: Annotated[
        Path | None,
        typer.Option(
            help="A .json file: an object of names and lists of n values.", exists=True, dir_okay=False
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace rows whose ids are there.")] = False,
    stage: Annotated[
        bool, typer.Option("--stage", help="Keep the rows for 'publish', do not show them yet.")
    ] = False,
    engine: EngineOption = "local",
    as_json: AsJson = False,
) -> None:
    """Add the rows of a matrix and publish them, all or none.

    Example: vssnative shards add posts.shards vectors.npy --ids ids.npy
    """
    values = None if columns is None else _columns_of(columns)
    with _opened(url, engine) as index:
        vectors = _array(matrix)
        version = index.add(_array(ids), vectors, values, replace=replace, publish=not stage)
        what = "staged; 'vssnative shards publish' shows them" if stage else f"published as version {version}"
        words = f"{index.url}: {counted(len(vectors), 'row')} {what}"
        _tell(as_json, words, url=index.url, rows=len(vectors), staged=stage, version=version)


@app.command()
def search(
    url: Url,
    queries: Annotated[
        str,
        typer.Argument(
            help="A .npy file of float32 (nq, dim), or a text.", show_default=False, metavar="QUERIES"
        ),
    ],
    k: Annotated[int, typer.Option("-k", help="How many rows for each query.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="A condition in SQL over id and the index's columns.")
    ] = None,
    recall: Annotated[float | None, typer.Option(help="Share of true neighbours wanted; 1 is exact.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Show what there is if a shard fails.")] = False,
    as_json: AsJson = False,
    engine: EngineOption = "local",
) -> None:
    """Find the nearest rows for each row of a matrix, or for a text.

    Example: vssnative shards search posts.shards queries.npy --where "id > 9"
    """
    import numpy as np

    wanted: Any = queries
    if queries.endswith(".npy"):
        if not Path(queries).is_file():
            raise ConfigurationError(f"{queries}: there is no such file")
        wanted = _array(Path(queries))
    with _opened(url, engine) as index:
        found = index.search(wanted, k, where=where, recall=recall, timeout=timeout, partial=partial)
    ids, distances = np.atleast_2d(found[0]), np.atleast_2d(found[1])
    for shard, reason in (found.missing if partial else {}).items():
        typer.echo(f"missing: shard {shard}: {reason}", err=True)
    rows = [
        (query, rank + 1, int(ids[query, rank]), float(distances[query, rank]))
        for query in range(len(ids))
        for rank in range(ids.shape[1])
        if np.isfinite(distances[query, rank])
    ]
    headers = ("query", "rank", "id", "distance")
    if as_json:
        for row in rows:
            typer.echo(display.json_line(dict(zip(headers, row, strict=True))))
    else:
        display.console().print(display.rows_table(url, headers, [(q, r, str(i), d) for q, r, i, d in rows]))


@app.command()
def status(url: Url, as_json: AsJson = False) -> None:
    """Say what the catalog knows: version, shards, rows, bytes, staged changes.

    Example: vssnative shards status posts.shards
    """
    with _opened(url, "local") as index:
        found = index.status()
        versions = index.versions()
    if as_json:
        typer.echo(display.json_line(dataclasses.asdict(found)))
        return
    console = display.console()
    told: dict[str, Any] = {
        name: value
        for name, value in dataclasses.asdict(found).items()
        if name not in ("shards", "versions", "of")
    }
    told["shards"] = f"{len(found.shards)} with rows, of {found.of}"
    console.print(display.pairs_table(url, told))
    console.print(
        display.rows_table(
            "versions", ("version", "rows", "what"), [(v.number, v.rows, v.note) for v in versions]
        )
    )


@app.command()
def publish(url: Url, engine: EngineOption = "local", as_json: AsJson = False) -> None:
    """Publish all staged changes as one version.

    Example: vssnative shards publish posts.shards
    """
    with _opened(url, engine) as index:
        version = index.publish()
        words = f"{index.url}: version {version} with {counted(len(index), 'row')}"
        _tell(as_json, words, url=index.url, version=version, rows=len(index))


@app.command()
def rollback(
    url: Url,
    version: Annotated[
        int, typer.Argument(help="The version to go back to.", show_default=False, metavar="VERSION")
    ],
    as_json: AsJson = False,
) -> None:
    """Make an older version the current one.

    Example: vssnative shards rollback posts.shards 3
    """
    with _opened(url, "local") as index:
        current = index.rollback(version)
        words = f"{index.url}: version {current} is current, with {counted(len(index), 'row')}"
        _tell(as_json, words, url=index.url, version=current, rows=len(index))


@app.command()
def rebalance(
    url: Url,
    shards: Annotated[
        int, typer.Argument(help="How many shards there shall be.", show_default=False, metavar="SHARDS")
    ],
    engine: EngineOption = "local",
    as_json: AsJson = False,
) -> None:
    """Spread the rows over another number of shards, as a new version.

    Example: vssnative shards rebalance posts.shards 16
    """
    with _opened(url, engine) as index:
        version = index.rebalance(shards)
        words = f"{index.url}: version {version} has {counted(shards, 'shard')}, {counted(len(index), 'row')}"
        _tell(as_json, words, url=index.url, version=version, shards=shards, rows=len(index))


@app.command()
def vacuum(
    url: Url, keep: Annotated[int, typer.Option(help="Versions to keep.")] = 2, as_json: AsJson = False
) -> None:
    """Remove old versions and files that nobody names.

    Example: vssnative shards vacuum posts.shards --keep 3
    """
    with _opened(url, "local") as index:
        removed = index.vacuum(keep)
        _tell(as_json, f"{index.url}: {counted(removed, 'file')} removed", url=index.url, removed=removed)


@app.command()
def verify(
    url: Url,
    sample: Annotated[int, typer.Option(help="Rows to measure the recall with; 0 measures none.")] = 100,
    recall: Annotated[float, typer.Option(help="The recall to ask for.")] = 0.95,
    as_json: AsJson = False,
    engine: EngineOption = "local",
) -> None:
    """Compare every shard with the catalog, look for damage, and measure recall. Exit code 1 if something is wrong.

    Example: vssnative shards verify posts.shards
    """
    with _opened(url, engine) as index:
        found = index.verify(sample, recall=recall)
    if as_json:
        typer.echo(display.json_line(dataclasses.asdict(found)))
    else:
        for problem in found.problems:
            typer.echo(display.printable(problem))
        reached = "not measured" if found.recall is None else f"{found.recall:.3f} for {found.asked:g} asked"
        state = counted(len(found.problems), "problem") if found.problems else "all well"
        typer.echo(
            f"{url}: {state}; {counted(found.shards, 'shard')}, {counted(found.rows, 'row')}; recall {reached}"
        )
    if found.problems:
        raise typer.Exit(1)


def _tell(as_json: bool, words: str, **values: object) -> None:
    typer.echo(display.json_line(values) if as_json else display.printable(words))


def _columns_of(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ConfigurationError(f"{path}: expected a JSON object, {error}") from None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{path}: expected a JSON object of names and lists, got a {type(found).__name__}"
        )
    return found


@contextlib.contextmanager
def _opened(url: str, engine: Literal["local", "ray"]) -> Iterator[ShardedIndex]:
    from .index import ShardedIndex

    with ShardedIndex(url, engine=engine) as index:
        yield index


def _array(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ConfigurationError(f"{path} is no .npy file of numbers, as numpy.save writes it") from None
