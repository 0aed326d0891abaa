"""Other ways for tasks to share a network, by name: to add one is to add a file here.

The trunks of the rivals are registered once they are asked for: they need transformers, and their names do not.
"""

from .method import HARD_SHARING, SINGLE_TASK, Method, method_of, methods

__all__ = ["HARD_SHARING", "SINGLE_TASK", "Method", "method_of", "methods"]
