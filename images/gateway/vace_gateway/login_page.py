"""The login and logout pages: one self-contained HTML document each, English and Chinese.

No script, no external resource, labels tied to their fields, errors announced to screen readers.
The style is allowed by its hash, so the policy needs no ``unsafe-inline``.
"""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, "PingFang SC", "Microsoft YaHei",
  "Noto Sans CJK SC", sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: Canvas;
  color: CanvasText; }
main { width: min(24rem, 90vw); padding: 2rem 0; }
h1 { font-size: 1.4rem; margin: 0 0 1.5rem; }
h1 span, label span { display: block; font-weight: normal; opacity: .8; }
label { display: block; font-weight: 600; }
input, button { box-sizing: border-box; width: 100%; font: inherit; padding: .6rem .75rem;
  margin: .5rem 0 1rem; border: 1px solid GrayText; border-radius: .4rem; }
button { font-weight: 600; cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
.error { border-left: 4px solid #c62828; padding: .25rem .75rem; margin: 0 0 1.5rem; }
.error p, .hint p { margin: 0; }
.hint { font-size: .875rem; opacity: .8; }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_FRAME: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">{head}
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_LOGIN: Final = """<h1>Video editing with VACE <span lang="zh-CN">VACE 视频编辑</span></h1>
{error}<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="token">Access token <span lang="zh-CN">访问令牌</span></label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
 spellcheck="false" aria-describedby="hint"{invalid}>
<button type="submit">Sign in / <span lang="zh-CN">登录</span></button>
</form>
<div class="hint" id="hint">
<p>The operator of this service gives out the token.</p>
<p lang="zh-CN">访问令牌由本服务的管理员提供。</p>
</div>"""

_ERROR: Final = """<div class="error" role="alert" id="error">
<p>{english}</p>
<p lang="zh-CN">{chinese}</p>
</div>
"""

_LOGOUT: Final = """<h1>Sign out <span lang="zh-CN">退出登录</span></h1>
<form method="post" action="/logout">
<button type="submit">Sign out / <span lang="zh-CN">退出</span></button>
</form>
<p><a href="/">Back / <span lang="zh-CN">返回</span></a></p>"""

_BOUNCE: Final = """<p><a href="{next}">Continue / <span lang="zh-CN">继续</span></a></p>"""


def login(*, next_path: str, error: tuple[str, str] | None = None) -> bytes:
    """The login form; ``error`` is a sentence in English and in Chinese."""
    shown = "" if error is None else _ERROR.format(english=error[0], chinese=error[1])
    invalid = "" if error is None else ' aria-invalid="true" aria-errormessage="error"'
    target = html.escape(next_path, quote=True)
    return _page("Sign in · 登录", _LOGIN.format(error=shown, next=target, invalid=invalid))


def logout() -> bytes:
    """The page behind GET /logout: a button, because a mere link must not end a session."""
    return _page("Sign out · 退出登录", _LOGOUT)


def bounce(*, next_path: str) -> bytes:
    """A page that asks again from this site, so that the browser sends its Strict cookie."""
    target = html.escape(next_path, quote=True)
    refresh = f'\n<meta http-equiv="refresh" content="0;url={target}">'
    return _page("Continue · 继续", _BOUNCE.format(next=target), head=refresh)


def _page(title: str, body: str, *, head: str = "") -> bytes:
    return _FRAME.format(title=title, body=body, style=_STYLE, head=head).encode()
