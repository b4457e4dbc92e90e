"""Factor models: names, scales, and products."""

import pytest
import torch

from syre_helpers import models


def test_factor_models_have_the_documented_names_and_scales():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        matrix = models.MatrixFactorisation(300, 100, 25)
        symmetric = models.SymmetricFactorisation(500, 25)
        product = models.ProductRegression(10_000)
        exact = models.MatrixFactorisation(2, 3, 4, std=0.0)
    assert [name for name, _ in matrix.named_parameters()] == ["left", "right"]
    assert [name for name, _ in symmetric.named_parameters()] == ["factor"]
    assert [name for name, _ in product.named_parameters()] == ["u", "w"]
    for tensor, std in [
        (matrix.left, 0.2), (matrix.right, 0.1), (symmetric.factor, 0.2), (product.u, 0.01),
    ]:  # fmt: skip
        assert tensor.std().item() == pytest.approx(std, rel=0.05)
    assert not exact().any()
    torch.testing.assert_close(matrix(), matrix.left @ matrix.right)
    torch.testing.assert_close(symmetric(), symmetric().T)
