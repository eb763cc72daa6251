"""Errors of object storage: codes, words and statuses as OSS documents them."""

from __future__ import annotations

from rehearsal.cloud.errors import ApiError

MAX_CLOCK_SKEW_S = 15 * 60


class OssError(ApiError):
    """A refusal of OSS, sent as an XML ``Error`` document.

    Args:
        code: wire code, for example ``NoSuchBucket``.
        message: OSS's sentence first, then what helps.
        http_status: status of the answer.
        fields: further elements of the document, for example ``BucketName``.
    """

    def __init__(self, code: str, message: str, http_status: int = 400, **fields: str) -> None:
        super().__init__(code, message, http_status)
        self.fields = fields


def no_such_bucket(name: str) -> OssError:
    """404 NoSuchBucket."""
    return OssError("NoSuchBucket", "The specified bucket does not exist.", 404, BucketName=name)


def no_such_key(key: str) -> OssError:
    """404 NoSuchKey."""
    return OssError("NoSuchKey", "The specified key does not exist.", 404, Key=key)


def no_such_upload(upload_id: str) -> OssError:
    """404 NoSuchUpload."""
    return OssError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have "
        "been aborted or completed.",
        404,
        UploadId=upload_id,
    )


def access_denied(message: str, **fields: str) -> OssError:
    """403 AccessDenied."""
    return OssError("AccessDenied", message, 403, **fields)


def malformed_xml(why: str) -> OssError:
    """400 MalformedXML."""
    return OssError(
        "MalformedXML",
        f"The XML you provided was not well-formed or did not validate against our published "
        f"schema. emulator: {why}",
        400,
    )


def invalid_argument(name: str, value: str, allowed: str) -> OssError:
    """400 InvalidArgument."""
    return OssError(
        "InvalidArgument",
        f"The argument {name} is invalid. Given: {value!r}. Allowed: {allowed}.",
        400,
        ArgumentName=name,
        ArgumentValue=value,
    )


def not_implemented(what: str) -> OssError:
    """501 NotImplemented, naming what the emulator lacks."""
    return OssError(
        "NotImplemented",
        "A header or query you provided implies functionality that is not implemented. emulator: "
        f"{what} is not emulated; README.md lists what is.",
        501,
    )
