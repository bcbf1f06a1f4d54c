"""Keeping vectors in step with rows: queue, worker, status, verify, repair."""

from __future__ import annotations

from .cache import set_cache_limit
from .comparison import Report, repair, verify
from .engine import Settings
from .events import Event
from .rebuilt import RebuiltTable, check_columns
from .run import SyncResult, sync
from .state import DeadLetter, Status, dead_letters, pause, resume, retry_dead, status
from .worker import Worker

__all__ = [
    "DeadLetter",
    "Event",
    "RebuiltTable",
    "Report",
    "Settings",
    "Status",
    "SyncResult",
    "Worker",
    "check_columns",
    "dead_letters",
    "pause",
    "repair",
    "resume",
    "retry_dead",
    "set_cache_limit",
    "status",
    "sync",
    "verify",
]
