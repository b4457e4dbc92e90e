"""Until every test asks `tools.build.chapters`: the folders by the short name."""

from tools.build.chapters import BOOK, ROOT

__all__ = ["BOOK", "ROOT"]
