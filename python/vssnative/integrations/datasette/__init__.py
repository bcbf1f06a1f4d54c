"""Datasette: a search page for each table that has embeddings, and vss0 in its SQL.

A plugin, found by Datasette through the package's entry point. It writes nothing.

    /database/table/-/vss         the page: by meaning, by words or both, with facets, snippets and similar rows
    /database/table/-/vss.json    the same as JSON

``select rowid from vss_posts where title_embedding match vss_embed('some words') and k = 5`` works in SQL pages and canned
queries. Settings, under ``plugins: vssnative:`` of the metadata, for all, a database or a table: ``allow`` (who may use
the page, as Datasette's own ``allow``), and for all or a database ``embed: false`` (no ``vss_embed`` in SQL).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from datasette import hookimpl
from datasette.utils import actor_matches_allow

from ..._connection import load
from ..._loading import load as load_with
from ._page import may_search, path_of, search_page
from ._tables import InnerTables, refuse_changes

Asked = Callable[[], Awaitable[Any]]

_known = InnerTables()


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def prepare_connection(conn: Any, database: str, datasette: Any) -> None:
    """Called by Datasette with each new connection."""
    settings = datasette.plugin_config("vssnative", database=database) or {}
    if settings.get("embed", True):
        load_with(conn, embed=True)
    else:
        load(conn)
    refuse_changes(conn)


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def register_routes() -> list[tuple[str, Any]]:
    """The page and its JSON."""
    return [(r"^/(?P<database>[^/]+)/(?P<table>[^/]+)/-/vss(?P<json>\.json)?$", search_page)]


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def get_metadata(datasette: Any) -> dict[str, Any]:
    """Inner tables are hidden from lists of tables."""
    return {
        "databases": {
            name: {"tables": {table: {"hidden": True} for table in tables}}
            for name, tables in _known.of_all(datasette).items()
        }
    }


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def permission_allowed(datasette: Any, actor: Any, action: str, resource: Any) -> Asked | None:
    """Inner tables are seen by those who may see the tables that they are of; ``vss-search`` by its own settings."""
    if action == "view-database":

        async def look() -> None:
            # Asked before every list of tables: what is hidden is then up to date.
            await _known.refresh(datasette, resource)

        return look
    if action == "view-table" and isinstance(resource, tuple):

        async def owners_are_visible() -> bool | None:
            database, table = resource
            for owner in await _known.owners(datasette, database, table):
                permissions = [
                    ("view-table", (database, owner)),
                    ("view-database", database),
                    "view-instance",
                ]
                visible, _ = await datasette.check_visibility(actor, permissions=permissions)
                if not visible:
                    return False
            return None

        return owners_are_visible
    if action == "vss-search" and isinstance(resource, tuple):

        async def by_settings() -> bool | None:
            database, table = resource
            settings = datasette.plugin_config("vssnative", database=database, table=table) or {}
            allow = settings.get("allow")
            return None if allow is None else bool(actor_matches_allow(actor, allow))

        return by_settings
    return None


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def table_actions(datasette: Any, actor: Any, database: str, table: str) -> Asked:
    """The link from a table's own page."""

    async def link() -> list[dict[str, str]]:
        if table in await _known.sources(datasette, database) and await may_search(
            datasette, actor, database, table
        ):
            return [{"href": path_of(datasette, database, table), "label": "Search by meaning"}]
        return []

    return link


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def database_actions(datasette: Any, actor: Any, database: str) -> Asked:
    """The links from a database's page."""

    async def links() -> list[dict[str, str]]:
        return [
            {"href": path_of(datasette, database, table), "label": f"Search {table} by meaning"}
            for table in await _known.sources(datasette, database)
            if await may_search(datasette, actor, database, table)
        ]

    return links
