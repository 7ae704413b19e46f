"""The engine without a model: loaded from settings, it echoes or gives one reply."""

import asyncio

import pytest

from replication.collect import engines
from replication.records import Message, Request, Sampling

REQUEST = Request(
    messages=(Message(role="system", content="be brief"), Message(role="user", content="say hello")),
    sampling=Sampling(temperature=0.0, max_tokens=8), seed=1,
)  # fmt: skip


@pytest.mark.parametrize(("options", "text"), [({}, "say hello"), ({"reply": "answer done"}, "answer done")])
def test_scripted_engine_echoes_the_last_message_or_gives_the_reply_of_its_options(options, text):
    engine = engines.load("scripted", dtype="float32", context=64, options=options)
    reply = asyncio.run(engine.generate(REQUEST))
    assert (reply.text, reply.finish) == (text, "stop")
    assert (reply.n_prompt_tokens, reply.n_completion_tokens) == (4, 2)
    assert engine.describe()["engine"] == "scripted"
