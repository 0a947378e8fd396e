"""The errors a user can meet. Each message says what is wrong, where, and what to do."""


class CannonError(Exception):
    """Base class: catch this to catch everything that cannon_fx raises on purpose."""


class CaptureError(CannonError):
    """The model could not be turned into a graph."""


class MappingError(CannonError):
    """The graph could not be mapped onto the chip, or a layer pattern matches nothing."""


class InfeasibleError(CannonError):
    """The budget asks for less than the network can reach on this chip."""


class DataError(CannonError):
    """A data set or a file could not be read."""


class RunError(CannonError):
    """A run cannot start or go on: an option, the model's factory, or the output folder."""
