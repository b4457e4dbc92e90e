"""Every block of the page "the library in five minutes" runs, in order, in an empty folder."""

from notebooks import run_blocks
from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "five-minutes.md"


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    assert run_blocks(PAGE, namespace) >= 8
    last = namespace["last"].groupby("arm").train_loss.agg(["mean", "std"])
    gain = last["mean"]["plain decay"] - last["mean"]
    assert (gain.drop("plain decay") < last["std"].max()).all(), "as the last paragraph says"
    assert "effective rank" in capsys.readouterr().out
    # Fine-tuning stays nearer to the pretrained weights than to zero.
    start, tuned = namespace["start"], dict(namespace["again"].named_parameters())
    moved = sum((tuned[n] - p).norm() for n, p in start.items())
    assert moved < sum(p.norm() for p in tuned.values())
