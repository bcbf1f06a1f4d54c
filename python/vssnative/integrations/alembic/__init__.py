"""Alembic: vss0 tables and embeddings as operations of a revision, and as part of autogenerate.

In ``env.py``: ``import vssnative.integrations.alembic``. That is all: vss0 is loaded into the connection of a migration,
batch mode keeps the triggers of embeddings, autogenerate compares ``Embedded`` and ``Vector`` with the file and leaves the
package's own tables alone.

    def upgrade():
        op.add_embeddings("posts", columns=["title", "summary"])

    def downgrade():
        op.drop_embeddings("posts")

    operations     op.create_vss_table, drop_vss_table, add_embeddings, drop_embeddings, change_model
    implementation what of it runs on the database; batch mode
    comparison     autogenerate
    rendering      operations as text of a revision
"""

from __future__ import annotations

from . import comparison as _comparison  # noqa: F401  (they register themselves)
from . import implementation as _implementation  # noqa: F401
from . import rendering as _rendering  # noqa: F401
from .operations import AddEmbeddings, ChangeModel, CreateVssTable, DropEmbeddings, DropVssTable

__all__ = [
    "AddEmbeddings",
    "ChangeModel",
    "CreateVssTable",
    "DropEmbeddings",
    "DropVssTable",
    "include_name",
]


def include_name(name: str | None, type_: str, parent_names: object) -> bool:
    """For ``context.configure(include_name=...)``: not needed, as the import alone keeps the package's tables out; with it
    they are not even read."""
    del parent_names
    return not (type_ == "table" and name is not None and name.lower().startswith("vssnative_"))
