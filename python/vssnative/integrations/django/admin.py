"""The search box of Django's admin, by meaning."""

from __future__ import annotations

from typing import Any

from .querysets import SearchQuerySet


class SearchAdmin:
    """A mixin: ``class PostAdmin(SearchAdmin, admin.ModelAdmin)``. Its search box finds by meaning, nearest first.

    Filters of the list hold inside the search. The model's manager need not be a ``SearchManager``.

    Attributes:
        vss_limit: how many rows a search shows at most.
        vss_options: further arguments of ``SearchQuerySet.search``.
    """

    vss_limit = 200
    vss_options: dict[str, Any] = {}
    search_fields: Any = ("pk",)
    model: Any

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if not search_term.strip():
            return queryset, False
        searching = SearchQuerySet(self.model, query=queryset.query.chain(), using=queryset._db)
        return searching.search(search_term, self.vss_limit, **self.vss_options), False
