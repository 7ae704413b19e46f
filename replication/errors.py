"""One exception per boundary; a message states the problem, the value, the allowed values and the remedy."""

from collections.abc import Callable
from typing import TypeVar

from replication import processes
from replication.masking import mask_text

T = TypeVar("T")


class ReplicationError(Exception):
    """Base of all errors that a user can correct; entry points print its text and exit with code 2.

    Keys and passwords in the text are masked: it may quote another program's message, and is stored with an episode.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask_text(argument) if isinstance(argument, str) else argument for argument in arguments))


class ConfigError(ReplicationError):
    """A setting is unknown, missing or out of range."""


class ClaimError(ReplicationError):
    """A claim file is incomplete, for example without a source."""


class EvidenceError(ReplicationError):
    """A table of published numbers is malformed."""


class StoreError(ReplicationError):
    """The results store is corrupt, locked by another writer, or cannot be written."""


class EngineError(ReplicationError):
    """The engine cannot start, cannot load a checkpoint, or failed during generation."""


class RequestRefused(EngineError):
    """The engine refused one request, as it would again, so it is not retried; other requests are unaffected."""


class EpisodeTimeout(EngineError):
    """An episode took longer than its limit; the request in flight was given up."""


class ParserFault(ReplicationError):
    """A scaffold's parser failed on a reply, which it must read whatever it is: the episode is unscored."""


class EnvironmentFault(ReplicationError):
    """A simulated environment failed: its episode is unscored, the run continues and ends with an error."""


class HarnessError(ReplicationError):
    """An official harness failed, or its results cannot be used; nothing was stored."""


class TrainingError(ReplicationError):
    """A training run cannot start or its result is unusable."""


class LaunchError(ReplicationError):
    """A job of a sweep cannot be submitted, or a line of its manifest failed."""


class AnalysisError(ReplicationError):
    """The data cannot support the requested estimate."""


def one_line(error: BaseException) -> str:
    """Format an error as one line: the boundary that failed and the reason."""
    return f"error ({type(error).__name__}): {mask_text(str(error))}"


def exit_on_error(main: Callable[..., T]) -> Callable[..., T]:
    """Wrap an entry point: an expected failure prints one message and exits with code 2, without a traceback.

    Expected failures are `ReplicationError` and OSError (disk full, no permission), whose text names the file.
    """
    import functools
    import sys

    @functools.wraps(main)
    def guarded(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except (ReplicationError, OSError) as error:
            print(one_line(error), file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print(processes.RESUMES, file=sys.stderr)
            sys.exit(processes.exit_code())

    return guarded
