"""The engine room of `train_many`: models stacked along an axis, trained by one traced step.

A call becomes an `ensemble` of runs, as large as `memory` allows (`micro_ensembles`); its `step` is
a `trace` of plain tensor operations, which `compile` decides to hand to the compiler, together with
the optimizer's update (`optimizers`).
"""
