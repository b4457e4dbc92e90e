"""What only a GPU can show, in one prepared run: `python -m tools.gpu`, or `make gpu`.

`plan` lists the parts, `runner` does what fits a time budget, each part in a process of its own;
`smoke` and `record` are parts, `report` sums up, `pack` says what a bare machine lacks.
"""
