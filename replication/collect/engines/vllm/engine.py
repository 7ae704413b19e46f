"""vLLM in process: one engine, many episodes in flight, checkpoints of one architecture swapped in place.

A separate thread steps the engine, so the event loop is never blocked: a coroutine puts its request into a queue and
awaits a future; before each step the thread adds all queued requests to the running batch (continuous batching).

Two bugs of vLLM 0.32 on the CPU are worked around, and regression tests cover both: per-request seeds crash with
chunked prefill (so chunking is off), and reload_weights leaves the packed copy of tied embeddings at the old weights
(so lm_head is packed again).
"""

import asyncio
import contextlib
import gc
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from replication.collect.engines.vllm.chat import render
from replication.collect.engines.vllm.description import description
from replication.collect.engines.vllm.options import Options
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.records import Json, Reply, Request

if TYPE_CHECKING:
    import torch


class _Waiting(NamedTuple):
    prompt_ids: list[int]
    params: Any
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop


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
        self._settings: dict[str, Any] = {
            "dtype": dtype, "max_model_len": context, "max_num_seqs": options.max_num_seqs, "use_tqdm_on_load": False,
            **options.llm,
        }  # fmt: skip
        if options.kv_cache_gib is not None:
            self._settings["kv_cache_memory_bytes"] = int(options.kv_cache_gib * 2**30)
        self._environment = {
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(options.multiprocessing)),
            "OMP_NUM_THREADS": str(options.threads),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
            "TOKENIZERS_PARALLELISM": "false",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        self._llm: Any = None
        self._tokenizer: Any = None
        self._model: ModelRef | None = None
        self._failure: str | None = None
        self._ids = itertools.count()
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def load(self, model: ModelRef) -> None:
        """Serve this checkpoint from now on: swap weights if the architecture is the same, else start another engine."""
        self._check_folder(model)
        if self._llm is None or self._model is None or self._model.architecture != model.architecture:
            self.close()
            self._start(model)
        elif model.path != self._model.path:
            self._swap(model.path)
        self._model = model

    def _check_folder(self, model: ModelRef) -> None:
        # A hub id has the form org/name; a path that exists, or any other form, must be a folder with a checkpoint.
        path = Path(model.path)
        is_local = path.exists() or model.path.startswith((".", "/", "~")) or len(path.parts) != 2
        if is_local and not ((path / "config.json").is_file() and list(path.glob("*.safetensors"))):
            raise EngineError(
                f"no checkpoint of `{model.name}` at `{model.path}`: config.json or *.safetensors is missing. "
                f"Run `make train`, or fix the model's path in conf/."
            )

    def _start(self, model: ModelRef) -> None:
        os.environ.update(self._environment)
        if Path(model.path).exists():
            os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            from vllm import LLM
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error}). Run `make install`; it has wheels for Linux x86_64 and aarch64 only."
            ) from error
        self._check_threads()
        try:
            arguments = dict(self._settings)
            if not Path(model.path).exists():
                arguments["revision"] = model.revision
            self._llm = LLM(model=model.path, **arguments)
        except Exception as error:  # vLLM raises many types here; none of them leaves a usable engine
            raise EngineError(f"vLLM cannot serve `{model.name}` from `{model.path}`: {_first_line(error)}") from error
        self._tokenizer = self._llm.get_tokenizer()
        self._failure, self._closed = None, False
        self._thread = threading.Thread(target=self._run, name="vllm-steps", daemon=True)
        self._thread.start()

    def _check_threads(self) -> None:
        # OpenMP reads its environment when torch is loaded. If that was earlier and with another number of threads,
        # vLLM's attention on the CPU fails in the middle of a run.
        if self._device != "cpu" or "torch" not in sys.modules:
            return
        import torch

        if torch.get_num_threads() != self._threads:
            raise EngineError(
                f"torch was loaded with {torch.get_num_threads()} threads before the engine was started with "
                f"`engine.options.threads` {self._threads}. Start the engine first, or set OMP_NUM_THREADS={self._threads}."
            )

    def _swap(self, path: str) -> None:
        if self._waiting or self._llm.llm_engine.has_unfinished_requests():
            raise EngineError("`load` was called while requests are in flight; await them first.")
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": path})
        if self._device == "cpu":
            self._llm.apply_model(_pack_lm_head)
        self._llm.reset_prefix_cache()
        # The tokenizer may differ too: same architecture, other vocabulary file.
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(path)
        if tokenizer.get_vocab() != self._tokenizer.get_vocab():
            raise EngineError(
                f"the tokenizer at `{path}` differs from the engine's; give the model its own architecture."
            )
        self._tokenizer = tokenizer

    # -- requests -------------------------------------------------------------------------------------------------

    async def generate(self, request: Request) -> Reply:
        """Render the chat and sample one reply, without blocking the event loop."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        if self._failure is not None or self._tokenizer is None:
            raise EngineError(self._failure or "no checkpoint is loaded; call `load` first.")
        prompt_ids = render(self._tokenizer, request)
        room = self._context - len(prompt_ids)
        if room < 1:
            return Reply(text="", finish="context", n_prompt_tokens=len(prompt_ids), n_completion_tokens=0)
        sampling = request.sampling
        params = SamplingParams(
            temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, seed=request.seed,
            max_tokens=min(sampling.max_tokens, room), stop=list(request.stop), output_kind=RequestOutputKind.FINAL_ONLY,
            # Some families mark calls with special tokens, which would be dropped from the text.
            skip_special_tokens=not request.tools,
            structured_outputs=None if request.schema is None else StructuredOutputsParams(json=dict(request.schema)),
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()
        with self._wake:
            self._waiting.append(_Waiting(prompt_ids, params, future, loop))
            self._wake.notify()
        output = (await future).outputs[0]
        cut_by_context = output.finish_reason == "length" and room < sampling.max_tokens
        return Reply(
            text=output.text,
            finish="context" if cut_by_context else "length" if output.finish_reason == "length" else "stop",
            n_prompt_tokens=len(prompt_ids), n_completion_tokens=len(output.token_ids),
        )  # fmt: skip

    def n_prompt_tokens(self, request: Request) -> int:
        """Count the tokens of a request's prompt, chat template included."""
        if self._tokenizer is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        return len(render(self._tokenizer, request))

    # -- the stepping thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        in_flight: dict[str, _Waiting] = {}
        while True:
            with self._wake:
                while not (self._waiting or in_flight or self._closed):
                    self._wake.wait()
                if self._closed:
                    break
                arrived = list(self._waiting)
                self._waiting.clear()
            try:
                self._add(arrived, in_flight)
                for output in self._llm.llm_engine.step():
                    if output.finished:
                        _settle(in_flight.pop(output.request_id), output)
            except Exception as error:  # the engine has failed; every waiting episode must be notified
                self._failure = f"vLLM failed while generating: {_first_line(error)}"
                with self._wake:
                    arrived = [w for w in arrived if w not in in_flight.values()] + list(self._waiting)
                    self._waiting.clear()
                for waiting in [*in_flight.values(), *arrived]:
                    _settle(waiting, EngineError(self._failure))
                break

    def _add(self, arrived: list[_Waiting], in_flight: dict[str, _Waiting]) -> None:
        for waiting in arrived:
            request_id = str(next(self._ids))
            try:
                self._llm.llm_engine.add_request(request_id, {"prompt_token_ids": waiting.prompt_ids}, waiting.params)
            except ValueError as error:  # vLLM rejected this request; the engine is unaffected
                _settle(waiting, EngineError(f"vLLM refused a request: {_first_line(error)}"))
            else:
                in_flight[request_id] = waiting

    # -- description ----------------------------------------------------------------------------------------------

    def describe(self) -> Mapping[str, Json]:
        """Return versions and resolved settings, which also show a changed default of vLLM."""
        if self._llm is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        return description(self._llm.llm_engine.vllm_config, self._tokenizer, self._device, self._settings)

    def close(self) -> None:
        """Stop the thread and release the engine with its memory."""
        if self._thread is not None:
            with self._wake:
                self._closed = True
                self._wake.notify()
            self._thread.join()
        self._thread = self._llm = self._tokenizer = self._model = None
        # vLLM frees its memory and process groups when the object is collected; a second engine needs them.
        gc.collect()


def _settle(waiting: _Waiting, result: Any) -> None:
    def deliver() -> None:
        if waiting.future.done():
            return
        if isinstance(result, Exception):
            waiting.future.set_exception(result)
        else:
            waiting.future.set_result(result)

    # The loop is closed if the run failed elsewhere, for example on a full disk; then nothing awaits this reply.
    with contextlib.suppress(RuntimeError):
        waiting.loop.call_soon_threadsafe(deliver)


def _pack_lm_head(model: "torch.nn.Module") -> None:
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    dispatch_cpu_unquantized_gemm(cast(Any, model.lm_head), remove_weight=False)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}"[:400]
