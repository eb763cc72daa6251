"""Has the server every node and every model that the reference workflow names?"""

from smoke_tests import reference
from smoke_tests.comfy_client import ComfyClient


def test_the_server_has_the_nodes_and_models_of_the_workflow(client: ComfyClient) -> None:
    """Every node class and every model file of the workflow is there.

    A custom node that fails to import is only a line in ComfyUI's log; the server starts without.
    """
    graph, info = reference.workflow(), client.object_info()
    faults = [f"node class {name} is missing" for name in reference.missing_nodes(graph, info)]
    faults += reference.missing_models(graph, info)
    assert not faults, "; ".join(faults)
