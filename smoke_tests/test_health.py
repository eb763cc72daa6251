"""Is the service there, is it ready, and is it the real thing?"""

from smoke_tests.comfy_client import ComfyClient, is_loopback
from smoke_tests.session import Run


def test_comfyui_answers_through_the_url(run: Run) -> None:
    """ComfyUI answers under this URL, with this token and this certificate."""
    run.identify()
    if not run.settings.target.secure and not is_loopback(run.report.url):
        run.report.notes.append("plain http: everybody on the way can read token and videos")


def test_the_service_is_not_a_simulation(run: Run) -> None:
    """The service runs a real model (or --allow-simulated was given).

    Prevents a green run that proves nothing but the simulation.
    """
    run.refuse_simulation()


def test_the_gateway_is_alive(guarded: Run, stranger: ComfyClient) -> None:
    """GET /healthz answers 200 without a token."""
    answer = stranger.call("GET", "/healthz")
    assert answer.status == 200, f"/healthz answered {answer.status}: {answer.words()}"


def test_the_service_says_that_it_is_ready(guarded: Run, stranger: ComfyClient) -> None:
    """GET /readyz answers 200 without a token: ComfyUI is up and has its nodes."""
    answer = stranger.call("GET", "/readyz")
    assert answer.status == 200, f"/readyz answered {answer.status}: {answer.words()}"
    assert answer.json_object().get("ready") is True, f"/readyz says {answer.words()}"
