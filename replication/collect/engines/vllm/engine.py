"""vLLM in process: one engine, many episodes in flight; checkpoints that differ in their weights only are swapped in place.

Two bugs of vLLM 0.32 on the CPU are worked around, and regression tests cover both: per-request seeds crash with
chunked prefill (so chunking is off), and reload_weights leaves the packed copy of tied embeddings at the old weights
(so lm_head is packed again).
"""

import datetime
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from replication.collect.engines.vllm.chat import Chat
from replication.collect.engines.vllm.checkpoint import Checkpoint, open_checkpoint
from replication.collect.engines.vllm.description import description
from replication.collect.engines.vllm.generation import Generation
from replication.collect.engines.vllm.options import Options, batch_invariance
from replication.collect.engines.vllm.stepping import Stepper, first_line
from replication.collect.engines.vllm.thinking import Thinking, check_parser
from replication.collect.engines.vllm.weights import require_all_tensors
from replication.collect.engines.vllm.worker import WorkerMethods
from replication.collect.interfaces import ModelRef
from replication.errors import ConfigError, EngineError, RequestRefused
from replication.records import Json, Reply, Request

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""torch reads these when it is loaded; with MKL the second one wins."""


class VllmEngine:
    """Serves one checkpoint at a time from local folders or hub ids.

    Parameters
    ----------
    dtype : float32 on the CPU (where the text of a seed does not depend on the batch), bfloat16 on GPUs.
    context : longest prompt plus reply, tokens.
    options : see `Options`.
    """

    def __init__(self, dtype: str, context: int, options: Options):
        self._device, self._context, self._threads = options.device, context, options.threads
        self._stall_s, self._date = options.stall_s, _date(options.date)
        self._settings: dict[str, Any] = {
            "dtype": dtype, "max_model_len": context, "max_num_seqs": options.max_num_seqs, "use_tqdm_on_load": False,
            # Sampling defaults come from conf/ alone; the ids that end a text are still read from the checkpoint.
            "generation_config": "vllm", **options.llm,
        }  # fmt: skip
        if options.kv_cache_gib is not None:
            self._settings["kv_cache_memory_bytes"] = int(options.kv_cache_gib * 2**30)
        self._threads_found = {name: os.environ[name] for name in _THREADS if name in os.environ}
        self._environment = {
            **dict.fromkeys(_THREADS, str(options.threads)),
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(options.multiprocessing)),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
            "TOKENIZERS_PARALLELISM": "false",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            **batch_invariance(options, os.environ),
        }
        self._llm: Any = None
        self._tokenizer: Any = None
        self._checkpoint: Checkpoint | None = None
        self._has_all_tensors = False
        self._chat: Chat | None = None
        self._generation: Generation | None = None
        self._stepper: Stepper | None = None

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def load(self, model: ModelRef) -> None:
        """Serve this checkpoint from now on: swap the weights if all else is equal, else start another engine.

        After an error no checkpoint is loaded, and the next call starts an engine.
        """
        if self._stepper is not None and self._stepper.busy:
            raise EngineError("`load` was called while requests are in flight; await them first.")
        try:
            checkpoint = open_checkpoint(model)
            served = self._checkpoint
            if self._must_restart(checkpoint):
                self.close()
                self._start(checkpoint)
            elif served is not None and served.identity != checkpoint.identity:
                self._swap(checkpoint)
            checkpoint.require_unchanged()
            if self._chat is None or served is None or served.model.template_options != model.template_options:
                self._open_chat(model)
            else:  # the same tokenizer and template, or the engine would have been started anew
                self._chat = self._chat.named(model.name)
        except BaseException:  # an interruption in the middle of a swap, too
            self.close()
            raise
        self._checkpoint = checkpoint

    def _open_chat(self, model: ModelRef) -> None:
        thinking = Thinking(self._tokenizer, model.reasoning_parser, model.template_options)
        self._chat = Chat(
            self._tokenizer, name=model.name, date=self._date, thinking=thinking, options=model.template_options
        )
        self._generation = Generation(
            self._tokenizer, stop_token_ids=self._chat.stop_token_ids, thinks=thinking.parser is not None
        )

    def _must_restart(self, checkpoint: Checkpoint) -> bool:
        served = self._checkpoint
        if self._stepper is None or self._stepper.failure is not None or served is None or served.engine_key is None:
            return True
        return (served.engine_key, served.model.reasoning_parser) != (
            checkpoint.engine_key, checkpoint.model.reasoning_parser,
        )  # fmt: skip

    def _start(self, checkpoint: Checkpoint) -> None:
        os.environ.update(self._environment)
        # Two messages at every start that a user can do nothing about: vLLM reads a name that torch has deprecated, and
        # torch logs that Triton is missing.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
        logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
        try:
            from vllm import LLM
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error}). Run `make install`; it has wheels for Linux x86_64 and aarch64 only."
            ) from error
        self._check_threads()
        logging.getLogger("vllm.renderers.hf").addFilter(_is_no_template_of_its_guess)
        model = checkpoint.model
        try:
            arguments = {
                **self._settings,
                "worker_extension_cls": f"{WorkerMethods.__module__}.{WorkerMethods.__name__}",
            }
            if model.reasoning_parser is not None:
                check_parser(model.reasoning_parser)
                arguments["reasoning_parser"] = model.reasoning_parser
            self._llm = LLM(model=str(checkpoint.folder), **arguments)
            self._tokenizer = self._llm.get_tokenizer()
        except EngineError:
            raise
        except Exception as error:  # vLLM raises many types here; none of them leaves a usable engine
            raise EngineError(
                f"vLLM cannot serve `{model.name}` from `{checkpoint.folder}`: {first_line(error)}"
            ) from error
        config = self._llm.llm_engine.vllm_config.model_config.hf_config
        self._has_all_tensors = require_all_tensors(config, checkpoint.tensors, model.name)
        from vllm.exceptions import VLLMClientError

        refusals = (ValueError, TypeError, VLLMClientError)
        in_process = self._environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        enter = _same_stream() if self._device == "cuda" and in_process else lambda: None
        self._stepper = Stepper(
            self._llm.llm_engine, refusals=refusals, stall_s=self._stall_s, enter=enter,
            on_one_core=self._device == "cpu" and self._threads == 1 and in_process,
        )  # fmt: skip

    def _check_threads(self) -> None:
        # OpenMP reads its environment when torch is loaded. If that was earlier and with another number of threads,
        # vLLM's attention on the CPU fails in the middle of a run.
        if self._device != "cpu" or "torch" not in sys.modules:
            return
        import torch

        if torch.get_num_threads() != self._threads:
            found = (
                ", ".join(f"{name}={value}" for name, value in self._threads_found.items()) or "none of them was set"
            )
            wanted = " ".join(f"{name}={self._threads}" for name in _THREADS)
            raise EngineError(
                f"torch was loaded with {torch.get_num_threads()} threads before the engine was started with "
                f"`engine.options.threads` {self._threads} ({found}). Start the program with `{wanted}`."
            )

    def _swap(self, checkpoint: Checkpoint) -> None:
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(checkpoint.folder)})
            if self._device == "cpu":
                self._llm.collective_rpc("pack_lm_heads")
            self._llm.reset_prefix_cache()
        except Exception as error:  # as in `_start`
            raise EngineError(
                f"vLLM cannot load the weights of `{checkpoint.model.name}` from `{checkpoint.folder}`: "
                f"{first_line(error)}"
            ) from error

    # -- requests -------------------------------------------------------------------------------------------------

    async def generate(self, request: Request) -> Reply:
        """Render the chat and sample one reply, without blocking the event loop."""
        if self._chat is None or self._stepper is None or self._generation is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        chat, thinking, generation = self._chat, self._chat.thinking, self._generation
        prompt = chat.prompt(request)
        room = self._context - len(prompt.ids)
        if room < 1:
            return Reply(text="", finish="context", n_prompt_tokens=len(prompt.ids), n_completion_tokens=0)
        params = generation.params(request, room)

        def add(request_id: str) -> None:
            engine, tokens = self._llm.llm_engine, {"type": "token", "prompt_token_ids": prompt.ids}
            if request.schema is None or thinking.parser is None:
                engine.add_request(request_id, tokens, params)
                return
            # The schema applies after the thinking. vLLM would look for its end in the whole prompt, where earlier turns
            # may show theirs.
            tasks = engine.get_supported_tasks()
            core = engine.input_processor.process_inputs(request_id, tokens, params, supported_tasks=tasks)
            core.reasoning_ended = prompt.state == "closed"
            core.reasoning_parser_kwargs = thinking.parser_options
            engine.add_request(request_id, core, params)

        output = (await self._stepper.submit(add)).outputs[0]
        if output.finish_reason in ("error", "abort"):
            cause = ", probably because its schema cannot be compiled or followed" if request.schema is not None else ""
            kind = EngineError if request.schema is None else RequestRefused
            raise kind(
                f"vLLM ended a request with `{output.finish_reason}` after {len(output.token_ids)} tokens{cause}."
            )
        parts = thinking.split(generation.text(output, params, prompt.ids), prompt.state)
        cut_by_context = output.finish_reason == "length" and room < request.sampling.max_tokens
        return Reply(
            text=parts.text, thinking=parts.thinking,
            finish="context" if cut_by_context else "length" if output.finish_reason == "length" else "stop",
            n_prompt_tokens=len(prompt.ids), n_completion_tokens=len(output.token_ids),
        )  # fmt: skip

    def n_prompt_tokens(self, request: Request) -> int:
        """Count the tokens of a request's prompt, chat template included."""
        if self._chat is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        return len(self._chat.prompt(request).ids)

    # -- description ----------------------------------------------------------------------------------------------

    def describe(self) -> Mapping[str, Json]:
        """Return versions and resolved settings, which also show a changed default of vLLM."""
        if self._llm is None or self._checkpoint is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        facts = description(self._llm.llm_engine.vllm_config, self._tokenizer, self._device, self._settings)
        taken = self._llm.llm_engine.input_processor.generation_config_fields.get("eos_token_id")
        facts["all_tensors_found"] = self._has_all_tensors
        facts["generation_config"] = {"stated": self._checkpoint.generation_config, "taken": {"eos_token_id": taken}}
        facts["checkpoint"] = self._checkpoint.hashes
        return facts if self._chat is None else facts | {"chat": self._chat.facts()}

    def close(self) -> None:
        """Stop the thread and release the engine with its memory; open requests fail."""
        if self._stepper is not None:
            self._stepper.close()
        if self._llm is not None:
            # At once: when the object is collected, this would take the process groups of the next engine with it.
            self._llm.llm_engine.engine_core.shutdown()
        self._stepper = self._llm = self._tokenizer = self._checkpoint = self._chat = self._generation = None
        gc.collect()


def _is_no_template_of_its_guess(record: logging.LogRecord) -> bool:
    """Drop vLLM's report, with a traceback, that it cannot guess the format of contents; `Chat` finds it by trying."""
    return "Error when parsing AST of Jinja template" not in record.getMessage()


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"`engine.options.date` must be a date such as 2026-01-01; got {text!r}.") from None


def _same_stream() -> Callable[[], object]:
    """Return a function that moves another thread to this thread's CUDA stream.

    vLLM gives the thread that starts it a stream of its own. On the default stream the steps would not be ordered with the
    weights that `load`, in this thread, writes on that one. With one stream, and as `load` runs only while no request is in
    flight, each step sees all weights of one checkpoint. An engine in a process of its own does both in one thread.
    """
    import torch

    stream = torch.cuda.current_stream()

    def enter() -> None:
        torch.cuda.set_device(stream.device)
        torch.cuda.set_stream(stream)  # vLLM's own, which also remembers the stream of the thread

    return enter
