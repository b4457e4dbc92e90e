"""A census of trained networks that packages of PyPI bring: dead units, twins, mirror planes."""
