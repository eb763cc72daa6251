"""What stops a benchmark, apart from the service's own errors (`comfy_client.errors`)."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot give figures that mean something; tells what, what is allowed, why, advice."""

    def __init__(self, given: str, allowed: str, why: str, advice: str) -> None:
        self.given, self.allowed, self.why, self.advice = given, allowed, why, advice
        super().__init__(f"{given}; {allowed}, because {why}. {advice}")
