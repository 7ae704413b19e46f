"""Stand-in of the tasks of QwenClawBench."""

from types import SimpleNamespace


class TaskLoader:
    def __init__(self, folder):
        self.folder = folder

    def load_all_tasks(self):
        return [SimpleNamespace(task_id=name) for name in ("task_1", "task_2")]
