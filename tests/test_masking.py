"""Keys and passwords are recognised and leave the process in no setting, message, store, frozen data or paper."""

import ast
import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hydra import compose, initialize_config_dir
from parts import labels_of, make_job
from pdf_text import pdf_text
from test_end_to_end import build_paper, play, pretend_trained

from replication import settings
from replication.__main__ import main
from replication.collect import checks, engines, ingest
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.engines.vllm import description as vllm_description
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import ConfigError, EngineError, exit_on_error
from replication.masking import MASK, find_secrets, mask_text, masked, names_a_secret
from replication.store import Store
from replication.store.index import build_index, planned_run

KEYS = {
    "hf": "hf_" + "aB3" * 11, "openai": "sk-proj-" + "x9Y" * 12, "aws": "AKIA" + "Q7" * 8, "github": "ghp_" + "k2" * 18,
    "gitlab": "glpat-" + "m3" * 10, "slack": "xoxb-123456789012-abcdefABCDEF", "google": "AIza" + "z5" * 18,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_DEF-123", "wandb": "wandb_v1_" + "p4" * 20,
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["hf_token", "HF_TOKEN", "api_key", "apiKey", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "password", "Authorization"],
)
def test_name_of_a_secret_is_recognised(name):
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "n_tokens",
        "eos_token",
        "additional.pad_token",
        "tokenizer",
        "token_threshold",
        "keys",
        "SSH_AUTH_SOCK",
    ],
)
def test_name_of_another_setting_is_not_taken_for_a_secret(name):
    assert not names_a_secret(name)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_key_of_a_known_shape_is_masked_anywhere_in_a_text(key):
    assert mask_text(f"cannot serve: {key!r} is refused") == f"cannot serve: {MASK!r} is refused"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://ann:s3cret@host/x failed", f"GET https://{MASK}@host/x failed"),
        ("GET https://host/x?token=abcd1234&page=2", f"GET https://host/x?token={MASK}&page=2"),
        ("{'hf_token': 'my-own-value'}", f"{{'hf_token': '{MASK}'}}"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASK}"),
        ("Bearer abc.def-123", f"Bearer {MASK}"),
        ("engine.options.llm.api_key=hunter22", f"engine.options.llm.api_key={MASK}"),
    ],
)
def test_password_in_an_address_or_an_assignment_is_masked(text, expected):
    assert mask_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "revision 3f2a9c0d1e4b5a697887766554433221100ffeed", "https://host/org/name", "n=512, eos_token='<|im_end|>'",
        "hf_token=None, n_tokens: 4096, token_id: 1234", "full_key: engine.optoins", "basic setup", "a@b.example",
    ],
)  # fmt: skip
def test_text_without_a_secret_is_unchanged(text):
    assert mask_text(text) == text


def test_value_of_a_secret_variable_is_masked_where_it_has_no_known_shape(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plain-looking-value")
    monkeypatch.setenv("SSH_KEY", "/home/ann/.ssh/id")
    assert mask_text("got plain-looking-value from /home/ann/.ssh/id") == f"got {MASK} from /home/ann/.ssh/id"


def test_secrets_in_a_value_are_masked_and_their_positions_listed():
    value = {
        "llm": {"hf_token": "abc", "seed": 1, "n": ["x", KEYS["hf"]]},
        "headers": {"X-Mine": "abc"},
        "api_key": None,
    }
    assert masked(value) == {
        "llm": {"hf_token": MASK, "seed": 1, "n": ["x", MASK]}, "headers": {"X-Mine": MASK}, "api_key": None
    }  # fmt: skip
    assert list(find_secrets(value)) == ["llm.hf_token", "llm.n[1]", "headers.X-Mine"]


@pytest.mark.parametrize(
    "override",
    [
        "+engine.options.llm.hf_token=mine-12345", f"+engine.options.llm.tokenizer={KEYS['hf']}",
        "+engine.options.llm.download_dir='https://ann:pw@host/x'", "+engine.options.llm.extra={headers:{X:mine-12345}}",
    ],
)  # fmt: skip
def test_secret_among_the_settings_is_refused_by_its_position(override):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = compose("config", overrides=["study=controlled_tiny", override])
    with pytest.raises(ConfigError, match=r"`engine\.options\.llm\.\w+.* holds what looks like a key") as error:
        settings.checked(cfg)
    assert not any(secret in str(error.value) for secret in ("mine-12345", KEYS["hf"], "pw@"))


def test_secret_on_the_command_line_is_refused_before_hydra_can_quote_it(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "study=controlled_tiny", "engine.optoins.api_key=mine-12345"])
    printed = capsys.readouterr()
    assert stop.value.code == 2 and "engine.optoins.api_key=[masked]" in printed.err
    assert "mine-12345" not in printed.out + printed.err


def test_errors_mask_what_another_program_quotes(capsys):
    assert str(EngineError(f"vLLM cannot serve: hf_token='{KEYS['hf']}'")) == f"vLLM cannot serve: hf_token='{MASK}'"

    @exit_on_error
    def fail():
        raise OSError(f"https://ann:{KEYS['github']}@host is down")

    with pytest.raises(SystemExit):
        fail()
    assert capsys.readouterr().err == f"error (OSError): https://{MASK}@host is down\n"


def test_a_token_is_no_option_of_the_engine_so_no_run_id_depends_on_it():
    options = {"device": "cpu", "max_num_seqs": 1, "llm": {"hf_token": True}}
    with pytest.raises(ConfigError, match=r"`engine\.options\.llm\.hf_token` cannot be set"):
        engines.text_options("vllm", options)


class Reports:
    """A harness whose log and details quote a key."""

    name, version = "reports", "1"

    def prepare(self, run):
        pass

    launch = prepare

    def validate(self, run):
        return []

    def ingest(self, run):
        failed = dict(value=None, stop_reason="engine_error", error=f"401 for {KEYS['openai']}")
        scored = dict(value=1.0, stop_reason="answer", details={"judge": "x", "api_key": "mine-12345"})
        common = dict(trial=0, source="line 1")
        return [ItemResult(task_id="a", **failed, **common), ItemResult(task_id="b", **scored, **common)]


def test_errors_and_details_of_a_harness_are_masked_in_the_store(tmp_path):
    spec, store = make_job().spec, Store(tmp_path)
    run = HarnessRun(spec=spec, model=None, folder=tmp_path, n_tasks=2, n_trials=1)
    ingest.ingest(store, ingest.HarnessJob(harness=Reports(), run=run, labels=labels_of(spec), max_unscored=0.5))
    assert [episode.error for episode in store.episodes(spec.run_id)] == [f"401 for {MASK}", None]
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert MASK.encode() in stored and KEYS["openai"].encode() not in stored and b"mine-12345" not in stored


def test_key_in_a_manifest_of_an_older_version_is_not_published(tmp_path):
    job, store = make_job(n_tasks=1), Store(tmp_path)
    other = make_job(n_tasks=1, model="org/n")
    for one, key in ((job, "old-key-1"), (other, "old-key-2")):
        with store.writer(one.spec, one.labels, {"engine": "vllm", "environment": {"VLLM_API_KEY": key}}, one.tasks):
            pass
        store.record(one.spec.run_id, repeats=ingest.NO_REPEATS)
    runs = [planned_run(one.spec, one.tasks, 1) for one in (job, other)]
    study = settings.Study(name="s", kind="controlled", scope="x")
    index = build_index(store, study, runs, deviations=[], domains={}, levels={}, training=[])
    assert index.engine["environment"] == {"VLLM_API_KEY": MASK}
    assert checks.engine_differences(store, [run.run_id for run in runs]) == []


# -- everything at once ------------------------------------------------------------------------------------------------


def variables_of_vllm():
    """Read the names of vLLM's environment variables; importing it would take 20 s."""
    source = Path(importlib.util.find_spec("vllm").origin).parent / "envs.py"
    names = {node.value for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Constant)}
    return sorted(n for n in names if isinstance(n, str) and n.startswith("VLLM_") and n.isupper() and " " not in n)


@pytest.fixture
def planted(monkeypatch):
    """Plant a key of its own in every variable that the code or vLLM reads; returns the keys by name."""
    names = [*variables_of_vllm(), *vllm_description.VARIABLES]
    assert {"VLLM_API_KEY", "VLLM_HOST_IP", "VLLM_PLUGINS"} <= set(names)
    names += ["HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "OMP_TOOL"]
    keys = {name: f"planted-{at:03}-Zq7" for at, name in enumerate(dict.fromkeys(names))}
    for name, key in keys.items():
        monkeypatch.setenv(name, key + "-and-more-of-it")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        keys[name] = f"planted-{name}-Zq7"
        monkeypatch.setenv(name, f"http://ann:{keys[name]}@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "*")
    return keys


class Described(ScriptedEngine):
    """A scripted engine that describes itself as vLLM's does, with a key in every option."""

    def describe(self):
        part = type("Part", (), {"__getattr__": lambda self, name: None})()
        config = type("Config", (), {"__getattr__": lambda self, name: part})()
        tokenizer = SimpleNamespace(chat_template="x", backend_tokenizer=SimpleNamespace(to_str=lambda: "x"))
        options = {"seed": 0, "hf_token": "planted-option-1", "hf_overrides": {"headers": {"X": "planted-option-2"}}}
        options["download_dir"] = "s3://ann:planted-option-3@bucket"
        # Importing them takes 20 s; only their versions and the hardware are asked.
        backends = SimpleNamespace(cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX"))
        torch = SimpleNamespace(__version__="2", cuda=SimpleNamespace(is_available=lambda: False), backends=backends)
        with patch.dict(sys.modules, torch=torch, vllm=torch, transformers=torch):
            return vllm_description.description(config, tokenizer, "cpu", options)


def test_planted_keys_are_in_no_output_of_a_study(planted, tmp_path, monkeypatch, capfd):
    settings.register()
    small = ["benchmarks.terminal.n_tasks=4", "study.training_seeds=[0]", f"paths.results={tmp_path}/results"]
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=["study=controlled_tiny", *small]))
    cfg.benchmarks = {"terminal": cfg.benchmarks["terminal"]}
    cfg.arms = {name: cfg.arms[name] for name in ("agent_sft", "lwm_then_sft")}
    pretend_trained(cfg)
    monkeypatch.setattr("test_end_to_end.ScriptedEngine", Described)
    play(cfg)
    build_paper(cfg, tmp_path / "paper")
    monkeypatch.undo()

    outputs = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outputs[Path("printed")] = "".join(capfd.readouterr()).encode()
    (pdf,) = [path for path in outputs if path.suffix == ".pdf"]
    outputs[Path("text of the paper")] = pdf_text(pdf).replace(" ", "").encode()
    assert b"Anindependentreplication" in outputs[Path("text of the paper")]
    assert {path.suffix for path in outputs} >= {".json", ".jsonl", ".csv", ".svg", ".pdf", ".typ"}
    secrets = [*planted.values(), "planted-option-1", "planted-option-2", "planted-option-3"]
    leaks = {(str(path), key) for path, data in outputs.items() for key in secrets if key.encode() in data}
    assert not leaks
    (engine,) = {
        json.dumps(json.loads(data)["engine"]) for path, data in outputs.items() if path.parent.name == "studies"
    }
    described = json.loads(engine)
    assert described["settings"]["hf_token"] == MASK and described["settings"]["seed"] == 0
    assert set(described["environment"]) == vllm_description.VARIABLES
    assert set(described["environment"].values()) == {MASK}


def test_switches_of_the_environment_are_recorded_and_nothing_else():
    variables = {
        "VLLM_ATTENTION_BACKEND": "FLASHINFER_MLA_SPARSE", "OMP_NUM_THREADS": "4", "VLLM_CPU_OMP_THREADS_BIND": "0-7|8-15",
        "OMP_PLACES": "{0:4},{4:4}", "VLLM_DP_MASTER_IP": "10.0.0.7", "HOME": "/root", "VLLM_API_KEY": "x",
        "VLLM_KV_CACHE_LAYOUT": "0123456789abcdef0123",
    }  # fmt: skip
    assert vllm_description._environment(variables) == {
        "OMP_NUM_THREADS": "4", "OMP_PLACES": "{0:4},{4:4}", "VLLM_ATTENTION_BACKEND": "FLASHINFER_MLA_SPARSE",
        "VLLM_CPU_OMP_THREADS_BIND": "0-7|8-15", "VLLM_KV_CACHE_LAYOUT": MASK,
    }  # fmt: skip


def test_no_setting_of_the_schema_is_named_like_a_secret():
    names = {
        f.name for part in vars(settings).values() if dataclasses.is_dataclass(part) for f in dataclasses.fields(part)
    }
    assert len(names) > 100 and not [name for name in names if names_a_secret(name)]
