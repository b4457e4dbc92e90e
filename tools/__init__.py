"""The programs that build, check and publish the book; `make` calls each by its module's name.

`build` makes the site, `site_checks` looks at it in a browser, `emulate` runs the chapters as other
machines would, and `publish` makes what is handed on. The package knows nothing of any of them.
"""
