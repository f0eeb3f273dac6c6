"""Chat templates, rendered in a guarded process.

A template is a program that comes with somebody's model, so it never runs in the process of the
dashboard. `rendered` gives one answer a conversation, {text} or {error}, in order.

A template that writes a role's text only as a list of parts (models of pictures) gets it so.

The environment is that of transformers' `apply_chat_template` (sandboxed, trimmed blocks, loop
controls, `{% generation %}`, tojson, raise_exception, strftime_now); a parity test holds it.
"""

import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class GenerationTag(Extension):
    """`{% generation %}` ... `{% endgeneration %}` renders what it holds."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


class PlainNamespace(jinja2.utils.Namespace):
    """A namespace without underscore names, which could reach Python's internals."""

    def __init__(*args, **kwargs):  # `self` may be a name the template gives
        self, *mappings = args
        names = dict(*mappings, **kwargs)
        for name in names:
            _refuse_underscore(name)
        jinja2.utils.Namespace.__init__(self, names)

    def __setitem__(self, name, value):
        _refuse_underscore(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


class PlainDict:
    """`dict(...)` in a template, without the attributes of Python's own type."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


def environment():
    """The Jinja environment chat templates are written for."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    made.filters["tojson"] = _tojson
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    made.globals["dict"] = PlainDict()
    made.globals["namespace"] = PlainNamespace
    return made


def _refuse_underscore(name):
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"the name {name!r} is not allowed")


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class Arguments(dict):
    """A tool call's arguments: an object, and JSON wherever a template writes it as text."""

    def __str__(self):
        return _tojson(self)

    __repr__ = __str__

    def __add__(self, other):
        return str(self) + other

    def __radd__(self, other):
        return other + str(self)


def _with_arguments(message):
    """The turn with the arguments of its tool calls as objects, where they are JSON objects."""
    if not message.get("tool_calls"):
        return message
    return message | {"tool_calls": [_call(call) for call in message["tool_calls"]]}


def _call(call):
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return call | {"function": _call(call["function"])}
    arguments = call.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return call
    return call | {"arguments": Arguments(arguments)} if isinstance(arguments, dict) else call


def _as_parts(message, roles):
    """The turn with its text as a list of parts where its role is one of `roles`."""
    if message["role"] not in roles:
        return message
    return message | {"content": [{"type": "text", "text": message["content"]}]}


def _roles_in_parts(write):
    """The roles whose text the template writes as a list of parts, and not as a plain string.

    write: renders a list of turns. A tool's text is taken for a user's.
    """
    for roles in (("system", "user", "assistant"), ("user", "assistant")):
        turns = [{"role": role, "content": f"\ue0f2{role}\ue0f3"} for role in roles]
        for size in range(len(roles) + 1):
            for in_parts in itertools.combinations(roles, size):
                text = write([_as_parts(turn, in_parts) for turn in turns]).get("text", "")
                if all(turn["content"] in text for turn in turns):
                    return {*in_parts, *(["tool"] if "user" in in_parts else [])}
    return set()


def _rendered(template, variables, request, characters):
    """{text}, or {error} where the template refuses the conversation or breaks on it."""
    try:
        pieces, size = [], 0
        for piece in template.generate({"tools": None, "documents": None} | variables | request):
            pieces.append(piece)
            size += len(piece)
            if size > characters:
                return {"error": f"it writes more than {characters:,} characters"}
        text = "".join(pieces)
        text.encode("utf-8")  # a template may write half a surrogate pair
        return {"text": text}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except (jinja2.exceptions.SecurityError, OverflowError) as error:
        return {"error": f"it asks for what no template may: {error}"}
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return {"error": str(error) or type(error).__name__}
    except (AttributeError, RecursionError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def rendered(
    source: str, variables: dict[str, str], requests: list[dict[str, Any]], characters: int
) -> Iterator[bytes]:
    """What `answers` gives, each as JSON."""
    for answer in answers(source, variables, requests, characters):
        yield json.dumps(answer).encode()


def answers(
    source: str, variables: dict[str, str], requests: list[dict[str, Any]], characters: int
) -> Iterator[dict[str, str]]:
    """One answer, {text} or {error}, for each request, as they are asked for.

    requests: {messages, add_generation_prompt, tools}. characters: the most that one text has.
    """
    failure, template = None, None
    try:
        template = environment().from_string(source)
    except MemoryError:
        failure = {"error": "it needs too much memory"}
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as error:
        failure = {"error": f"it is not a template: {error}"}

    def write(messages, request=None):
        request = (request or {}) | {"messages": messages}
        return failure or _rendered(template, variables, request, characters)

    in_parts = _roles_in_parts(write)
    for request in requests:
        yield write([_as_parts(_with_arguments(m), in_parts) for m in request["messages"]], request)
