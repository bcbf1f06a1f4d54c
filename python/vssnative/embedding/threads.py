"""How many threads to use: one setting for the process, by default what the process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ConfigurationError


def default_threads() -> int:
    """``VSSNATIVE_THREADS`` if set, else the processors this process may use: affinity and cgroup limit honoured.

    Raises:
        ConfigurationError: if ``VSSNATIVE_THREADS`` is no positive integer.
    """
    stated = os.environ.get("VSSNATIVE_THREADS")
    if stated:
        if not stated.isascii() or not stated.isdigit() or int(stated) < 1:
            raise ConfigurationError(f"VSSNATIVE_THREADS must be a positive integer, not {stated!r}")
        return int(stated)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, available if quota is None else min(available, quota))


def cgroup_quota(root: Path) -> int | None:
    """Processors that the control group under ``root`` grants, rounded up; None where there is no limit."""
    try:
        fields = (root / "cpu.max").read_text(encoding="ascii").split()
        quota, period = fields[0], int(fields[1])
    except (OSError, ValueError, IndexError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = int((root / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
    if not quota.isdigit() or int(quota) == 0 or period <= 0:
        return None
    return -(-int(quota) // period)
