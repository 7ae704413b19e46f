"""Parts that several test files build runs from: suite jobs and scripted models."""

from replication import scaffolds
from replication.benchmarks import suite
from replication.records import Message, Request, RunSpec, Sampling, Task, stable_seed
from replication.runner import Job

SAMPLING = Sampling(temperature=0.7, max_tokens=32)


def make_job(benchmark="terminal", *, n_tasks=6, n_trials=2, level=1, temperature=0.7, seed=0, model="org/m"):
    """Build a job on real suite tasks."""
    bench, scaffold = suite.load(benchmark), scaffolds.load("compact")
    spec = RunSpec(
        model=model, revision="r1", dtype="float32", context=512, benchmark=bench.name,
        benchmark_version=bench.version, scaffold=scaffold.name, scaffold_version=scaffold.version, max_turns=8,
        max_episode_tokens=200, sampling=Sampling(temperature=temperature, max_tokens=32), seed=seed,
    )  # fmt: skip
    tasks = bench.tasks("evaluation", level, n_tasks, seed)
    labels = {"arm": "agent_sft", "scale": "s", "params_b": 0.001, "training_seed": 0}
    return Job(spec=spec, labels=labels, benchmark=bench, scaffold=scaffold, tasks=tasks, n_trials=n_trials)


def expert_replies(job: Job) -> dict[str, list[str]]:
    """Write each task's expert as this scaffold's model would; by prompt."""
    found = {}
    for task in job.tasks:
        seed = int(task.id.rsplit("/", 1)[1].split("-")[0])
        draft = job.benchmark.draft(task.split, task.level, task.index, seed)
        found[task.prompt] = [job.scaffold.write(action) for action in draft.expert]
    return found


def n_turns_so_far(request: Request) -> int:
    """Count the assistant's messages in a request."""
    return sum(m.role == "assistant" for m in request.messages)


def prompt_of(request: Request) -> str:
    """Find the task's prompt in a request."""
    return next(m.content for m in request.messages if m.role == "user")


def expert_script(job: Job):
    """Make a script that plays the expert."""
    replies = expert_replies(job)
    return lambda request: replies[prompt_of(request)][n_turns_so_far(request)]


def noisy_script(job: Job):
    """Make a script that errs depending on the request's seed alone, as a sampling model does."""
    replies = expert_replies(job)

    def script(request: Request) -> str:
        if stable_seed("err", request.seed) % 3 == 0:
            return "answer done"
        return replies[prompt_of(request)][n_turns_so_far(request)]

    return script


def user(text: str) -> Message:
    """Make a user message."""
    return Message(role="user", content=text)


def changed(task: Task) -> Task:
    """Change one character of a task under the same id."""
    import dataclasses

    return dataclasses.replace(task, prompt=task.prompt + ".")
