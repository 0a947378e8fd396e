"""The one error of the hardware model: a chip that cannot be described, or cannot hold what is asked of it."""


class ChipError(ValueError):
    """A chip description is invalid, or the chip is too small. Says which field, its value, and what to do."""
