"""How fast a service makes videos, what that costs, and how far it is from what its GPU can do.

``python -m smoke_tests.bench --url https://HOST --token-file FILE``; see the README beside this.

Pure: `flops` (work of a video), `limits` (the card's peak against it), `quantiles`, `quality` (PSNR
and SSIM), `price`, `profile`. With I/O: `measure` (one video), `memory`, `scenarios`, `cli`.
Output: `result` (JSON), `table`, `plot`.
"""
