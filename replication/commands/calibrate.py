"""Choose the levels of a study's tasks per scale: `python -m replication calibrate study=controlled`.

One arm is trained with a training seed outside the study and played on the calibration split. Each environment gets the
mix of levels at which that arm scores between `calibration.low` and `calibration.high`, so that floor and ceiling
effects hide no difference. Because the mix also sets the training tasks, the arm is trained and the mix chosen again
until it no longer changes. The result is written to conf/levels/<scale>.yaml before the evaluation split is played.
"""

from replication import multirun, settings
from replication.collect.training import calibration
from replication.errors import ConfigError


def main(cfg: settings.Root) -> None:
    """Calibrate every scale of the study and write its levels."""
    if multirun.is_job():
        raise ConfigError(
            "`calibrate` writes conf/levels/<scale>.yaml, the same file in every job of a multirun. Calibrate once without "
            "`--multirun`."
        )
    for scale in sorted(cfg.scales):
        measurements = calibration.calibrate(cfg, scale, report=lambda line: print(f"calibrate: {line}"))
        path = calibration.write_levels(cfg, scale, measurements)
        print(f"calibrate: wrote {path}")
