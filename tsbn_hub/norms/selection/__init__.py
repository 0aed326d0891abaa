"""Which task a forward is for, and where that holds: thread, asyncio task, compiled graph, recomputation."""

from .selector import Selection, TaskSelector

__all__ = ["Selection", "TaskSelector"]
