"""HTTPS gateway in front of ComfyUI.

ComfyUI has no login, no TLS, no queue limit and routes that reach far into the server
(peer survey: more than a thousand open servers were taken over by way of them). It therefore
listens on loopback only, and this package is the one door to it: it authenticates, admits,
streams, and closes every route that is not on its list.

``vace_gateway.cli:main`` is the entry point; ``vace_gateway.server.GatewayServer`` is the same
thing for a program that wants to run a gateway inside its own event loop (the tests do).
"""

__version__ = "0.1.0"
