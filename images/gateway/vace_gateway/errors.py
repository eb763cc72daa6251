"""Every refusal that a client can meet, in one table.

The tree::

    Refusal                 an answer that ends a request: status, machine-readable type, sentence
    SettingsError           the gateway can't start (settings.py, tls.py, credentials.py raise it)

The body has the shape that ComfyUI itself uses for a refused prompt
(``{"error": {"type", "message", "details"}, "node_errors": {}}``), so that its web interface and
existing programs show the sentence instead of "unknown error".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorKind:
    """One row of the table: HTTP status, stable type name, and the sentence in two languages."""

    status: int
    type: str
    message: str
    message_zh: str


_TABLE = (
    ErrorKind(
        400,
        "bad_path",
        "The request path is not acceptable. Send a plain absolute path without dot segments, "
        "encoded slashes, backslashes or control characters.",
        "请求路径不合法。请使用不含“..”、编码斜杠、反斜杠或控制字符的普通绝对路径。",
    ),
    ErrorKind(
        400,
        "bad_query",
        "The query string is not acceptable for this route.",
        "此接口不接受这样的查询参数。",
    ),
    ErrorKind(
        400,
        "bad_request",
        "The request could not be read as HTTP/1.1.",
        "无法按 HTTP/1.1 解析该请求。",
    ),
    ErrorKind(
        401,
        "unauthorized",
        "This service needs a token. Send 'Authorization: Bearer <token>', or open /login in a "
        "browser.",
        "此服务需要令牌。请在请求头中发送“Authorization: Bearer <令牌>”,或在浏览器中打开 /login。",
    ),
    ErrorKind(
        403,
        "cross_site",
        "A browser session may only be used from this site's own pages. Programs should send "
        "'Authorization: Bearer <token>' instead of a cookie.",
        "浏览器会话只能由本站页面使用。程序请改用“Authorization: Bearer <令牌>”。",
    ),
    ErrorKind(
        404,
        "route_closed",
        "This route is closed at the gateway. Only the routes that editing a video needs are open; "
        "images/gateway/README.md lists them.",
        "网关未开放此接口。仅开放视频编辑所需的接口,列表见 images/gateway/README.md。",
    ),
    ErrorKind(
        405,
        "method_closed",
        "This route is open, but not with this method. See the Allow header.",
        "此接口不支持该请求方法,请参见 Allow 响应头。",
    ),
    ErrorKind(
        408,
        "client_too_slow",
        "The request body stopped arriving, so the upload was given up. Send it again.",
        "请求内容长时间没有传输,上传已中止。请重新发送。",
    ),
    ErrorKind(
        413,
        "body_too_large",
        "The request body is larger than this gateway accepts.",
        "请求内容超过网关允许的大小。",
    ),
    ErrorKind(
        421,
        "unknown_host",
        "The Host header does not name this service. Use the address that you were given, or let "
        "the operator add the name to VACE_GATEWAY_ALLOWED_HOSTS.",
        "Host 请求头不是本服务的名称。请使用分配给您的地址,或由管理员将其加入 "
        "VACE_GATEWAY_ALLOWED_HOSTS。",
    ),
    ErrorKind(
        426,
        "upgrade_required",
        "This route speaks WebSocket only.",
        "此接口仅支持 WebSocket。",
    ),
    ErrorKind(
        429,
        "too_many_failures",
        "Too many wrong tokens came from your address. Wait for the time in Retry-After; the right "
        "token is accepted at any time.",
        "您的地址提交了过多错误令牌。请等待 Retry-After 指定的时间;正确的令牌随时有效。",
    ),
    ErrorKind(
        429,
        "queue_full",
        "The queue is full. Send the same prompt again after the time in Retry-After.",
        "任务队列已满。请在 Retry-After 指定的时间之后重新提交。",
    ),
    ErrorKind(
        502,
        "upstream_failed",
        "ComfyUI closed the connection before it answered. It may be restarting: queued work is "
        "then lost, so look at /queue and /history before you send it again.",
        "ComfyUI 在应答前断开了连接,可能正在重启,排队任务可能已丢失。请先查看 /queue 与 /history "
        "再重新提交。",
    ),
    ErrorKind(
        503,
        "upstream_unavailable",
        "ComfyUI is not reachable. It is starting, restarting or stopped; try again after the time "
        "in Retry-After, and ask the operator if it lasts.",
        "无法连接 ComfyUI(正在启动、重启或已停止)。请稍后重试;若持续不可用,请联系管理员。",
    ),
    ErrorKind(
        503,
        "draining",
        "ComfyUI finishes its last prompts before it is restarted and takes no new ones. Nothing "
        "was queued; send the same prompt again after the time in Retry-After. Results can still "
        "be fetched.",
        "ComfyUI 正在完成重启前的最后任务,不再接收新任务。本次提交未进入队列,请在 Retry-After "
        "指定的时间之后重新提交。已有结果仍可下载。",
    ),
    ErrorKind(
        503,
        "stopping",
        "This gateway is stopping. Connect again after the time in Retry-After.",
        "网关正在停止。请稍后重新连接。",
    ),
    ErrorKind(
        504,
        "upstream_timeout",
        "ComfyUI accepted the request but did not answer in time.",
        "ComfyUI 已接收请求,但未在规定时间内应答。",
    ),
    ErrorKind(
        500,
        "internal_error",
        "The gateway failed on this request. The operator finds the cause in its log under the "
        "request id.",
        "网关处理该请求时出错。管理员可按 request_id 在日志中查找原因。",
    ),
)

ERRORS: Mapping[str, ErrorKind] = {kind.type: kind for kind in _TABLE}


class Refusal(Exception):  # noqa: N818 - not a fault of the program, an answer to the client
    """Ends a request with a row of the table.

    ``details`` says what was given and what is allowed in this one case; ``headers`` are added
    to the answer (``Retry-After``, ``Allow``). ``close`` also ends the connection, for requests
    whose body is not going to be read.
    """

    def __init__(
        self,
        error_type: str,
        details: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        self.kind = ERRORS[error_type]
        self.details = details
        self.headers = dict(headers or {})
        self.close = close
        super().__init__(f"{self.kind.type}: {details}" if details else self.kind.type)

    def body(self, request_id: str) -> bytes:
        """The JSON answer, UTF-8."""
        document = {
            "error": {
                "type": self.kind.type,
                "message": self.kind.message,
                "message_zh": self.kind.message_zh,
                "details": self.details,
                "request_id": request_id,
            },
            "node_errors": {},
        }
        return json.dumps(document, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Problem:
    """One mistake in the configuration, told in four parts."""

    key: str
    given: str
    allowed: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.key}: got {self.given}; allowed: {self.allowed}; "
            f"because {self.why}; to fix it: {self.remedy}."
        )


class SettingsError(Exception):
    """The gateway can't run as configured; lists every problem, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(
            f"{head} in the gateway's configuration:\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
        )
