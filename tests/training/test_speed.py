"""What is done for speed changes outputs by rounding only, and needs no compiler."""

import warnings

import pytest
import torch
from torch.nn import functional

import syre_helpers as sh
from syre_helpers.training import speed as fast
from syre_helpers.training.speed import Speed, at_speed, hastened


def resnet(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return sh.models.resnet18(width=4)


def images():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 16, 16, generator=draw), torch.arange(16) % 10


def gradients_of(model):
    x, y = images()
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("how", "least"), [(Speed(channels_last=True), 1 - 1e-6), (Speed(True, True), 0.9)]
)
def test_outputs_and_gradients_change_by_rounding_only(how, least):
    with at_speed(how):
        model = hastened(resnet())
    assert model.stage1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    plain = resnet()
    loss, gradients = gradients_of(model)
    right, wanted = gradients_of(plain)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, right, rtol=1e-2, atol=0)
    assert functional.cosine_similarity(gradients, wanted, dim=0) > least
    state = plain.state_dict()
    assert list(model.state_dict()) == list(state), "names are those of the model"
    assert all(p.dtype == torch.float32 for p in model.parameters())
    if how.bf16:
        assert not torch.equal(gradients, wanted), "the precision was lowered"


def test_nothing_is_done_unless_it_is_asked_for():
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    model = hastened(resnet())
    assert "forward" not in vars(model)
    with at_speed(Speed(bf16=True)):
        assert fast.speed().bf16
        assert torch.get_float32_matmul_precision() == "high"
    assert fast.speed() == Speed()
    assert (torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()) == before


def test_stacked_models_train_in_bf16_too():
    x, y = images()

    def table(how):
        with at_speed(how):
            return sh.fit_many(
                lambda: hastened(sh.models.vit((3, 16, 16), 10, 4, 16, 1, 2, 16)),
                (x, y),
                [sh.arms.plain_decay(0.1), sh.arms.syre(0.1, 0.3)],
                range(2),
                steps=10,
                loss=functional.cross_entropy,
                optimizer=lambda p: torch.optim.Adam(p, lr=1e-2),
                batch_size=8,
            )

    right, lowered = table(Speed()).train_loss, table(Speed(bf16=True)).train_loss
    assert not right.equals(lowered)
    torch.testing.assert_close(*map(torch.tensor, (right, lowered)), rtol=0.02, atol=0)


class Counted:
    """Stands in for what the compiler made."""

    def __init__(self, error=None):
        self.error, self.calls = error, 0

    def __call__(self, model, x):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return type(model).forward(model, x)


def compiled_as(monkeypatch, made):
    """Return a model whose passes are compiled, by a compiler that makes this."""
    monkeypatch.setattr(torch, "compile", lambda function, **how: made)
    monkeypatch.setattr(fast, "_compiled", fast._Compiled())
    with at_speed(Speed(compiled=True)):
        return hastened(resnet())


def test_passes_in_training_are_compiled_and_others_are_not(monkeypatch):
    made = Counted()
    model = compiled_as(monkeypatch, made)
    torch.testing.assert_close(gradients_of(model)[1], gradients_of(resnet())[1])
    model.eval()(images()[0])
    assert made.calls == 1


def test_training_goes_on_where_no_compiler_is(monkeypatch):
    missing = Counted(RuntimeError("no compiler found"))
    model = compiled_as(monkeypatch, missing)
    with pytest.warns(RuntimeWarning, match="goes on without compilation: no compiler found"):
        found = gradients_of(model)[1]
    assert torch.equal(found, gradients_of(resnet())[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients_of(model)
    assert missing.calls == 1, "it is tried once"


def test_memory_that_runs_out_is_no_fault_of_the_compiler(monkeypatch):
    model = compiled_as(monkeypatch, Counted(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        gradients_of(model)
