"""Methods that vLLM adds to its workers, so that they can be called by name in an engine in a process of its own."""

from typing import Any, cast


class WorkerMethods:
    """What `load` needs after new weights; vLLM makes it a base class of its worker."""

    def pack_lm_heads(self) -> None:
        """Pack the output layer again: on the CPU vLLM 0.32 multiplies by a packed copy, which keeps the old weights."""
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        model = cast(Any, self).get_model()
        heads = (getattr(module, "lm_head", None) for module in model.modules())
        for head in heads:
            if hasattr(head, "weight"):
                dispatch_cpu_unquantized_gemm(cast(Any, head), remove_weight=False)
