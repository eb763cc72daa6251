"""The report for people: one HTML file that needs nothing else, with pictures and clips inside.

It is readable without its style sheet, on a phone, in dark and in light. Everything that came from
the server is escaped, and the page forbids itself every connection (Content-Security-Policy).
"""

from smoke_tests.report_page.page import render, write

__all__ = ["render", "write"]
