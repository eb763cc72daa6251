"""What a person sees while a rehearsal runs: phases with their times, and a summary at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Phase:
    """One phase of a rehearsal; ``seconds`` is wall-clock time."""

    title: str
    seconds: float = 0.0
    ended: str = "running"


@dataclass
class Display:
    """Prints phases as they run and remembers them for the summary."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Announce a phase, time it, and say how it ended."""
        entry = Phase(title)
        self.phases.append(entry)
        self.console.rule(f"[bold]{len(self.phases)}. {title}", align="left", style="cyan")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            entry.ended = "failed"
            raise
        else:
            entry.ended = "ok"
        finally:
            entry.seconds = time.monotonic() - started
            mark = "[green]✔[/]" if entry.ended == "ok" else "[red]✘[/]"
            self.console.print(f"{mark} {title} [dim]{entry.seconds:.1f} s[/]")

    def note(self, text: str) -> None:
        """Print one line inside a phase."""
        self.console.print(f"  {text}", soft_wrap=True)

    def timings(self) -> Table:
        """Return the phases and their times as a table."""
        table = Table(title="Phases", title_justify="left", show_footer=True)
        total = sum(phase.seconds for phase in self.phases)
        table.add_column("Phase", footer="all")
        table.add_column("Seconds", justify="right", footer=f"{total:.1f}")
        table.add_column("Result")
        for phase in self.phases:
            colour = "green" if phase.ended == "ok" else "red"
            table.add_row(phase.title, f"{phase.seconds:.1f}", f"[{colour}]{phase.ended}[/]")
        return table
