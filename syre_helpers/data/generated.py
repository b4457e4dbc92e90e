"""Generated data. Everything is drawn in float64 on the CPU, so the dtype changes only rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._checks import check_nonnegative, check_positive_int
from ..models.mlp_cnn import activation_factory
from .split import DataSplit, check_dtype


def linear_regression(
    n_train: int = 200,
    n_test: int = 200,
    d: int = 100,
    noise: float = 0.1,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    r"""Return :math:`y = \beta^T x + \text{noise}` with standard normal inputs and coefficients.

    Parameters
    ----------
    n_train, n_test : int
        Numbers of samples. Defaults 200.
    d : int
        Number of inputs. Default 100.
    noise : float
        Standard deviation of the Gaussian noise on the **training** targets. Test targets have
        none: the test error of a perfect model is 0. Default 0.1.
    seed : int
        Of coefficients, inputs and noise. Default 0.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, d), targets (samples,), whose variance is about `d`.

    Raises
    ------
    ValueError
        If a number is not positive, or the noise is negative or not finite.

    Examples
    --------
    >>> data = linear_regression(50, 20, d=3, noise=0.0, dtype=torch.float64)
    >>> found = torch.linalg.lstsq(data.x_train, data.y_train[:, None]).solution
    >>> torch.allclose((data.x_test @ found)[:, 0], data.y_test)
    True
    """
    sizes = check_positive_int("n_train", n_train), check_positive_int("n_test", n_test)
    check_positive_int("d", d)
    generator = make_generator(seed)
    coefficients = _normal(generator, d)
    return _regression(sizes, d, lambda x: x @ coefficients, noise, generator, dtype)


def teacher_regression(
    n_train: int = 500,
    n_test: int = 500,
    d: int = 10,
    units: int = 8,
    activation: str = "tanh",
    noise: float = 0.0,
    seed: int = 0,
    *,
    teacher_seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    r"""Return standard normal inputs and the outputs of a fixed two-layer network, the teacher.

    The teacher is :math:`\sum_j a_j f(w_j^T x)`, shifted and scaled to mean 0 and variance 1 (as
    measured once on 10,000 inputs), with :math:`a_j \sim N(0, 1)` and :math:`w_j \sim N(0, 4 / d)`,
    so that its units reach into the curved part of `f`. A mean squared error of 1 is that of a
    constant.

    Parameters
    ----------
    n_train, n_test : int
        Numbers of samples. Defaults 500.
    d : int
        Number of inputs. Default 10.
    units : int
        Hidden units of the teacher. Default 8.
    activation : str
        One of `syre_helpers.models.ACTIVATIONS`. Default "tanh".
    noise : float
        Standard deviation of the Gaussian noise on the **training** targets. Default 0.
    seed : int
        Of the inputs and the noise. Default 0.
    teacher_seed : int
        Of the teacher alone: the same for all seeds unless you change it. Default 0.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, d), targets (samples, 1) like the outputs of ``mlp([d, ..., 1])``.

    Raises
    ------
    ValueError
        If a number is not positive, the noise is negative or not finite, or the activation is not
        known.

    Examples
    --------
    >>> data = teacher_regression(1000, 10)
    >>> data.y_train.shape, round(data.y_train.var().item())
    (torch.Size([1000, 1]), 1)
    """
    sizes = check_positive_int("n_train", n_train), check_positive_int("n_test", n_test)
    check_positive_int("d", d)
    make_activation = activation_factory(activation)
    function = nn.Identity() if make_activation is None else make_activation()
    teacher = make_generator(teacher_seed, "teacher_seed")
    incoming = 2 * d**-0.5 * _normal(teacher, d, check_positive_int("units", units))
    outgoing = _normal(teacher, units, 1)
    probe = function(_normal(teacher, 10_000, d) @ incoming) @ outgoing
    mean, std = probe.mean(), probe.std()

    def target(x: Tensor) -> Tensor:
        return (function(x @ incoming) @ outgoing - mean) / std

    return _regression(sizes, d, target, noise, make_generator(seed), dtype)


def low_rank_matrix(
    rows: int,
    columns: int,
    rank: int,
    seed: int = 0,
    *,
    singular_values: Sequence[float] | None = None,
    symmetric: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a matrix of known rank and singular values, in random directions.

    Parameters
    ----------
    rows, columns : int
        Shape of the matrix.
    rank : int
        Number of singular values that are not 0.
    seed : int
        Default 0.
    singular_values : sequence of float, optional
        `rank` positive numbers. Default: equally spaced from 2 down to 1.
    symmetric : bool
        Whether the matrix is to be symmetric and positive semi-definite; its singular values are
        then its eigenvalues. Default False.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    Tensor
        Shape (rows, columns).

    Raises
    ------
    ValueError
        If the rank does not fit the shape, the singular values do not fit the rank or are not
        positive and finite, or a symmetric matrix is not square.

    Examples
    --------
    >>> matrix = low_rank_matrix(6, 4, rank=2, singular_values=[3.0, 0.5])
    >>> torch.linalg.svdvals(matrix).round(decimals=4).abs()
    tensor([3.0000, 0.5000, 0.0000, 0.0000])
    """
    check_positive_int("rows", rows)
    check_positive_int("columns", columns)
    if check_positive_int("rank", rank) > min(rows, columns):
        raise ValueError(f"rank={rank} is more than a {rows} x {columns} matrix can have; lower it")
    if symmetric and rows != columns:
        raise ValueError(f"symmetric=True needs rows == columns, got {rows} and {columns}")
    check_dtype(dtype)
    if singular_values is None:
        values = torch.linspace(2, 1, rank, dtype=torch.float64)
    else:
        values = torch.as_tensor(singular_values, dtype=torch.float64)
    if values.shape != (rank,) or not bool((values.isfinite() & (values > 0)).all()):
        raise ValueError(
            f"singular_values={singular_values!r} must be rank={rank} finite numbers above 0"
        )
    generator = make_generator(seed)
    left = torch.linalg.qr(_normal(generator, rows, rank)).Q
    right = left if symmetric else torch.linalg.qr(_normal(generator, columns, rank)).Q
    return (left * values @ right.T).to(dtype)


def _regression(
    sizes: tuple[int, int],
    d: int,
    target: Callable[[Tensor], Tensor],
    noise: float,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> DataSplit:
    check_nonnegative("noise", noise)
    check_dtype(dtype)
    x_train, x_test = (_normal(generator, n, d) for n in sizes)
    y_train = target(x_train)
    y_train = y_train + noise * _normal(generator, *y_train.shape)
    return DataSplit(*(t.to(dtype) for t in (x_train, y_train, x_test, target(x_test))))


def make_generator(seed: object, argument: str = "seed") -> torch.Generator:
    """Return a new generator for a seed.

    Parameters
    ----------
    seed : int
        The seed.
    argument : str
        Name for messages. Default "seed".

    Returns
    -------
    torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        If the seed is not a whole number >= 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"{argument}={seed!r} must be a whole number, 0 or more")
    return torch.Generator().manual_seed(seed)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
