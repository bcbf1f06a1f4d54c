"""Schema changes: embeddings on existing tables, changes of model, and the user's own ordered steps."""

from __future__ import annotations

from .._catalog.records import EmbeddingConfig, load_embedding, load_embeddings
from .embeddings import Plan, add_embeddings, drop_embeddings, plan_embeddings
from .estimate import Estimate
from .generations import cancel_change, change_model, change_server, drop_retired, rollback_model, switch
from .steps import Applied, Step, applied, downgrade, upgrade

__all__ = [
    "Applied",
    "EmbeddingConfig",
    "Estimate",
    "Plan",
    "Step",
    "add_embeddings",
    "applied",
    "cancel_change",
    "change_model",
    "change_server",
    "downgrade",
    "drop_embeddings",
    "drop_retired",
    "load_embedding",
    "load_embeddings",
    "plan_embeddings",
    "rollback_model",
    "switch",
    "upgrade",
]
