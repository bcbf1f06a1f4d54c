"""Django: vss0 in every SQLite connection, vectors as fields, embeddings declared in Meta, searches as querysets.

INSTALLED_APPS = [..., "vssnative.integrations.django"]

class Post(models.Model):
    title = models.CharField(max_length=100)
    body = models.TextField()
    objects = SearchManager()

    class Meta:
        indexes = [EmbeddedIndex(fields=["title", "body"])]

Post.objects.filter(company="acme").search("sqlite vector search")[:5]

fields         VectorField
distances      L2Distance, CosineDistance, MaxInnerProduct, L1Distance
indexes        EmbeddedIndex
querysets      SearchQuerySet, SearchManager
operations     AddEmbeddings, ChangeModel: operations of migrations, for what is not declared
admin          SearchAdmin
calls          search, sync, status
schema         the part of Django's schema editor that knows of embeddings
checks         system checks
apps           the application
"""

from __future__ import annotations

from .calls import search, status, sync
from .distances import CosineDistance, L1Distance, L2Distance, MaxInnerProduct
from .fields import VectorField
from .indexes import EmbeddedIndex
from .operations import AddEmbeddings, ChangeModel
from .querysets import SearchManager, SearchQuerySet

__all__ = [
    "AddEmbeddings",
    "ChangeModel",
    "CosineDistance",
    "EmbeddedIndex",
    "L1Distance",
    "L2Distance",
    "MaxInnerProduct",
    "SearchManager",
    "SearchQuerySet",
    "VectorField",
    "search",
    "status",
    "sync",
]
