"""``python -m smoke_tests.bench``: run, tell, write."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from smoke_tests import settings
from smoke_tests.bench import against, cli, flops, limits, price, report, scenarios, table, work
from smoke_tests.bench.errors import BenchError
from smoke_tests.bench.narrator import Narrator
from smoke_tests.bench.service import Service, check_graph, check_profile, describe
from smoke_tests.comfy_client import BadTarget, ComfyClient, ComfyError, Target
from smoke_tests.stack import read_stack

OUT = Path("reports/bench")
OK, FAILED, INTERRUPTED, NOT_RUN = 0, 1, 2, 4


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit status of the process."""
    options = cli.parser().parse_args(arguments)
    wrong = cli.faults(options)
    if wrong:
        cli.complain(f"{'; '.join(wrong)} is allowed, since nothing else can be run. Correct it")
        return NOT_RUN
    try:
        target = _target(options)
        saved = report.read(options.against) if options.against else None
    except (BadTarget, BenchError) as error:
        cli.complain(str(error))
        return NOT_RUN
    if target is None:
        cli.complain(settings.NO_TARGET.replace("smoke tests need", "benchmark needs"))
        return NOT_RUN
    try:
        _run(options, target, saved)
    except (BenchError, ComfyError) as error:
        cli.complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        cli.complain("interrupted; the job was cancelled")
        return INTERRUPTED
    return OK


def _target(options: argparse.Namespace) -> Target | None:
    """The service; fills in instance type and region where a stack tells them."""
    if options.outputs == "-":
        raise BadTarget(
            "--outputs is -, but the benchmark takes a file only.",
            remedy="Use --stack NAME, which asks Pulumi itself.",
        )
    told = settings.resolve(
        url=options.url,
        token_file=options.token_file,
        ca_file=options.ca_file,
        outputs=options.outputs,
        stack=options.stack,
        stack_dir=options.stack_dir,
        artifacts=None,
        timeout_s=options.timeout,
        allow_simulated=True,
        allow_plain_http=options.allow_plain_http,
        environ=os.environ,
    )
    if options.price_per_hour is None and options.instance_type is None:
        outputs: dict[str, object] = {}
        if options.stack:
            outputs = read_stack(options.stack, options.stack_dir)
        elif options.outputs:
            outputs = price.outputs(options.outputs)
        options.instance_type = str(outputs.get("instanceType") or "")
        options.region = str(outputs.get("region") or "")
    return told.target if told else None


def _run(options: argparse.Namespace, target: Target, saved: dict[str, object] | None) -> None:
    name, workflow = work.load(options)
    job = work.job_of(workflow)
    with ComfyClient(target) as client:
        stats, simulated = client.system_stats()
        service = describe(stats, simulated=simulated, gpu_name=options.gpu)
        check_profile(options.profile, service)
        check_graph(workflow.classes(), service)
        options.out = options.out or OUT / (service.profile or "other")
        against.refuse_folder(options.against, options.out)
        options.out.mkdir(parents=True, exist_ok=True)
        narrator = Narrator(report.SIMULATED if simulated else "", quiet=options.quiet)
        narrator.say(f"{name} on {target.url}, profile {service.profile or 'none'}")
        workflow = work.upload(client, name, workflow, options.out)
    found = report.Report(
        url=target.url,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        simulated=simulated,
        service=service.facts,
        profile=service.profile,
        workflow=name,
        job=job,
        seed=options.seed,
        outcomes=(),
        least=_least(service, job),
        price=None,
        notes=(service.note,) if service.note else (),
    )
    if saved is not None:
        against.refuse(found, saved, options.against)  # before an hour was spent
    plan = scenarios.Plan(
        target=target,
        workflow=workflow,
        folder=options.out,
        seed=options.seed,
        timeout_s=options.timeout,
        tell=narrator.progress,
    )
    chosen, without = price.choose(
        options.price_per_hour,
        options.currency,
        options.instance_type or "",
        options.region or "",
    )
    found = replace(
        found,
        outcomes=tuple(_outcomes(options, plan, narrator)),
        price=chosen,
        notes=(*found.notes, *([without] if without else [])),
    )
    if saved is not None:
        narrator.say("comparing pictures")
        compared = against.compare(
            found, options.out, saved, options.against, on_frame=narrator.frames
        )
        found = replace(found, comparison=compared)
    _tell(options, found)


def _least(service: Service, job: flops.Job) -> limits.Limit | None:
    if service.gpu is None:
        return None
    return limits.limit(service.gpu, flops.sampling(job), job.steps)


def _outcomes(
    options: argparse.Namespace, plan: scenarios.Plan, narrator: Narrator
) -> list[scenarios.Outcome]:
    found = []
    if not options.no_cold:
        found.append(scenarios.cold(plan))
    found.append(scenarios.warm(plan, options.repeats, first=options.no_cold))
    used = 1 + options.repeats
    for clients in options.clients:
        narrator.say(f"{clients} clients at once")
        found.append(scenarios.concurrent(plan, clients, options.client_videos, used=used))
        used += clients * options.client_videos
    return found


def _tell(options: argparse.Namespace, found: report.Report) -> None:
    # drawing takes a second to load, and a run that failed needs none
    from smoke_tests.bench import plot  # noqa: PLC0415

    path = report.write(found, options.out)
    pictures = plot.write(found, options.out)
    if options.plain:
        print("\n".join(report.plain(found)))
        return
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print("\n".join(table.lines(found, colour=colour)))
    mark = f"{found.mark}  " if found.simulated else ""
    print(f"{mark}results: {path}, {', '.join(each.name for each in pictures)}")


if __name__ == "__main__":
    sys.exit(main())
