"""Every block of the page "the library in five minutes" runs, in order, in an empty folder."""

import page_blocks
from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "five-minutes.md"


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(page_blocks.blocks(PAGE)) >= 8
    namespace = {"__name__": "__main__"}
    assert "effective rank" in page_blocks.run(PAGE, namespace)
    last = namespace["last"].groupby("arm").train_loss.agg(["mean", "std"])
    gain = last["mean"]["plain decay"] - last["mean"]
    assert (gain.drop("plain decay") < last["std"].max()).all(), "as the last paragraph says"
    # Fine-tuning stays nearer to the pretrained weights than to zero.
    start, tuned = namespace["start"], dict(namespace["again"].named_parameters())
    moved = sum((tuned[n] - p).norm() for n, p in start.items())
    assert moved < sum(p.norm() for p in tuned.values())
