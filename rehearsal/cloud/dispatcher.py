"""One RPC request from bytes to answer: who asks, for what, may they, was it done already."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rehearsal.cloud import authorization, idempotency, registry
from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.errors import ApiError, ConnectionDroppedError
from rehearsal.cloud.faults import Faults
from rehearsal.cloud.http import HttpRequest, HttpResponse
from rehearsal.cloud.journal import Journal
from rehearsal.cloud.protocols import (
    Call,
    answer_format,
    parse_call,
    render,
    render_error,
    render_path,
    render_path_error,
)
from rehearsal.cloud.registry import Action, Caller, Request
from rehearsal.cloud.signatures import Authenticator
from rehearsal.cloud.state import Cloud


class Dispatcher:
    """Answers RPC requests. Thread-safe: one instance serves all connections."""

    def __init__(self, cloud: Cloud, faults: Faults, journal: Journal) -> None:
        self._cloud = cloud
        self._faults = faults
        self._journal = journal
        self._authenticator = Authenticator(cloud.credentials)
        self._in_flight: set[str] = set()
        self._in_flight_lock = threading.Lock()

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request; never raises."""
        request_id = self._cloud.request_id()
        started = time.monotonic()
        call: Call | None = None
        caller: Caller | None = None
        code = ""
        try:
            call = parse_call(request)
            credential = self._who(request, call)
            caller = credential.caller
            answer = self._carry_out(request, call, credential, request_id)
            response = _rendered(call, request_id, answer)
        except ConnectionDroppedError as error:
            code = error.code
            response = HttpResponse(0, drop=True)
        except ApiError as error:
            code = error.code
            response = _refused(request, call, caller, request_id, error)
            # A stray request without Action is a bad request; one below the root wants a product
            # that is not emulated.
            if call is None and request.path != "/":
                self._note_unknown(request, "", "", request.path, code)
        except Exception as bug:
            traceback.print_exc(file=sys.stderr)
            code = "InternalError"
            failure = ApiError(
                code,
                "The request processing has failed due to some unknown error, exception or "
                f"failure. emulator: {type(bug).__name__} in "
                f"{call.action if call else request.path}; its log has the stack.",
                500,
            )
            response = _refused(request, call, caller, request_id, failure)
        self._journal.call(
            {
                "time": self._cloud.timestamp(),
                "product": registry.product_of(call.version) if call else None,
                "version": call.version if call else "",
                "action": call.action if call else request.path,
                "caller": caller.arn if caller else None,
                "status": response.status,
                "code": code,
                "request_id": request_id,
                "parameters": sorted(call.params) if call else [],
                "ms": round((time.monotonic() - started) * 1000, 1),
            }
        )
        return response

    # ---- steps

    def _who(self, request: HttpRequest, call: Call) -> Credential:
        action = registry.find(call.version, call.action)
        signed = "authorization" in request.headers or "Signature" in call.signed
        if action is not None and action.anonymous and not signed:
            return Credential("", "", Caller(self._cloud.settings.account, "user", "anonymous"))
        return self._authenticator.authenticate(request, call.signed, self._cloud.clock())

    def _carry_out(
        self, http: HttpRequest, call: Call, credential: Credential, request_id: str
    ) -> registry.Answer:
        action = self._find(http, call)
        self._strike(action, call)
        request = Request(
            product=action.product,
            version=call.version,
            action=call.action,
            region=call.params.get("RegionId") or call.region_hint or self._cloud.settings.region,
            caller=credential.caller,
            params=call.params,
            source_ip=http.source_ip,
            secure=http.secure,
            request_id=request_id,
            host=http.host,
            body=call.body,
        )
        self._authorize(request, action, credential)
        key = idempotency.key_of(action, request)
        with self._alone(key), self._cloud.lock if action.serialised else nullcontext():
            if key is not None:
                with self._cloud.lock:
                    earlier = idempotency.recall(self._cloud, key, request)
                if earlier is not None:
                    return earlier
            answer = action.handler(request, self._cloud)
            if not action.read_only:
                with self._cloud.lock:
                    if key is not None:
                        idempotency.remember(self._cloud, key, request, answer)
                    self._cloud.save()
            return answer

    def _find(self, http: HttpRequest, call: Call) -> Action:
        action = registry.find(call.version, call.action)
        if action is not None and bool(action.route) == (call.style == "ROA"):
            return action
        # The real gateway answers 404 here. The provider takes any 404 for "the resource is gone"
        # and goes on, which would hide that the emulator lacks something; 400 stops it.
        product = registry.product_of(call.version)
        code = "InvalidAction.NotFound" if product else "InvalidVersion"
        self._note_unknown(http, product or "", call.version, call.action, code)
        raise ApiError(
            code,
            "Specified api is not found, please check your url and method. emulator: product "
            f"{product or 'unknown'} version {call.version} action {call.action} is not emulated; "
            "COVERAGE.md lists what is.",
            400,
        )

    def _strike(self, action: Action, call: Call) -> None:
        fault = self._faults.take(action.product, action.name, call.params)
        if fault is None:
            return
        if fault.kind == "slow":
            self._cloud.closing.wait(fault.seconds)
            return
        raise fault.error()

    def _authorize(self, request: Request, action: Action, credential: Credential) -> None:
        context = authorization.request_context(
            self._cloud, source_ip=request.source_ip, secure=request.secure
        )

        def check(ram_action: str, resource: str) -> None:
            decision = authorization.judge(self._cloud, credential, ram_action, resource, context)
            if not decision.allowed:
                raise authorization.refusal(
                    action.product, credential, ram_action, resource, decision
                )

        request.authorize = check
        if not action.public:
            check(action.ram, action.resource(request) if action.resource else "*")

    @contextmanager
    def _alone(self, key: str | None) -> Iterator[None]:
        """Keep a second request with the same ClientToken out while the first is being done."""
        if key is None:
            yield
            return
        with self._in_flight_lock:
            if key in self._in_flight:
                raise ApiError(
                    "IdempotentProcessing",
                    "The previous idempotent request(s) is still processing.",
                    403,
                )
            self._in_flight.add(key)
        try:
            yield
        finally:
            with self._in_flight_lock:
                self._in_flight.discard(key)

    def _note_unknown(
        self, http: HttpRequest, product: str, version: str, action: str, code: str
    ) -> None:
        self._journal.unknown(
            {
                "time": self._cloud.timestamp(),
                "product": product,
                "version": version,
                "action": action,
                "method": http.method,
                "host": http.host,
                "code": code,
            }
        )


def _rendered(call: Call, request_id: str, answer: registry.Answer) -> HttpResponse:
    if call.style == "ROA":
        action = registry.find(call.version, call.action)
        status = action.success_status if action else 200
        return render_path(status, request_id, answer)
    if not isinstance(answer, dict):
        raise TypeError(f"{call.action} is an RPC action and must answer an object, not a list")
    return render(call.format, call.action, request_id, answer)


def _refused(
    request: HttpRequest,
    call: Call | None,
    caller: Caller | None,
    request_id: str,
    error: ApiError,
) -> HttpResponse:
    # The gateway in front speaks for itself until it knows who asks; then a path-style product
    # answers in its own form.
    if call is not None and call.style == "ROA" and caller is not None:
        return render_path_error(request_id, error)
    call_format = call.format if call else answer_format(request, request.query)
    return render_error(call_format, request_id, request.host, error)
