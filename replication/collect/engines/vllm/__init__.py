"""vLLM in process; other servers, and prompts in any format but the chat template, do not belong here."""

from replication.collect.engines.vllm.engine import VllmEngine
from replication.collect.engines.vllm.options import SPEED_ONLY, Options
from replication.collect.engines.vllm.placement import place
from replication.collect.interfaces import EngineKind

KIND = EngineKind(options=Options, speed_only=SPEED_ONLY, build=VllmEngine, place=place)
