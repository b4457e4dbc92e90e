"""Callbacks see every step and every measurement, of one model and of many."""

import pandas as pd
import pytest

from small_training import FEW, run, run_one
from syre_helpers.training import listening
from syre_helpers.training.callbacks import progress


@pytest.mark.parametrize(("train", "models"), [(run_one, 1), (run, 6)])
def test_callbacks_are_told_of_steps_and_measurements(train, models, capsys, monkeypatch):
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    own, ambient = [], []
    with listening(ambient.append):
        table, _ = train(callbacks=[own.append])
    assert "20" not in capsys.readouterr().err, "no bar while someone listens"
    assert [moment.step for moment in own if moment.rows is None] == list(range(20))
    assert {moment.steps for moment in own} == {20}
    measured = [moment for moment in own if moment.rows is not None]
    assert [moment.step for moment in measured] == [0, 7, 14, 20]
    rows = [row for moment in measured for row in moment.rows]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), table)
    assert all(len(moment.rows) == models for moment in measured)
    assert set(own[0].params) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert [moment.step for moment in ambient] == [moment.step for moment in own]
    train()
    assert len(ambient) == len(own), "nobody listens any more"


def test_a_bar_shows_the_progress_unless_it_is_not_wanted(capsys, monkeypatch):
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    assert list(progress(range(3, 5), "work")) == [3, 4]
    assert "work" in capsys.readouterr().err
    with listening():
        list(progress(range(5), "work"))
    list(progress(range(5), "work", silent=True))
    monkeypatch.setenv("SYRE_PROGRESS", "0")
    list(progress(range(5), "work"))
    assert capsys.readouterr().err == ""


def test_a_callback_ends_the_run_by_an_exception():
    def stop(moment):
        if moment.rows and moment.rows[0]["train_loss"] < 2:
            raise InterruptedError("good enough")

    with pytest.raises(InterruptedError, match="good enough"):
        run(callbacks=[stop], arms=FEW[:1])
