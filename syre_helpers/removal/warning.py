"""The one category of warnings that the remedy gives."""


class SyreWarning(UserWarning):
    """Something about a remedy's settings that is allowed, and probably not what is wanted."""
