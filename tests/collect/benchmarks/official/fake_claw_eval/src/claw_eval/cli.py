"""Stand-in of the command line of Claw-Eval: the function through which its loop grades."""


def _grade_with_optional_params(
    grader, messages, dispatches, task, *, audit_data, judge, media_events, env_snapshot=None
):
    return grader.grade(messages, judge, env_snapshot), []
