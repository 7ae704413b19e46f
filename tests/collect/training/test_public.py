"""Public bases: texts as they are served, every architecture with a linear head, checkpoints that differ in weights only."""

import dataclasses
import datetime
import itertools
import json

import numpy as np
import pytest
from safetensors.torch import load_file

from replication.collect import checkpoints
from replication.collect.engines.vllm.chat import Chat
from replication.collect.engines.vllm.thinking import Thinking
from replication.collect.training import corpora, curricula, organism, public, runs, supervised
from replication.collect.training.organism import Shape
from replication.collect.training.rl import RlSettings, prompts
from replication.errors import TrainingError
from replication.records import Message, Request, Sampling, Tool

BENCHMARKS = (("calling", (1,)), ("terminal", (1,)))
SHAPE = Shape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate=64, vocabulary=448, context=1024)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
RECIPE = curricula.TrainingConfig(
    batch_tokens=1000, context=1024, warmup_tokens=300, decay_share=0.3, adam_share=1.0, weight_decay=0.0, clip=1.0,
    precision="float32", compile=False, save_every_s=1e9, optimizer="adamw",
)  # fmt: skip
RL = RlSettings(
    n_prompts=2, group_size=4, n_minibatches=1, temperature=1.0, max_new_tokens=12, clip_low=0.2, clip_high=0.3,
    kl_weight=0.02, exact_weight=0.5,
)  # fmt: skip


def write_base(folder, architecture="llama", template=CHATML, **config):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    texts = [d.text for d in corpora.named("episodes", BENCHMARKS)(0, 0)[:64]]
    tokenizer = organism.make_tokenizer(texts, 440)
    tokenizer.chat_template = template
    # The end of sequence is not the end of a turn, as in many base tokenizers, and there is no padding token.
    tokenizer.eos_token, tokenizer.pad_token = "<|endoftext|>", None
    shape = {
        "vocab_size": 448, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024, "eos_token_id": [0, 2],
        "pad_token_id": None, "dtype": "bfloat16",
    } | config  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **shape))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


def run_of(base, **changes):
    phases = (
        runs.PhasePlan(corpus="episodes", benchmarks=BENCHMARKS, n_tokens=4_000, lr=0.01, scaffolds=("compact",)),
        runs.PhasePlan(corpus="predictions", benchmarks=BENCHMARKS, n_tokens=2_000, lr=0.001, rl=RL),
    )
    run = runs.TrainingRun(
        arm="sft_then_lwm_rl", scale="t", training_seed=0, shape=SHAPE, base=str(base), phases=phases, recipe=RECIPE,
        device="cpu", public=True,
    )  # fmt: skip
    return dataclasses.replace(run, **changes)


def served(base, messages):
    """The token ids of the prompt that an engine gives the model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    date = datetime.date(2026, 1, 1)
    chat = Chat(tokenizer, name="m", date=date, thinking=Thinking(tokenizer), options={})
    sampling = Sampling(temperature=0.0, max_tokens=8)
    return chat.prompt(Request(messages=tuple(messages), sampling=sampling, seed=0)).ids


def test_what_is_learnt_is_what_the_engine_shows_and_the_end_of_the_turn(base):
    tokenizer = public.load(base, SHAPE).tokenizer
    corpus = public.rendered(corpora.named("episodes", BENCHMARKS), tokenizer)
    for document, plain in zip(corpus(0, 0)[:20], corpora.named("episodes", BENCHMARKS)(0, 0), strict=False):
        encoded = tokenizer.backend_tokenizer.encode(document.text, add_special_tokens=False)
        replies = [i for i, message in enumerate(plain.messages) if message.role == "assistant"]
        assert len(document.in_loss) == len(replies) > 0
        for (low, high), i in zip(document.in_loss, replies, strict=True):
            assert document.text[low:high] == plain.messages[i].content + "<|im_end|>"
            n_before = sum(start < low for start, _ in encoded.offsets)
            assert encoded.ids[:n_before] == served(base, plain.messages[:i])


def test_prompts_of_predictions_are_those_that_the_engine_shows(base):
    tokenizer = public.load(base, SHAPE).tokenizer
    plain = corpora.named("predictions", BENCHMARKS)
    made = next(prompts(public.rendered(plain, tokenizer), "p", RL, 1024, tokenizer, 0))
    shown = {(p.observation, *served(base, p.messages)) for p in plain(0, 0)}
    assert len(made) == 2 and all((p.observation, *p.ids.tolist()) in shown for p in made)


@pytest.mark.parametrize(
    ("architecture", "config"), [("llama", {}), ("qwen2", {}), ("mistral", {"sliding_window": None})]
)
def test_a_trained_checkpoint_is_its_base_with_other_weights(tmp_path, architecture, config):
    base = write_base(tmp_path / "base", architecture, **config)
    run = run_of(base)
    record = runs.execute(run, tmp_path / "out", lambda p: None)
    assert checkpoints.setup_sha256(tmp_path / "out") == checkpoints.setup_sha256(base)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
    assert set(after) == set(before) and any(not before[name].equal(after[name].to(before[name])) for name in before)
    assert runs.read_finished(run, tmp_path / "out") == record and record.n_sampled_tokens > 0
    curve = (tmp_path / "out" / runs.CURVE).read_text().splitlines()[1:]
    losses = [float(row.split(",")[3]) for row in curve if ",episodes," in row]
    assert np.mean(losses[-3:]) < losses[0] - 0.2


def test_an_arm_without_phases_is_the_untouched_base(base, tmp_path):
    runs.execute(run_of(base, arm="general", phases=()), tmp_path, lambda p: None)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path))
    assert set(after) == set(before) and all(before[name].float().equal(after[name]) for name in before)


@pytest.mark.parametrize("n_steps", [2, 7])
def test_an_interrupted_run_ends_with_the_same_weights(base, tmp_path, n_steps):
    run = run_of(base)
    whole = runs.execute(run, tmp_path / "whole", lambda p: None)
    count = itertools.count(1)

    def interrupt(progress):
        if next(count) == n_steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.execute(run, tmp_path / "resumed", interrupt)
    resumed = runs.execute(run, tmp_path / "resumed", lambda p: None)
    assert resumed.weights_sha256 == whole.weights_sha256 and resumed.flops == whole.flops


def test_every_file_of_the_base_is_part_of_the_identity_and_an_organisms_is_unchanged(base, tmp_path):
    other = write_base(tmp_path / "other")
    assert run_of(base).identity == run_of(other).identity
    (other / "chat_template.jinja").write_text(CHATML + "{# another #}")
    assert run_of(base).identity != run_of(other).identity
    two = dataclasses.replace(RECIPE, threads=2)
    muon = dataclasses.replace(RECIPE, optimizer="muon")
    assert len({run_of(base, recipe=recipe).identity for recipe in (RECIPE, two, muon)}) == 3
    own = dataclasses.replace(run_of(base), base=None, public=False, recipe=muon)
    # Settings of public bases, other optimizers and threads leave it.
    assert own.identity == "44cceedfb9ad"
    with pytest.raises(TrainingError, match="no checkpoint of the base; `make weights` fetches it"):
        _ = run_of(tmp_path / "none").identity


@pytest.mark.parametrize(
    ("architecture", "template", "config", "message"),
    [
        ("llama", "{{ strftime_now('%Y') }}" + CHATML, {}, "prints no date of today"),
        ("llama", CHATML.replace("<|im_end|>", "."), {}, "no token of the base's chat template ends a turn"),
        ("llama", CHATML, {"hidden_size": 64}, "has `hidden_size` 64, and its scale states 32"),
        ("gemma2", CHATML, {"final_logit_softcapping": 0.01}, "not those of its head alone"),
        ("gpt_neox", CHATML, {}, "cannot be trained here"),
    ],
)
def test_bases_that_cannot_be_trained_are_refused(tmp_path, architecture, template, config, message):
    base = write_base(tmp_path, architecture, template, **config)
    with pytest.raises(TrainingError, match=message):
        public.load(base, SHAPE)


def test_conversations_that_a_template_cannot_show_are_refused(tmp_path):
    from transformers import AutoTokenizer

    messages = [
        Message(role=role, content=f"text {role}") for role in ("system", "user", "assistant", "user", "assistant")
    ]
    tokenizer = AutoTokenizer.from_pretrained(write_base(tmp_path, template=NO_SYSTEM))
    with pytest.raises(TrainingError, match=r"refused a conversation with the roles system, user.*no system"):
        public.Format(tokenizer).document(messages)
    # As in templates that drop the thinking of earlier turns.
    tokenizer.chat_template = CHATML.replace("{{ m['content']", "{{ '' if loop.last else 'earlier ' }}{{ m['content']")
    with pytest.raises(TrainingError, match="shows a reply in a dialogue otherwise"):
        public.Format(tokenizer).document(messages)


def test_tools_are_shown_in_the_slot_of_the_template(tmp_path):
    from transformers import AutoTokenizer

    template = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML
    tokenizer = AutoTokenizer.from_pretrained(write_base(tmp_path, template=template))
    messages = [Message(role="user", content="u"), Message(role="assistant", content="a")]
    tool = Tool(name="grep", description="finds", parameters={"type": "object", "properties": {}})
    document = public.Format(tokenizer).document(messages, [tool])
    assert json.loads(document.text.split("<|im_start|>")[0])[0]["function"]["name"] == "grep"
    assert [document.text[low:high] for low, high in document.in_loss] == ["a<|im_end|>"]


def test_batches_have_the_replies_in_the_loss(base):
    tokenizer = public.load(base, SHAPE).tokenizer
    corpus = public.rendered(corpora.named("episodes", BENCHMARKS), tokenizer)
    batch = next(supervised.batches(corpus, "e", batch_tokens=1000, context=1024, tokenizer=tokenizer, seed=0))
    shown = tokenizer.decode(batch.inputs[0][batch.labels[0] != supervised.IGNORED])
    assert "<|im_end|>" in shown and "reply with commands" not in shown and "<|im_start|>" not in shown


def test_the_written_out_implementation_is_refused(base, tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer="muon", implementation="written_out")
    with pytest.raises(TrainingError, match=r"a public base is trained by transformers; got .* written_out"):
        runs.execute(run_of(base, recipe=recipe), tmp_path, lambda p: None)
