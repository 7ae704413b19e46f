"""Print the plan of a study as plain text for the terminal."""

from replication import settings
from replication.analyse.planning import memory
from replication.analyse.planning.designs import Option
from replication.analyse.planning.plan import Plan
from replication.analyse.planning.precision import Precision
from replication.settings.engine_options import positive
from replication.text import amount, count, hours, money, percent, plain, table

WIDTH = 32
"""Width of the first column of the list of designs."""


def report(cfg: settings.Root, plan: Plan) -> str:
    """Return the printed plan of the configured study."""
    sections = [
        [f"plan of study {plan.study}: {cfg.study.scope}"],
        ["what is played", *_volumes(plan)],
        *_models(cfg, plan),
        ["what it takes", *_costs(cfg, plan)],
        [
            f"what it can show: {cfg.plan.treatment} minus {cfg.plan.control} at one scale, points; "
            f"{plan.n_runs_compared} training run(s) per arm, {cfg.study.n_trials} trial(s)",
            *_precision(cfg, plan),
        ],
        _designs(cfg, plan),
        *([_reach(plan)] if plan.reach else []),
        ["taken as known", *(f"  {a.name}{': ' if a.value else ''}{a.value}  [{a.origin}]" for a in plan.assumptions)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _volumes(plan: Plan) -> list[str]:
    totals = [sum(column) for column in zip(*plan.volumes.values(), strict=True)]
    rows = [[name, *map(count, volume)] for name, volume in [*plan.volumes.items(), ("all", totals)]]
    return table(["benchmark", "episodes", "predictions", "prompt tokens", "new tokens"], rows, indent="  ")


def _models(cfg: settings.Root, plan: Plan) -> list[list[str]]:
    if not plan.needs:
        return []
    head = ["checkpoint", "scale", "role", "GPUs", "download GB", "weights GiB/GPU", "episode GiB/GPU", "fit", "hours"]
    rows = [
        [
            name, cfg.models[name].scale, cfg.models[name].role, str(one.gpus),
            f"{'' if one.is_exact else 'about '}{amount(one.download_gb)}", amount(one.weights_gib),
            "unknown" if one.episode_gib is None else amount(one.episode_gib),
            "unknown" if one.room is None else count(one.room), hours(plan.model_hours[name]),
        ]
        for name, one in plan.needs.items()
    ]  # fmt: skip
    cache_gib = positive(cfg.engine, "kv_cache_gib", 0.0)
    where = f"a cache of {amount(cache_gib)} GiB" if cache_gib else f"{amount(cfg.plan.gpu_memory_gib)} GiB"
    at_once = min(cfg.engine.concurrency, positive(cfg.engine, "max_num_seqs", cfg.engine.concurrency))
    sections = [
        [
            f"checkpoints: cache of an episode of {count(cfg.engine.context)} tokens, and how many such fit at once in "
            f"{where}; the engine plays up to {count(at_once)}",
            *table(head, rows, indent="  ", n_left=3),
            *(f"  {line}" for line in _warnings(plan)),
        ]
    ]
    if cfg.pairs:
        rows = [[name, p.agent, p.general, p.certainty, p.base or "none"] for name, p in sorted(cfg.pairs.items())]
        notes = [f"  {name}: {p.differs}" for name, p in sorted(cfg.pairs.items()) if p.differs]
        head = ["pair", "tuned", "general", "base is", "base"]
        sections.append(
            ["matched pairs, and how they differ besides the tuning", *table(head, rows, indent="  ", n_left=5), *notes]
        )
    return [*sections, ["licences", *_licences(cfg)], ["what to know about the checkpoints", *_notes(cfg)]]


def _notes(cfg: settings.Root) -> list[str]:
    of_text: dict[str, list[str]] = {}
    for name, model in sorted(cfg.models.items()):
        if model.template_note:
            of_text.setdefault(model.template_note, []).append(name)
        if advice := model.sampling_defaults:
            text = (
                f"the vendor of the family recommends, without effect here, temperature {plain(advice.temperature)}, "
                f"top_p {plain(advice.top_p)}, top_k {advice.top_k}, repetition penalty "
                f"{plain(advice.repetition_penalty)}, presence penalty {plain(advice.presence_penalty)} "
                f"({advice.certainty}: {advice.reference})"
            )
            of_text.setdefault(text, []).append(name)
    return [f"  {', '.join(names)}: {text}" for text, names in of_text.items()] or ["  nothing is stated"]


def _warnings(plan: Plan) -> list[str]:
    too_large = [name for name, one in plan.needs.items() if one.room == 0]
    unknown = [name for name, one in plan.needs.items() if not one.is_exact]
    return [
        f"{text}: {', '.join(names)}"
        for names, text in (
            (too_large, "not one episode fits; raise `tensor_parallel_size` or lower `engine.context`"),
            (unknown, "sizes unknown, weights by the number of parameters"),
        )
        if names
    ]


def _licences(cfg: settings.Root) -> list[str]:
    needed = settings.restricted(cfg)
    free = sorted({m.licence or "not stated" for m in cfg.models.values()} - {one.licence for one in needed})
    lines = [f"  free to use: {', '.join(free)}"] * bool(free)
    for one in needed:
        state = "accepted" if one.is_accepted else f"needs `licences.accepted=[{one.licence}]`"
        lines.append(f"  {one.licence}{' (gated)' * one.gated}, {state}: {', '.join(one.models)}")
    return lines


def _costs(cfg: settings.Root, plan: Plan) -> list[str]:
    device = "GPU" if cfg.engine.options.get("device") == "cuda" else "engine"
    t, workers, engines = plan.training, cfg.training.workers, cfg.engine.processes
    wall = plan.gpu_hours / engines / memory.gpus_of(cfg, None)
    no_price = "no price given: plan.price_per_hour, plan.price_per_million_*_tokens"
    return [
        f"  training     {count(t.n_runs)} runs, {count(t.tokens)} tokens, {hours(plan.training_hours)} of one worker; "
        f"{hours(plan.training_hours / workers)} with {workers} side by side",
        f"  collecting   {hours(plan.gpu_hours)} of one {device}, in {hours(plan.engine_hours)} of engines; "
        f"{hours(wall)} with {engines} of them side by side",
        f"  disk         {amount(plan.disk_gb)} GB, of which downloads "
        f"{amount(sum(one.download_gb for one in plan.needs.values()))} GB",
        f"  cost         {no_price if plan.money is None else f'{money(plan.money)} {cfg.plan.currency}'}",
    ]


def _precision(cfg: settings.Root, plan: Plan) -> list[str]:
    n_tasks = {name: choice.n_tasks for name, choice in cfg.benchmarks.items()}
    rows = [[name, str(n_tasks.get(name, sum(n_tasks.values()))), *_cells(one)] for name, one in plan.precision.items()]
    rows.append(["all of them", "", "", "", _power(plan.joint_t2), "", "", _power(plan.joint_t3)])
    power = f"power {percent(cfg.plan.sesoi)}"
    return table(["benchmark", "tasks", "T2 half", "T2 MDE", power, "T3 half", "T3 MDE", power], rows, indent="  ")


def _cells(one: Precision) -> list[str]:
    return [
        _points(one.half_width_t2), _points(one.mde_t2), _power(one.power_t2),
        _points(one.half_width_t3), _points(one.mde_t3), _power(one.power_t3),
    ]  # fmt: skip


def _designs(cfg: settings.Root, plan: Plan) -> list[str]:
    a = plan.allocation
    lines = [
        ("  as it stands", a.current, ""),
        (f"  best use of {amount(a.budget)} {a.unit}", a.best, "nothing fits: raise plan.budget"),
        (
            f"  cheapest for MDE {percent(cfg.plan.sesoi)}",
            a.cheapest,
            "none within plan.max_tasks, max_trials and max_runs",
        ),
    ]
    return [
        f"the two arms alone, mean over the benchmarks, {a.target}: {a.unit} by design (tasks per benchmark, trials, "
        "training runs)",
        *(name.ljust(WIDTH) + (_option(option, a.unit) if option else absent) for name, option, absent in lines),
        f"  prices: a trial of one task of every benchmark {amount(a.costs.episode)}, a task {amount(a.costs.task)}, "
        f"a training run {amount(a.costs.training_run)} {a.unit}, all scales and scaffolds together",
    ]


def _reach(plan: Plan) -> list[str]:
    rows = [[r.claim_id, _power(r.published), _power(r.half), r.reason] for r in plan.reach]
    head = ["claim", "published true", "half of it", ""]
    return [
        "what its verdicts can reach: probability of `replicated` at T3, with the precision above, were the published "
        "effects true, and half of them",
        *table(head, rows, indent="  "),
    ]


def _option(option: Option, unit: str) -> str:
    half = "no interval" if option.half_width is None else f"half-width {percent(option.half_width)}"
    return (
        f"{option.n_tasks} tasks x {option.n_trials} x {option.n_training_runs}: SE {percent(option.se, 2)}, {half}, "
        f"{amount(option.cost)} {unit}"
    )


def _points(fraction: float | None) -> str:
    return "none" if fraction is None else percent(fraction)


def _power(fraction: float | None) -> str:
    return "none" if fraction is None else f"{percent(fraction, 0)} %"
