"""Corpora, loop and checkpoints: same seed same weights, interrupted or not; another seed other weights."""

import csv
import dataclasses
import json
import os
import signal
import time

import pytest

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.interfaces import Selection
from replication.collect.training import corpora, curricula, loop, muon, organism, pool, run_state, runs, supervised
from replication.collect.training.documents import chat
from replication.collect.training.organism import Shape
from replication.errors import ConfigError, TrainingError
from replication.records import Message, stable_hash

BENCHMARKS = (("calling", (1, 2)), ("terminal", (1, 2)))
RECIPE = curricula.TrainingConfig(
    batch_tokens=512, context=512, warmup_tokens=300, decay_share=0.3, adam_share=0.3, weight_decay=0.1, clip=1.0,
    precision="float32", compile=False, save_every_s=1e9,
)  # fmt: skip
SHAPE = Shape(
    hidden=32, layers=1, heads=1, kv_heads=1, head_dim=32, intermediate=64, vocabulary=400, context=512
)  # fmt: skip


def base_run(**changes):
    run = runs.TrainingRun(
        arm="base", scale="t", training_seed=0, shape=SHAPE, base=None, recipe=RECIPE, device="cpu",
        phases=(runs.PhasePlan(corpus="general", benchmarks=(), n_tokens=4_000, lr=0.01),), n_tokenizer_blocks=1,
    )  # fmt: skip
    return dataclasses.replace(run, **changes)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    runs.execute(base_run(), folder, lambda progress: None)
    return folder


def arm_run(base, **changes):
    phases = (
        runs.PhasePlan(corpus="transitions", benchmarks=BENCHMARKS[1:], n_tokens=3_000, lr=0.005),
        runs.PhasePlan(corpus="episodes", benchmarks=BENCHMARKS, n_tokens=3_000, lr=0.005),
    )
    return base_run(**{"arm": "lwm_then_sft", "base": str(base), "phases": phases, "n_tokenizer_blocks": 0} | changes)


# corpora


GOLDEN = {"general": "b4f1", "episodes": "6b02", "transitions": "b75d"}
"""First digits of the hash of block 0 at seed 0 under corpora.VERSION."""


@pytest.mark.parametrize("name", GOLDEN)
def test_corpus_text_changes_only_with_its_version(name):
    texts = [[d.text, d.in_loss] for d in corpora.named(name, BENCHMARKS)(0, 0)]
    assert (corpora.VERSION, stable_hash(texts, 4)) == ("3", GOLDEN[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_corpus_depends_on_seed_and_block_only(name):
    corpus = corpora.named(name, BENCHMARKS)
    assert corpus(0, 3) == corpus(0, 3)
    assert corpus(0, 3) != corpus(1, 3) and corpus(0, 3) != corpus(0, 4)


def test_world_model_corpus_predicts_observations_and_general_corpus_has_no_tools():
    for document in corpora.named("transitions", BENCHMARKS[1:])(0, 0):
        assert "you are the terminal" in document.text
    assert not any("<|im_start|>tool" in d.text for d in corpora.general(0, 0))


def test_only_replies_are_in_the_loss():
    document = chat([Message(role="user", content="ab"), Message(role="assistant", content="cd")], [False, True])
    assert [document.text[a:b] for a, b in document.in_loss] == ["cd<|im_end|>"]


ALL = tuple((name, (1,)) for name in suite.NAMES)


def test_placebo_has_the_same_words_and_prompts_but_other_observations():
    real, shuffled = (corpora.named(name, ALL)(0, 0) for name in ("predictions", "predictions_shuffled"))

    def environment(prediction):
        return prediction.messages[0].content.split("\n")[0]

    n_kept = 0
    for one, other in zip(real, shuffled, strict=True):
        assert one.messages[-1] == other.messages[-1] and one.messages[0] == other.messages[0]
        n_kept += one.observation == other.observation
    assert n_kept < len(real) / 2
    # Permuted within an environment: over whole documents the observations are the same.
    texts = {name: corpora.named(name, ALL)(0, 0) for name in ("transitions", "transitions_shuffled")}
    for name in suite.NAMES:
        observed = [
            sorted(d.text[a:b] for d in documents if f"you are the {name}\n" in d.text for a, b in d.in_loss)
            for documents in texts.values()
        ]
        assert observed[0] == observed[1] and len(observed[0]) > 10
    assert {environment(p) for p in real} == {f"you are the {name}" for name in suite.NAMES}


def test_prediction_is_one_turn_of_a_true_dialogue():
    documents = [d.text for d in corpora.named("transitions", ALL)(0, 0)]
    for prediction in corpora.named("predictions", ALL)(0, 0):
        assert prediction.messages[-1].role == "user"
        whole = chat(
            [*prediction.messages, Message(role="assistant", content=prediction.observation)],
            [False] * (len(prediction.messages) + 1),
        ).text
        assert any(text.startswith(whole) for text in documents)


def test_episodes_of_several_scaffolds_are_mixed_and_rendered_as_by_the_chat_template(base):
    from replication.collect.training.organism import load_tokenizer

    documents = corpora.named("episodes", ALL, ("compact", "json", "native", "react"))(0, 0)
    starts = ("reply with commands", "Each reply is one JSON object", "<|im_start|>tools\n", "Thought: <thought>")
    assert all(sum(start in d.text for d in documents) > 30 for start in starts)
    scaffold, tokenizer = scaffolds.load("native"), load_tokenizer(base)
    (task,) = suite.load("calling").tasks(Selection(split="train", n_tasks=1, seed=0, levels=(1,)))
    messages = scaffold.open(task)
    theirs = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages], tokenize=False,
        tools=[
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in task.tools
        ],
    )  # fmt: skip
    assert chat(messages, [False] * len(messages), task.tools).text == theirs


def test_training_tasks_never_are_evaluation_tasks():
    evaluation = Selection(split="evaluation", n_tasks=300, seed=0, levels=(1,))
    evaluated = {task.prompt for name, _ in BENCHMARKS for task in suite.load(name).tasks(evaluation)}
    drawn = list(corpora._draw_tasks(BENCHMARKS, "episodes", 0, 0))
    assert {item.task.attributes["split"] for item in drawn} == {"train"}
    assert not {item.task.prompt for item in drawn} & evaluated


def test_unknown_corpus_is_rejected_by_name():
    with pytest.raises(ConfigError, match="`corpus` 'web' is unknown"):
        corpora.named("web", ())


# the loop


def test_chat_template_renders_the_text_that_training_reads(base):
    from replication.collect.training.organism import load_tokenizer

    tokenizer = load_tokenizer(base)
    messages = [Message(role=role, content=f"text of {role}\nmore") for role in ("system", "user", "assistant", "tool")]
    ours = chat(messages, [False] * 4).text
    theirs = tokenizer.apply_chat_template([{"role": m.role, "content": m.content} for m in messages], tokenize=False)
    assert ours == theirs


def test_name_has_the_same_tokens_in_every_position(base):
    from replication.collect.training.organism import load_tokenizer

    tokenizer = load_tokenizer(base)
    name = tokenizer("kavo", add_special_tokens=False).input_ids
    for text in ("a kavo", "/kavo", "\nkavo.txt", "1kavo2"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert any(ids[i : i + len(name)] == name for i in range(len(ids)))
    assert tokenizer.decode(tokenizer("ä \ud7ff\t x", add_special_tokens=False).input_ids) == "ä \ud7ff\t x"


def test_same_seed_gives_the_same_weights_and_another_seed_others(base, tmp_path):
    a = runs.execute(arm_run(base), tmp_path / "a", lambda p: None)
    b = runs.execute(arm_run(base), tmp_path / "b", lambda p: None)
    c = runs.execute(arm_run(base, training_seed=1), tmp_path / "c", lambda p: None)
    assert a.weights_sha256 == b.weights_sha256 != c.weights_sha256
    assert 6_000 * 6 * a.n_parameters <= a.flops and 6 * a.n_parameters * a.n_tokens < a.flops


class Killed(Exception):
    pass


@pytest.mark.parametrize("n_steps", [3, 9])
def test_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(base, tmp_path, n_steps):
    whole = runs.execute(arm_run(base), tmp_path / "whole", lambda p: None)
    run = arm_run(base, recipe=dataclasses.replace(RECIPE, save_every_s=0.0))
    seen = []

    def kill(progress):
        seen.append(progress)
        time.sleep(0.002)  # so that the next step is a moment later and the state is saved
        if len(seen) == n_steps:
            raise Killed

    with pytest.raises(Killed):
        runs.execute(run, tmp_path / "cut", kill)
    assert runs.read_finished(run, tmp_path / "cut") is None
    resumed = []
    cut = runs.execute(run, tmp_path / "cut", resumed.append)
    assert cut.weights_sha256 == whole.weights_sha256
    assert len(seen) + len(resumed) < 2 * len((tmp_path / "whole" / "curve.csv").read_text().splitlines())
    curves = [_untimed(tmp_path / name / runs.CURVE) for name in ("whole", "cut")]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_within_a_step_saves_the_state_after_it_and_training_continues_there(base, tmp_path, number):
    whole = runs.execute(arm_run(base), tmp_path / "whole", lambda p: None)
    steps = []
    corpus, sent = corpora.named("episodes", BENCHMARKS), []

    def interrupting(seed, block):  # called within a step, which must not be cut
        if not sent:
            sent.append(os.kill(os.getpid(), number))
        return corpus(seed, block)

    model, tokenizer = runs._initial(arm_run(base), None)
    plan = runs._phase(arm_run(base).phases[1])
    curriculum = curricula.Curriculum(
        phases=[dataclasses.replace(plan, corpus=interrupting)], recipe=RECIPE, training_seed=0
    )  # fmt: skip
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.train(model, tokenizer, curriculum, tmp_path / "state.pt", report=steps.append)
    finally:
        signal.signal(signal.SIGTERM, previous)
    state = loop._load_state(tmp_path / "state.pt", "cpu")
    assert (state["step"], len(state["curve"]), steps) == (1, 1, [])
    resumed = loop.train(model, tokenizer, curriculum, tmp_path / "state.pt", report=steps.append)
    assert [row["step"] for row in resumed.curve] == list(range(len(steps) + 1)) and whole.n_tokens > 0


def partly_silent(seed, block):
    """Return documents of which every second has no token in the loss."""
    documents = corpora.named("general", ())(seed, block)[:64]
    return [dataclasses.replace(d, in_loss=d.in_loss if i % 2 else ()) for i, d in enumerate(documents)]


@pytest.mark.parametrize("implementation", ["transformers", "written_out"])
def test_loss_of_a_step_without_a_token_in_the_loss_is_missing_and_it_has_no_gradient(base, tmp_path, implementation):
    model, tokenizer, seen = organism.load_model(base), organism.load_tokenizer(base), []
    recipe = dataclasses.replace(RECIPE, batch_tokens=32, implementation=implementation, weight_decay=0.0)

    def train(corpus, n_tokens):
        phase = curricula.Phase(name="episodes", corpus=corpus, n_tokens=n_tokens, lr=0.01)
        curriculum = curricula.Curriculum(phases=[phase], recipe=recipe, training_seed=0)
        return loop.train(model, tokenizer, curriculum, tmp_path / "state.pt", report=seen.append)

    before = {name: value.clone() for name, value in model.state_dict().items()}
    silent = train(lambda *at: partly_silent(*at)[::2], 2_000)
    assert len(silent.curve) > 1 and {row["loss"] for row in silent.curve} == {None} and seen == []
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())

    mixed = train(partly_silent, 12_000)
    losses = [row["loss"] for row in mixed.curve]
    assert len(seen) == len(losses) - losses.count(None) > 1 < losses.count(None)
    assert all(0 < loss < 10 for loss in losses if loss is not None)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    runs._write_curve(tmp_path / runs.CURVE, mixed)
    cells = [row["loss"] for row in csv.DictReader((tmp_path / runs.CURVE).read_text().splitlines())]
    assert [runs._number(cell) for cell in cells] == losses and cells.count("") == losses.count(None)


@pytest.mark.parametrize("implementation", ["transformers", "written_out", "stacked"])
def test_run_that_diverges_is_an_error_and_leaves_no_checkpoint(base, tmp_path, implementation):
    phase = runs.PhasePlan(corpus="episodes", benchmarks=BENCHMARKS, n_tokens=60_000, lr=1e30)
    run = arm_run(base, phases=(phase,), recipe=dataclasses.replace(RECIPE, implementation=implementation))
    with pytest.raises(
        TrainingError, match=r"(loss of step \d+, in phase `episodes`, is|step is) (nan|inf).*Lower the learning"
    ):
        runs.execute(run, tmp_path, lambda progress: None)
    assert not (tmp_path / runs.RECORD).exists()


def test_non_finite_weights_after_the_last_step_are_not_saved(base, tmp_path):
    import torch

    run = arm_run(base)
    job = runs._job(run, tmp_path, None)
    with torch.no_grad():
        next(job.model.parameters())[3, 1] = torch.nan
    with pytest.raises(TrainingError, match=r"training of `lwm_then_sft-t-s0-\w+` ended with NaN or infinite weights"):
        runs._saved(run, tmp_path, job, curricula.UNTRAINED)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("supported", [True, False])
def test_the_record_names_the_type_of_the_updates_where_a_processor_has_no_bfloat16(
    base, tmp_path, monkeypatch, supported
):
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    muon.product_type.cache_clear()
    try:
        record = runs.execute(arm_run(base), tmp_path, lambda p: None)
    finally:
        muon.product_type.cache_clear()
    assert record.muon_dtype == ("bfloat16" if supported else "float32")
    assert ("muon_dtype" in json.loads((tmp_path / runs.RECORD).read_text())) != supported


def test_nan_in_the_curve_of_an_older_version_is_read_as_missing():
    assert [runs._number(cell) for cell in ("nan", "", "1.5", "7")] == [None, None, 1.5, 7]


def test_state_of_an_older_version_is_not_continued(tmp_path):
    loop.save_state(tmp_path / "state.pt", {"version": run_state.STATE_VERSION - 1})
    assert loop._load_state(tmp_path / "state.pt", "cpu") is None


def _untimed(curve):
    with curve.open() as file:
        return [{key: value for key, value in row.items() if key != "wall_s"} for row in csv.DictReader(file)]


def test_changed_setting_is_another_training_run(base):
    run = arm_run(base)
    others = [
        arm_run(base, training_seed=1), arm_run(base, device="cuda"), arm_run(base, phases=run.phases[1:]),
        arm_run(base, recipe=dataclasses.replace(RECIPE, clip=2.0)),
    ]  # fmt: skip
    assert len({r.identity for r in [run, *others]}) == 5
    assert arm_run(base, recipe=dataclasses.replace(RECIPE, save_every_s=1.0)).identity == run.identity


def test_run_that_starts_from_another_runs_checkpoint_ends_as_if_it_had_not(base, tmp_path):
    whole = arm_run(base)
    first = dataclasses.replace(whole, arm="warm_up", phases=whole.phases[:1])
    assert whole.longest_prefix({first.identity: None}).identity == first.identity
    assert first.longest_prefix({whole.identity: None, first.identity: None}) is None
    undisturbed = runs.execute(whole, tmp_path / "whole", lambda p: None)
    runs.execute(first, tmp_path / "first", lambda p: None)
    seen = []
    started = runs.execute(whole, tmp_path / "started", seen.append, tmp_path / "first")
    for key in ("weights_sha256", "n_tokens", "flops", "phases"):
        assert getattr(started, key) == getattr(undisturbed, key)
    curves = [_untimed(tmp_path / name / runs.CURVE) for name in ("whole", "started")]
    assert curves[0] == curves[1] and len(seen) < len(curves[0])


def test_arms_with_equal_budgets_are_matched_in_compute_within_one_percent(base, tmp_path):
    def run(arm, *phases):
        return arm_run(base, arm=arm, phases=phases, recipe=dataclasses.replace(RECIPE, batch_tokens=128))

    transitions = runs.PhasePlan(corpus="transitions", benchmarks=BENCHMARKS[1:], n_tokens=25_000, lr=0.005)
    episodes = runs.PhasePlan(corpus="episodes", benchmarks=BENCHMARKS, n_tokens=25_000, lr=0.005)
    spent = [
        runs.execute(one, tmp_path / one.arm, lambda p: None).flops
        for one in (
            run("lwm_then_sft", transitions, episodes),
            run("agent_sft_matched", dataclasses.replace(episodes, n_tokens=50_000)),
        )
    ]
    assert max(spent) / min(spent) < 1.01


def test_missing_and_replaced_bases_are_errors_with_their_path(base, tmp_path):
    with pytest.raises(TrainingError, match=r"no base at .*make bases"):
        _ = arm_run(tmp_path).identity
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in base.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    record = json.loads((copy / "training.json").read_text()) | {"weights_sha256": "0" * 64}
    (copy / "training.json").write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=r"not those of its training\.json"):
        runs.execute(arm_run(copy), tmp_path / "out", lambda p: None)


def test_finished_run_without_its_weights_is_not_finished_and_with_others_is_an_error(base, tmp_path):
    run = arm_run(base)
    runs.execute(run, tmp_path, lambda p: None)
    assert runs.read_finished(run, tmp_path) is not None
    weights = (tmp_path / runs.WEIGHTS).read_bytes()
    (tmp_path / runs.WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(TrainingError, match=r"Remove the folder and run `make train`"):
        runs.read_finished(run, tmp_path)
    (tmp_path / runs.WEIGHTS).unlink()
    assert runs.read_finished(run, tmp_path) is None


def test_documents_too_long_for_the_context_are_counted_by_scaffold_and_described(base, tmp_path):
    episodes = runs.PhasePlan(
        corpus="episodes", benchmarks=BENCHMARKS, n_tokens=2_000, lr=0.005, scaffolds=("compact", "react")
    )
    run = arm_run(base, phases=(arm_run(base).phases[0], episodes), recipe=dataclasses.replace(RECIPE, context=300))
    record = runs.execute(run, tmp_path, lambda p: None)
    first, second = record.documents
    assert first == {"transitions": {"drawn": 256, "too_long": first["transitions"]["too_long"]}}
    tokenizer = organism.load_tokenizer(base)
    documents = corpora.named("episodes", BENCHMARKS, ("compact", "react"))(0, 0)
    for name in ("compact", "react"):
        lengths = [len(tokenizer(d.text, add_special_tokens=False).input_ids) for d in documents if d.scaffold == name]
        assert second[f"episodes {name}"] == {"drawn": len(lengths), "too_long": sum(n > 300 for n in lengths)}
    share = second["episodes react"]
    assert share["too_long"] > 0 and runs.read_documents(tmp_path) == record.documents
    (line, *_) = pool.Summary(1, 1, 0.0, {"episodes react": share}).left_out()
    assert line.startswith(f"WARNING, {share['too_long']} of {share['drawn']} documents of `episodes react` (")


def test_context_too_short_for_every_document_is_an_error(base):
    tokenizer, corpus = organism.load_tokenizer(base), corpora.named("episodes", BENCHMARKS)
    with pytest.raises(TrainingError, match=r"no document of `episodes` \(block 0\) fits a context of 20 tokens"):
        next(supervised.batches(corpus, "episodes", batch_tokens=64, context=20, tokenizer=tokenizer, seed=0))


def test_padding_and_prompts_are_not_in_the_loss(base):
    import numpy as np

    from replication.collect.training.organism import load_tokenizer

    tokenizer = load_tokenizer(base)
    corpus = corpora.named("episodes", BENCHMARKS)
    batch = next(supervised.batches(corpus, "p", batch_tokens=512, context=512, tokenizer=tokenizer, seed=0))
    in_loss = tokenizer.decode(batch.inputs[0][batch.labels[0] != -100])
    assert in_loss.count("<|im_end|>") >= 1 and "reply with commands" not in in_loss
    assert batch.n_tokens == int((batch.inputs != tokenizer.pad_token_id).sum())
    assert np.all(batch.labels[batch.inputs == tokenizer.pad_token_id] == -100)
