"""Syre and the diagnosis with what people train with: theta_0 in force after save, load and resume.

Each against the real library, and skipped where it is not installed; stable-baselines3 and timm
have files of their own in ``tests/removal``.
"""

import copy
import logging
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh

DECAY = 1.0
X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = torch.sin(X.sum(1, keepdim=True))


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))


def optimizer_of(model, **how):
    params = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(params, lr=1e-2, weight_decay=0, **how)


def apart(one, other):
    """The largest difference of what two models compute with."""
    pairs = zip(
        sh.effective_parameters(one).values(), sh.effective_parameters(other).values(), strict=True
    )
    return max(float((a - b).abs().max()) for a, b in pairs)


def still_to_theta_0(optimizer, model, syre, steps=400):
    """Without gradients, the pull alone takes what trains to theta_0; return what is left."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in named.items()}
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    optimizer.state.clear()
    for _ in range(steps):
        for p in named.values():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    left = (1 - 1e-2 * DECAY) ** steps
    for name, p in named.items():
        theta_0 = syre.bias(name, p)
        if name.endswith("word_embeddings.weight"):
            theta_0[0] = 0  # the row that stands for padding
        torch.testing.assert_close(
            p.detach(), theta_0 + left * (before[name] - theta_0), rtol=1e-3, atol=1e-5
        )


def train(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(model(X), Y).backward()
        optimizer.step()


# ---- plain PyTorch -------------------------------------------------------------------------------


def test_plain_pytorch(tmp_path):
    straight, file = net(), tmp_path / "kept.pt"
    optimizer, syre = optimizer_of(straight), sh.Syre(DECAY, sigma_ratio=0.1, seed=3)
    syre.attach(optimizer, straight)
    train(straight, optimizer, 10)
    kept = {"model": straight, "optimizer": optimizer, "syre": syre}
    torch.save({name: one.state_dict() for name, one in kept.items()}, file)
    train(straight, optimizer, 10)

    resumed, state = net(), torch.load(file, weights_only=True)
    resumed.load_state_dict(state["model"])
    again = optimizer_of(resumed)
    again.load_state_dict(state["optimizer"])
    same = sh.Syre()
    same.load_state_dict(state["syre"])
    same.attach(again, resumed)
    train(resumed, again, 10)
    assert apart(straight, resumed) == 0
    still_to_theta_0(again, resumed, same)
    report = sh.diagnose(resumed, (X, Y), loss=functional.mse_loss)
    assert report.decay.weight_decay == DECAY


# ---- Lightning -----------------------------------------------------------------------------------


@pytest.fixture
def lightning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("lightning", reason="extra frameworks")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return module


@pytest.mark.filterwarnings("ignore")
def test_lightning(lightning, tmp_path):
    class Net(lightning.LightningModule):
        def __init__(self, seed=3):
            super().__init__()
            self.net, self.syre = net(), sh.Syre(DECAY, sigma_ratio=0.1, seed=seed)

        def training_step(self, batch, number):
            return functional.mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            optimizer = optimizer_of(self)
            self.syre.attach(optimizer, self)
            return optimizer

        def on_save_checkpoint(self, checkpoint):
            checkpoint["syre"] = self.syre.state_dict()

        def on_load_checkpoint(self, checkpoint):
            self.syre.load_state_dict(checkpoint["syre"])

    def trainer(epochs):
        return lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=32)
    straight, first, file = Net(), Net(), tmp_path / "kept.ckpt"
    trainer(6).fit(straight, data)
    half = trainer(3)
    half.fit(first, data)
    half.save_checkpoint(file)
    resumed, other = Net(seed=8), trainer(6)  # the seed of the checkpoint wins
    other.fit(resumed, data, ckpt_path=file, weights_only=True)
    assert resumed.syre.seed == 3
    assert apart(straight, resumed) == 0
    still_to_theta_0(other.optimizers[0], resumed, resumed.syre)
    report = sh.diagnose(resumed.net, (X, Y), loss=functional.mse_loss)
    assert report.left_out == [], "the syre of the whole module is found"


# ---- Hugging Face --------------------------------------------------------------------------------


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("transformers", reason="extra frameworks")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def bert(transformers):
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=12, num_labels=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config)


def sentences():
    ids = torch.randint(1, 40, (32, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": one, "labels": one[0] % 2} for one in ids]


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_trainer(transformers, tmp_path):
    pytest.importorskip("accelerate")

    def trainer(model, steps, syre):
        optimizer = optimizer_of(model)
        syre.attach(optimizer, model)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=steps, per_device_train_batch_size=8, save_steps=4,
            report_to=[], use_cpu=True, disable_tqdm=True, seed=0, logging_strategy="no",
        )  # fmt: skip
        return transformers.Trainer(
            model, arguments, train_dataset=sentences(), optimizers=(optimizer, schedule)
        )

    straight = bert(transformers)
    trainer(straight, 8, sh.Syre(DECAY, sigma_ratio=0.1, seed=3)).train()
    resumed, syre = bert(transformers), sh.Syre(DECAY, sigma_ratio=0.1, seed=3)
    again = trainer(resumed, 8, syre)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert apart(straight, resumed) == 0
    still_to_theta_0(again.optimizer, resumed, syre)

    batch = {name: torch.stack([one[name] for one in sentences()]) for name in sentences()[0]}
    report = sh.diagnose(resumed, batch)
    assert report.decay.weight_decay == DECAY
    assert not report.table.attracting.dropna().empty, "the output's own loss was used"


@pytest.mark.filterwarnings("ignore")
def test_peft_adapters(transformers, tmp_path):
    peft = pytest.importorskip("peft", reason="extra frameworks")

    def adapted():
        config = peft.LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS")
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return peft.get_peft_model(bert(transformers), config)

    batch = {name: torch.stack([one[name] for one in sentences()]) for name in sentences()[0]}

    def steps(model, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()

    model, syre = adapted(), sh.Syre(DECAY, sigma_ratio=0.1, seed=3)
    base = copy.deepcopy(dict(model.get_base_model().bert.embeddings.named_parameters()))
    optimizer = optimizer_of(model)
    syre.attach(optimizer, model)
    steps(model, optimizer, 5)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(bert(transformers), tmp_path, is_trainable=True)
    assert apart(model, loaded) == 0
    again, same = optimizer_of(loaded), sh.Syre()
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    same.load_state_dict(syre.state_dict())
    same.attach(again, loaded)
    steps(model, optimizer, 5)
    steps(loaded, again, 5)
    assert apart(model, loaded) == 0
    assert all(
        torch.equal(p, base[n])
        for n, p in model.get_base_model().bert.embeddings.named_parameters()
    )
    still_to_theta_0(again, loaded, same)
    report = sh.diagnose(adapted(), batch)
    assert not [said for said in report.alarms.values() if "dead" in str(said)], "B starts at 0"
