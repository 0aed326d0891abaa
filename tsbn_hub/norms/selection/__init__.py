"""Which task a forward is for, and where that holds: thread, asyncio task, compiled graph, recomputation."""

from .selection import Selection
from .selector import TaskSelector

__all__ = ["Selection", "TaskSelector"]
