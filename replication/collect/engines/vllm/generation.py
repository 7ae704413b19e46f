"""vLLM's form of a request's sampling, and the text of its output.

Texts are decoded once, when they are complete, where that gives the text that vLLM builds token by token.
"""

import copy
import json
from typing import Any

from replication.collect.engines.vllm.stepping import first_line
from replication.errors import RequestRefused
from replication.records import Request, Sampling

_REPLACEMENT = "\ufffd"
"""Stands for bytes that are no character; vLLM leaves out those at the end of a text."""


class Generation:
    """Sampling parameters and texts of one checkpoint.

    Parameters
    ----------
    tokenizer : of the checkpoint.
    stop_token_ids : tokens that end a reply besides the end of sequence.
    thinks : whether the thinking is marked by tags, which may be special tokens.
    """

    def __init__(self, tokenizer: Any, *, stop_token_ids: list[int], thinks: bool):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        decoder = None if backend is None else json.loads(backend.to_str())["decoder"]
        # Bytes in a row: the text of a reply does not depend on the prompt before it.
        self._backend: Any = backend if decoder is not None and decoder["type"] == "ByteLevel" else None
        self._stop_token_ids, self._thinks = stop_token_ids, thinks
        self._params: dict[tuple[Sampling, tuple[str, ...], bool], Any] = {}

    def params(self, request: Request, room: int) -> Any:
        """Return vLLM's sampling parameters, owned by this request; RequestRefused if vLLM does not take them.

        room : tokens that the context leaves for the reply.
        """
        key = (request.sampling, request.stop, bool(request.tools))
        if request.schema is None and key in self._params:
            params = copy.copy(self._params[key])
            params.seed, params.max_tokens = request.seed, min(request.sampling.max_tokens, room)
            return params
        params = self._checked(request, room)
        if request.schema is None:
            self._params[key] = copy.copy(params)
        return params

    def _checked(self, request: Request, room: int) -> Any:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        sampling = request.sampling
        try:
            return SamplingParams(
                temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, seed=request.seed,
                max_tokens=min(sampling.max_tokens, room), stop=list(request.stop), stop_token_ids=self._stop_token_ids,
                output_kind=RequestOutputKind.FINAL_ONLY,
                # Some families mark calls or thinking with special tokens, which would be dropped from the text.
                skip_special_tokens=not (request.tools or self._thinks),
                structured_outputs=None if request.schema is None else StructuredOutputsParams(json=dict(request.schema)),
                # Texts before which a reply stops are looked for in the growing text.
                detokenize=self._backend is None or bool(request.stop),
                skip_clone=True,  # else vLLM copies them with everything in them
            )  # fmt: skip
        except (ValueError, TypeError, VLLMClientError) as error:
            raise RequestRefused(f"vLLM refused a request: {first_line(error)}") from error

    def text(self, output: Any, params: Any, prompt_ids: list[int]) -> str:
        """Return the text of a finished output, as vLLM decodes it."""
        if params.detokenize:
            text: str = output.text
            return text
        ids = output.token_ids[:-1] if output.finish_reason == "stop" else output.token_ids
        text = self._backend.decode(ids, skip_special_tokens=params.skip_special_tokens)
        if _REPLACEMENT in text:
            return self._step_by_step(ids, params.skip_special_tokens, prompt_ids)
        return text

    def _step_by_step(self, ids: list[int], skip_special_tokens: bool, prompt_ids: list[int]) -> str:
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(ids=prompt_ids, skip_special_tokens=skip_special_tokens)
        text = ""
        for index in ids:
            try:
                text += stream.step(self._backend, index) or ""
            except Exception as error:  # the library's only type here; vLLM goes on with a new stream, too
                if not str(error).startswith("Invalid prefix encountered"):
                    raise
                stream = DecodeStream(skip_special_tokens=skip_special_tokens)
                text += stream.step(self._backend, index) or ""
        return text
