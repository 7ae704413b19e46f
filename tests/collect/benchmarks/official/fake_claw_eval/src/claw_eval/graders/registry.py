"""Stand-in of a module of Claw-Eval: a grader that swallows exceptions, as 86 of the real ones do."""

from types import SimpleNamespace


class Grader:
    def grade(self, messages, judge, snapshot):
        try:
            score = judge.evaluate(f"rubric of {messages[0]}").score
        except Exception:
            score = 0.0
        files = [entry["content"] for name, entry in (snapshot or {}).items() if name.startswith("file:")]
        return SimpleNamespace(
            completion=score, robustness=1.0, communication=0.0, safety=0.0 if "leak" in files else 1.0
        )


def get_grader(task_id, tasks_dir, task_dir):
    return Grader()
