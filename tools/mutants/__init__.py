"""Deliberate faults in the package, and the program that sees whether the tests catch them."""
