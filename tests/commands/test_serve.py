"""The command `serve` names what it cannot serve."""

import pytest
from hydra import compose, initialize_config_dir

from replication import settings
from replication.commands import serve
from replication.errors import ConfigError

MODEL = {
    "path": "org/m", "revision": "a" * 40, "role": "general", "scale": "s", "params_b": 1.0, "architecture": "m",
}  # fmt: skip


def composed(tmp_path, *overrides):
    settings.register()
    models = [f"+models.{name}={{{','.join(f'{k}:{v}' for k, v in MODEL.items())}}}" for name in ("m1", "m2")]
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = compose("config", overrides=["study=controlled_tiny", f"paths.results={tmp_path}", *models, *overrides])
    return settings.checked(cfg)


def test_only_vllm_is_started(tmp_path):
    with pytest.raises(ConfigError, match="`engine.kind` is 'scripted', but `serve` starts vLLM"):
        serve.main(composed(tmp_path, "engine=scripted", "serve.only=[m1]"))


def test_one_checkpoint_is_served(tmp_path):
    with pytest.raises(ConfigError, match=r"needs one checkpoint; the study has `m1`, `m2`\. Name one"):
        serve.main(composed(tmp_path, "serve.only=[m1,m2]"))
