"""``python -m rehearsal``: the whole main job on this machine, without an account and a GPU."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.table import Table

from rehearsal import emulator as cloud
from rehearsal.artifacts import ArtifactError, Artifacts
from rehearsal.display import Display
from rehearsal.journey import JOURNEYS, Images, Journey, PulumiError, RehearsalError
from rehearsal.machine.cleanup import clean_slot, recorded_state, used_slots
from rehearsal.machine.errors import MachineError
from rehearsal.machine.prerequisites import require_machines
from rehearsal.machine.slots import Slot
from rehearsal.paths import REPOSITORY, state_root
from rehearsal.workspace import Tools, end_leftovers

TIME_SCALE = 0.001
"""Statuses of the emulated cloud change at once, so that a rehearsal waits only as long as the
real provider does anyway (5 s for a VPC, 10 s for a machine, each way)."""
PROVISION = REPOSITORY / "rehearsal" / "toolchain" / "provision.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(argv)
    display = Display()
    folder = state_root()
    if options.command == "clean":
        # All targets: whoever cleans up does not remember which one was interrupted.
        return max(clean(each(folder / name, display), display) for name, each in JOURNEYS.items())
    journey = JOURNEYS[options.target](folder / options.target, display)
    try:
        return rehearse(journey, display, keep=options.keep)
    except (RehearsalError, PulumiError, cloud.EmulatorError, ArtifactError, MachineError) as error:
        display.console.print(f"[bold red]The rehearsal failed:[/] {error}", markup=True)
    except KeyboardInterrupt:
        display.console.print("[bold red]Interrupted.[/]")
    display.console.print(display.timings())
    display.console.print(
        f"What is left is in {journey.folder}; the emulator's log is cloud/emulator.log there.\n"
        "`make rehearsal` starts again from nothing, `make rehearsal-clean` removes everything."
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    parser.add_argument("--target", choices=sorted(JOURNEYS), default="ecs", help="what to deploy")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="stop after the smoke test and leave everything running; says how to go on",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "clean"],
        default="run",
        help="run: the rehearsal (default). clean: remove everything, also after a kill -9",
    )
    return parser


def provide_tools(home: Path, variant: str = "plain") -> Tools:
    """Find, download or build the engine and its plugins; silent when they are there.

    Args:
        home: becomes the private Pulumi home, with the plugins linked into it.
        variant: "plain", or "fast" for a provider whose fixed waits can be shortened.

    Raises:
        RehearsalError: they cannot be had; the toolchain has said why.
    """
    command = [sys.executable, str(PROVISION), "--variant", variant]
    ended = subprocess.run(command, check=False)
    if ended.returncode != 0:
        raise RehearsalError("the tools could not be provided; see the message above")
    answer = subprocess.run(
        [*command, "--print-env", "--home", str(home)],
        check=True,
        text=True,
        capture_output=True,
    )
    facts: dict[str, Any] = json.loads(answer.stdout)
    return Tools(Path(facts["pulumi"]), tuple(facts["path_prepend"]), Path(facts["pulumi_home"]))


def provide_images(display: Display) -> Images:
    """Build the machine's root file system and the images, or find them in the cache."""
    artifacts = Artifacts(progress=display.note)
    artifacts.machine_root()
    return Images(
        comfyui=artifacts.image("comfyui").reference, gateway=artifacts.image("gateway").reference
    )


def rehearse(journey: Journey, display: Display, *, keep: bool) -> int:
    """Go through the main job and return 0 when all of it went well."""
    started = time.time()
    with display.phase("Prerequisites, tools and images"):
        require_machines(journey.folder)
        clean(journey, display, quiet=True)
        tools = provide_tools(journey.folder / "pulumi-home")
        images = provide_images(display)

    with display.phase("Emulated Alibaba Cloud"):
        emulator = cloud.start(journey.cloud_state, machines="podman", time_scale=TIME_SCALE)
        display.note(f"OpenAPI at https://{emulator.endpoint}, control at {emulator.control}")
        workspace = journey.workspace(emulator, tools)
        workspace.prepare()
        slot = slots_of(journey)[0]
        display.note(f"public addresses {slot.public_network}, this computer is allowed in")
        journey.configure(workspace, images, f"{slot.operator_address}/32")

    with display.phase("pulumi up"):
        outputs = journey.up(workspace)
        created = journey.created(workspace)
    with display.phase("Nothing left to do: preview and refresh"):
        journey.nothing_to_do(workspace)
    with display.phase("Smoke test"):
        facts = journey.smoke_test(outputs)
    if keep:
        display.console.print(created)
        display.console.print(display.timings())
        display.console.print(Panel(journey.how_to_use(workspace, outputs), title="Running"))
        return 0
    with display.phase("A change of the config, in place"):
        journey.change_in_place(workspace, outputs)
    with display.phase("pulumi destroy"):
        journey.destroy(workspace, emulator)
        emulator.stop()
        for slot in slots_of(journey):
            clean_slot(slot)

    display.console.print(created)
    display.console.print(display.timings())
    display.console.print(_summary(journey, outputs, facts))
    _write_report(journey, display, outputs, facts, started)
    return 0


def _summary(journey: Journey, outputs: dict[str, Any], facts: dict[str, Any]) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")  # a path is of use only if it can be copied whole
    for title, fact in journey.facts(outputs).items():
        grid.add_row(title, fact)
    video = facts["video"]
    smoke = journey.report / "smoke"
    grid.add_row("Video", str(smoke / video["file"]))
    grid.add_row("Contact sheet", str(smoke / video["contact_sheet"]))
    grid.add_row("Report", str(journey.report))
    grid.add_row("Simulated", "\n".join(journey.simulated))
    return Panel(grid, title="[green]The main job works[/]", border_style="green")


def _write_report(
    journey: Journey,
    display: Display,
    outputs: dict[str, Any],
    facts: dict[str, Any],
    started: float,
) -> None:
    document = {
        "started": started,
        "phases": [vars(phase) for phase in display.phases],
        "target": journey.target,
        "where": journey.facts(outputs),
        "simulated": list(journey.simulated),
        "smoke_test": facts,
    }
    path = journey.report / "rehearsal.json"
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")


def clean(journey: Journey, display: Display, *, quiet: bool = False) -> int:
    """Remove machines, networks, disks and state of the rehearsal; idempotent."""
    # First, so that nothing is made any more while the rest is removed.
    removed = [f"process {pid} of Pulumi" for pid in end_leftovers(journey.workspace_folder)]
    pid_file = journey.cloud_state / "pid"
    if pid_file.exists():
        cloud.end_process(int(pid_file.read_text().strip() or "0"))
    removed += [line for slot in slots_of(journey) for line in clean_slot(slot)]
    removed_state = _remove(journey)
    if not quiet:
        for line in removed:
            display.note(f"removed {line}")
        if not removed and not removed_state:
            display.note("nothing to remove")
        else:
            display.note(f"removed the state in {journey.folder}")
    return 0


def slots_of(journey: Journey) -> list[Slot]:
    """Network slots that belong to this rehearsal; one while it runs."""
    state = journey.cloud_state.resolve()
    return [slot for slot in used_slots() if recorded_state(slot) == state]


def _remove(journey: Journey) -> bool:
    """Delete the rehearsal's folder; whether there was one."""
    if not journey.folder.exists():
        return False
    # A mount that could not be removed must not be emptied.
    command = ["rm", "-rf", "--one-file-system", str(journey.folder)]
    subprocess.run(command, check=True)
    return True
