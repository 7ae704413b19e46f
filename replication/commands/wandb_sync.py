"""Log tables and figures of a study to wandb, and upload what was logged offline: `make wandb-sync STUDY=controlled`.

Jobs of a sweep and training runs are logged as they end, offline unless `tracking.mode=online`. Without a key the command
only says how many runs wait.
"""

from replication import settings
from replication.collect.launch import mirror


def main(cfg: settings.Root) -> None:
    """Log the paper of the study, if it was built, and upload."""
    paper = settings.paper_folder(cfg.paths, cfg.study.name)
    n_files = mirror.log_paper(cfg, paper) if (paper / "data").is_dir() else 0
    print(f"wandb: {n_files} tables and figures of `{paper}` logged")
    print(f"wandb: {mirror.upload(cfg)}")
