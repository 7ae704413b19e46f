"""Blocks of text made ahead in other processes, so that a GPU never waits for them."""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from replication import processes
from replication.collect.training.supervised import Block, BlockKey, make_block

DEPTH = 4
"""Blocks of one corpus in the making."""

KEPT = 64
"""Blocks that runs with the same texts may still ask for."""


class Ahead:
    """Blocks by number, of which the next ones are made while a run trains; runs with the same texts share them."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._futures: OrderedDict[tuple[BlockKey, int], Future[Block]] = OrderedDict()

    def block(self, key: BlockKey, number: int) -> Block:
        """Return a block, and begin the next ones."""
        for at in range(number, number + DEPTH):
            if (key, at) not in self._futures:
                self._futures[key, at] = self._pool.submit(processes.call, make_block, key, at)
        while len(self._futures) > KEPT:
            self._futures.popitem(last=False)
        self._futures.move_to_end((key, number))
        return self._futures[key, number].result()


@contextlib.contextmanager
def processes_for_texts(n: int) -> Iterator[Ahead | None]:
    """Open this many processes; none: texts are made where they are needed."""
    if n == 0:
        yield None
        return
    with processes.workers(n) as pool:
        yield Ahead(pool)
