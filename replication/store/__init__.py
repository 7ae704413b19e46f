"""The results store, where collecting ends and analysing begins: runs on disk, the score table, frozen studies.

    <root>/<run_id>/manifest.json       `records.Manifest`: spec, labels, tasks, and every engine that took part
                    episodes.jsonl      one line per attempt: all but the trajectory, and the position of its frame
                    scores.jsonl        one line per score, tied to the attempt that it grades
                    trajectories.bin    the messages of the attempts as JSON, in zlib blocks of several
                    trajectories.raw    of a run that is being written: what the next block will hold
                    *.scan              of a long run: what reading its lines found, to open it in less time
                    lock                locked by the one writer

Lines are only appended and the last line for a key counts, so a killed process loses only the episodes in flight.
Each line ends in a CRC32 of its content: damage is reported with its line number, never skipped.
Text is UTF-8 with `surrogatepass`, not `\\u` escapes: a high and a low lone surrogate side by side would be read back
from escapes as one character.

Belongs here: all knowledge of these files, of studies/<study>.json and of paper/data/<study>/. Does not: playing, grading
or any statistic. Not covered: forged checksums; compaction of replaced attempts; writing on Windows.
"""

from replication.store.store import Store

__all__ = ["Store"]
