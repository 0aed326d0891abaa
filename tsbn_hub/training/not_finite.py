"""The error of numbers that are no use for learning."""


class NotFiniteError(ValueError):
    """A loss, a gradient or an output is NaN or infinite."""
