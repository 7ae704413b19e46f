"""Prompts encoded by pieces and replies decoded at once have the ids and texts of tokenizer and vLLM."""

import random
from types import SimpleNamespace

import pytest
from families import FAMILIES, make_tokenizer

from replication.collect.engines.vllm.encoding import Encoder
from replication.collect.engines.vllm.generation import Generation
from replication.collect.training.organism import load_tokenizer
from replication.records import Request, Sampling
from replication.settings import CONF

BASE = CONF.parent / "replication" / "collect" / "training" / "bases" / "xs"
TEXTS = ["grep kavo in notes.txt and count 482 lines\n", "def f(x): return x + 1", " the word of the day "] * 5
PARTS = [" ", "\n", "a", " kavo", "482", "é", "e\u0301", "日本", "\U0001f600", "\t", "_x", "the ", "\u200d", "ﬁ"]


@pytest.fixture(scope="module")
def tokenizers():
    made = {name: make_tokenizer(family, TEXTS) for name, family in FAMILIES.items()}
    return made | {"organism": load_tokenizer(BASE)}


def texts_of(tokenizer, n, rng):
    """Make texts in which added tokens stand beside each other, at the ends and between blanks."""
    added = [str(token.content) for token in tokenizer.added_tokens_decoder.values()]
    return [
        "".join(rng.choice(added if rng.random() < 0.3 else PARTS) for _ in range(rng.randrange(25))) for _ in range(n)
    ]


@pytest.mark.parametrize("name", [*FAMILIES, "organism"])
def test_ids_of_pieces_are_those_of_the_whole_text(tokenizers, name):
    tokenizer, encoder = tokenizers[name], Encoder(tokenizers[name], n_compared=0)
    for text in texts_of(tokenizer, 400, random.Random(0)):
        assert encoder(text) == tokenizer(text, add_special_tokens=False).input_ids, text


def test_a_tokenizer_that_marks_the_start_of_a_text_encodes_whole_prompts(tokenizers):
    assert Encoder(tokenizers["organism"]).by_pieces and Encoder(tokenizers["qwen3"]).by_pieces
    assert not Encoder(tokenizers["gemma"]).by_pieces and not Encoder(tokenizers["mistral"]).by_pieces


@pytest.mark.parametrize("key", ["lstrip", "rstrip", "normalized"])
def test_a_tokenizer_whose_added_tokens_take_more_than_themselves_encodes_whole_prompts(key):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_tokens([AddedToken("<x>", **{"normalized": False, key: True})])
    assert not Encoder(PreTrainedTokenizerFast(tokenizer_object=backend)).by_pieces


def test_a_difference_in_the_first_prompts_ends_encoding_by_pieces(tokenizers):
    tokenizer = tokenizers["organism"]
    encoder = Encoder(tokenizer)
    encoder._kept["kavo"] = [5]
    assert encoder("kavo") == tokenizer("kavo").input_ids and not encoder.by_pieces


def test_kept_pieces_are_bounded(tokenizers):
    encoder = Encoder(tokenizers["organism"], max_kept=50)
    for i in range(100):
        encoder(f"word {i} <|im_end|> {i}")
        assert sum(map(len, encoder._kept.values())) <= 50


def output(ids, finish="stop", text=""):
    return SimpleNamespace(token_ids=ids, finish_reason=finish, text=text)


@pytest.mark.vllm
@pytest.mark.parametrize("skip", [True, False])
def test_reply_decoded_at_once_has_the_text_that_vllm_builds_token_by_token(tokenizers, skip):
    from vllm.sampling_params import RequestOutputKind, SamplingParams
    from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer

    rng, tokenizer = random.Random(1), tokenizers["organism"]
    generation = Generation(tokenizer, stop_token_ids=[], thinks=not skip)
    request = Request(messages=(), sampling=Sampling(temperature=1.0, max_tokens=64), seed=1)
    params = generation.params(request, 64)
    assert not params.detokenize and params.skip_special_tokens is skip
    prompt, n_broken = tokenizer("<|im_start|>user\nhm<|im_end|>\n").input_ids, 0
    for _ in range(500):
        # Any ids in a row: bytes of characters that are cut or never were, and control tokens.
        ids, ended = [rng.randrange(len(tokenizer)) for _ in range(rng.randrange(1, 20))], rng.random() < 0.5
        whole = SamplingParams(skip_special_tokens=skip, output_kind=RequestOutputKind.FINAL_ONLY)
        built = FastIncrementalDetokenizer(
            tokenizer, SimpleNamespace(sampling_params=whole, prompt_token_ids=prompt, request_id="r")
        )
        for at, index in enumerate(ids):
            built.update([index], ended and at == len(ids) - 1)
        text = generation.text(output(ids, "stop" if ended else "length"), params, prompt)
        assert text == built.get_next_output_text(finished=True, delta=False)
        n_broken += "\ufffd" in tokenizer.backend_tokenizer.decode(ids)
    assert n_broken > 50


@pytest.mark.vllm
def test_parameters_of_later_requests_are_those_of_new_ones(tokenizers):
    generation = Generation(tokenizers["organism"], stop_token_ids=[2], thinks=False)
    other = Generation(tokenizers["organism"], stop_token_ids=[2], thinks=False)
    sampling = Sampling(temperature=0.6, top_p=0.9, max_tokens=64)
    for seed, room, stop in ((1, 500, ()), (2, 7, ()), (3, 500, ("Observation:",)), (4, 9, ("Observation:",))):
        request = Request(messages=(), sampling=sampling, seed=seed, stop=stop)
        other._params.clear()
        kept, new = generation.params(request, room), other.params(request, room)
        assert repr(kept) == repr(new) and kept.seed == seed and kept.max_tokens == min(64, room)
        assert kept.detokenize is bool(stop)
