"""The command `serve` names what it cannot serve."""

import pytest
from plan_studies import composed

from replication.commands import serve
from replication.errors import ConfigError

TWO = (
    "study=controlled_tiny",
    "+model@models.m1=qwen3_0_6b",
    "+model@models.m2=qwen3_0_6b",
    f"models.m1.revision='{'a' * 40}'",
    f"models.m2.revision='{'b' * 40}'",
)


def test_only_vllm_is_started(tmp_path):
    cfg = composed(tmp_path, *TWO, "engine=scripted", "serve.only=[m1]")
    with pytest.raises(ConfigError, match=r"`engine.kind` is 'scripted', but `serve` starts vLLM"):
        serve.main(cfg)


def test_one_checkpoint_is_served(tmp_path):
    with pytest.raises(ConfigError, match=r"needs one checkpoint; the study has `m1`, `m2`\. Name one"):
        serve.main(composed(tmp_path, *TWO, "serve.only=[m1,m2]"))
