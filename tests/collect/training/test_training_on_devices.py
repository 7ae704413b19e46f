"""One tiny arm on each device: it trains, is cut and resumed, and ends where the undisturbed one does."""

import csv
import dataclasses

import pytest
from test_training import RECIPE, Killed, arm_run, base  # noqa: F401  (a fixture)

from replication.collect.training import run_state, runs

TOLERANCE = {"cpu": 0.0, "cuda": 0.05}
"""Of a loss, as a share: on a GPU sums come in another order each time."""


def curve(folder):
    with (folder / runs.CURVE).open() as file:
        return [(row["step"], row["n_tokens"], float(row["loss"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_cut_arm_ends_where_an_undisturbed_one_does(base, tmp_path, device, monkeypatch):  # noqa: F811
    monkeypatch.setattr(run_state, "UNREAD", 1)  # or a GPU's losses would be read, and reported, now and then only
    run = arm_run(base, device=device, recipe=dataclasses.replace(RECIPE, save_every_s=0.0))
    whole = runs.execute(run, tmp_path / "whole", lambda progress: None)
    seen = []

    def kill(progress):
        seen.append(progress)
        if len(seen) == 8:
            raise Killed

    with pytest.raises(Killed):
        runs.execute(run, tmp_path / "cut", kill)
    assert runs.read_finished(run, tmp_path / "cut") is None
    resumed = []
    cut = runs.execute(run, tmp_path / "cut", resumed.append)
    undisturbed, continued = curve(tmp_path / "whole"), curve(tmp_path / "cut")
    assert (whole.device, cut.n_tokens, cut.flops) == (device, whole.n_tokens, whole.flops)
    assert 0 < len(resumed) < len(undisturbed)
    assert [row[:2] for row in continued] == [row[:2] for row in undisturbed]
    assert continued[-1][2] == pytest.approx(undisturbed[-1][2], rel=TOLERANCE[device])
    # The loss falls in each phase; the second begins with other texts.
    assert undisturbed[-1][2] < 0.95 * undisturbed[0][2]
