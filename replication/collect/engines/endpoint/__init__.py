"""OpenAI-compatible chat servers over HTTP; starting one, and prompts in any format but messages, do not belong here."""

from replication.collect.engines.endpoint.engine import EndpointEngine
from replication.collect.engines.endpoint.options import SPEED_ONLY, Options
from replication.collect.interfaces import EngineKind

KIND = EngineKind(options=Options, speed_only=SPEED_ONLY, build=EndpointEngine)
