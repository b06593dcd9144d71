"""The record: what happened to each model line, and which version is live.

Tables, a state machine as data, hash-chained events, and one transaction for each thing that happens.
The same behaviour on SQLite and on PostgreSQL. Start at `registry.registry.Registry`.
"""

from __future__ import annotations

__distribution__ = "adaptman"
