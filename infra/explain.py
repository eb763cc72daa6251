"""Say what an error code of the cloud means: beside the error itself, or by hand.

``pulumi up`` shows the sentence where an operation fails. For ``pulumi destroy`` and ``refresh``,
which do not run the program, and for old logs: ``python -m infra.explain CODE...``, or a log on
standard input.
"""

import argparse
import sys
from collections.abc import Sequence

import pulumi

from infra import advice


def beside_errors() -> None:
    """Show the sentence for a code beside every failed operation of the provider's resources."""
    hook = pulumi.ErrorHook("explain", explain)

    def add(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if not args.type_.startswith("alicloud:"):
            return None
        hooks = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(on_error=[hook]))
        return pulumi.ResourceTransformationResult(
            args.props, pulumi.ResourceOptions.merge(args.opts, hooks)
        )

    pulumi.runtime.register_stack_transformation(add)


def explain(args: pulumi.ErrorHookArgs) -> bool:
    """Log what is known of a failed operation; never asks the engine to try again."""
    for sentence in advice.sentences(args.errors[0] if args.errors else ""):
        pulumi.log.error(f"{args.name}: {sentence}")
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m infra.explain``."""
    parser = argparse.ArgumentParser(prog="python -m infra.explain", description=__doc__)
    parser.add_argument("codes", nargs="*", help="error codes; default: a log on standard input")
    codes = parser.parse_args(argv).codes
    found = advice.sentences(" ".join(codes) if codes else sys.stdin.read())
    for sentence in found:
        print(sentence)
    if not found:
        print(
            "no known error code. Look it up at https://api.alibabacloud.com/troubleshoot",
            file=sys.stderr,
        )
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
