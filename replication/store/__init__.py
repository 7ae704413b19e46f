"""The results store, where collecting ends and analysing begins; nothing else knows the layout on disk."""

from replication.store.store import Store

__all__ = ["Store"]
