"""Form fields made from the spec's own metadata, and a spec document read from the fields.

A field's label, help, bounds, choices and default stand once, in `lora_engine.spec`; here they
become Gradio components. This module reads text and checks nothing: the document goes to
`spec_from`, which reports everything that is wrong at once, by path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, overload

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr, translatable
from lora_engine.spec import RunSpec, field_problems
from pages.shared.choice_names import name_of_choice
from pages.shared.field_words import empty_words, words_of
from pages.shared.mixture_lines import mixture_read, mixture_text
from pages.shared.spec_fields import (
    decides,
    help_text,
    in_optional_section,
    info_of,
    kind_of,
    listed_choices,
    lists_sets,
    one_a_line,
    union_members,
)
from pages.shared.unread_fields import without_unread
from pages.shared.wiring import field_id

Model = TypeVar("Model", bound=BaseModel)
Kind = TypeVar("Kind", bound=Component)
Field = gr.Textbox | gr.Number | gr.Slider | gr.Dropdown | gr.Checkbox
NONE = translatable("none")  # the choice that leaves an optional field empty


class SpecForm:
    """The fields of a spec that a page shows, in the order in which they were made.

    Make fields with `field(path)` inside a Blocks. A handler with `inputs` as its inputs receives
    their values by component, and `document(values)` reads them. root: RunSpec, or a model that
    adds a section of a page's own to it.
    """

    def __init__(self, root: type[RunSpec] = RunSpec) -> None:
        self._root = root
        self._fields: dict[str, Field] = {}

    @property
    def paths(self) -> list[str]:
        return list(self._fields)

    @property
    def components(self) -> list[Field]:
        return list(self._fields.values())

    @property
    def inputs(self) -> set[Component]:
        """For a handler that reads the form by `document`."""
        return set(self._fields.values())

    def field(self, path: str, **changes: Any) -> Field:
        """The component for a dotted path of `RunSpec`, such as 'method.rank'.

        A number becomes a Number without bounds of its own (Gradio's are told in a toast, and only
        the first), or a Slider where `maximum=` is given, a Literal a Dropdown, a truth value a
        Checkbox, names and patterns a Textbox, or with `choices=` a Dropdown that also takes what
        is typed. `changes` are handed to the component. Raises KeyError for an unknown path.
        """
        component = _component(self._root, path, changes)
        self._fields[path] = component
        return component

    @overload
    def component(self, path: str) -> Field: ...

    @overload
    def component(self, path: str, kind: type[Kind]) -> Kind: ...

    def component(self, path: str, kind: type[Any] = Component) -> Any:
        """The component made for `path`. Raises KeyError where the form has none, TypeError where
        it is of another kind."""
        found = self._fields[path]
        if not isinstance(found, kind):
            raise TypeError(f"{path} is a {type(found).__name__}, not a {kind.__name__}")
        return found

    def document(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The spec document in the values by component, for `spec_from`.

        A section whose deciding choice is 'none' is left out as null, a list's as no entry. Text
        that is not what the field wants is passed on as it is, so that the spec's own message
        names it. Fields that are not among the values are left out, and so are those that the
        objective or a rule of the chosen kind does not read.
        """
        document: dict[str, Any] = {}
        lists: set[tuple[str, ...]] = set()
        for path, component in self._fields.items():
            if component not in values:
                continue
            value = values[component]
            *sections, name = path.split(".")
            node: Any = document
            for section in sections:
                node = node if node is None else node.setdefault(section, {})
            if value == NONE and decides(self._root, path):
                _put(document, sections, None)
            elif node is not None:
                node[name] = _read(value, info_of(self._root, path))
            if sections and sections[-1].isdecimal():
                lists.add(tuple(sections[:-1]))
        for entries in lists:
            _put(document, entries, _entries(document, entries))
        return without_unread(document)

    def filled(self, spec: RunSpec) -> dict[Block, Any]:
        """The values by component for a spec: the inverse of `document`."""
        return {
            component: _shown(self._root, spec, path) for path, component in self._fields.items()
        }

    def partly_filled(self, fields: Mapping[str, Any]) -> dict[Block, Any]:
        """The values by component for single fields of the spec, by path; a section may be given
        whole. Fields that the form has not are left out. Raises InvalidInput as the spec does."""
        document: dict[str, Any] = {}
        for path, value in fields.items():
            *sections, name = path.split(".")
            node = document
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = value
        try:
            filled = self.filled(self._root.model_validate(document))
        except ValidationError as error:
            raise InvalidInput(
                tr("The form"), field_problems(error), tr("Correct these fields.")
            ) from None
        named = [
            path for path in self._fields if path in fields or path.partition(".")[0] in fields
        ]
        return {self._fields[path]: filled[self._fields[path]] for path in named}


def number_fields(model: type[BaseModel]) -> list[Component]:
    """A Number for each field of a model that has numbers only, in their order."""
    return [
        gr.Number(
            label=tr(info.title or name),
            info=help_text(info),
            value=info.default,
            elem_id=field_id(f"{model.__name__.lower()}.{name}"),
        )
        for name, info in model.model_fields.items()
    ]


def numbers_read(model: type[Model], values: Sequence[Any]) -> Model:
    """The model in the values of `number_fields`. Raises InvalidInput, all problems together."""
    fields = zip(model.model_fields.items(), values, strict=True)
    try:
        return model.model_validate({name: _read(value, info) for (name, info), value in fields})
    except ValidationError as error:
        where = model.__name__.lower()
        problems = [
            FieldProblem(f"{where}.{problem.path}", problem.message)
            for problem in field_problems(error)
        ]
        raise InvalidInput(tr("The form"), problems, tr("Correct these fields.")) from None


def _put(document: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what stands at a path of sections that are there."""
    *before, last = path
    node = document
    for section in before:
        node = node[section]
    node[last] = value


def _entries(document: dict[str, Any], path: Sequence[str]) -> list[Any]:
    """The entries of a list that was read into a dict by place, without those left out."""
    node: Any = document
    for section in path:
        node = node[section]
    return [entry for entry in node.values() if entry is not None]


def _component(root: type[RunSpec], path: str, changes: dict[str, Any]) -> Field:
    info = info_of(root, path)
    kind, optional = kind_of(info.annotation)
    common = {
        "label": tr(info.title or path),
        "info": help_text(info, words_of(path).help),
        "value": _shown(root, root(), path),
        "elem_id": field_id(path),
        **changes,
    }
    if kind is bool:
        return gr.Checkbox(**common)
    if get_origin(kind) is Literal:
        choices = [(name_of_choice(choice, path), choice) for choice in get_args(kind)]
        if optional or decides(root, path):
            choices.insert(0, (tr(NONE), NONE))
        return gr.Dropdown(**{"choices": choices, **common})
    if listed_choices(kind):
        choices = [(name_of_choice(choice, path), choice) for choice in listed_choices(kind)]
        return gr.Dropdown(**{"choices": choices, "multiselect": True, **common})
    if "choices" in changes:
        return gr.Dropdown(**{"allow_custom_value": True, **common})
    if "maximum" in changes:
        return gr.Slider(**common)
    typed = {"placeholder": empty_words(path) or None, **common}
    if kind in (int, float):
        return gr.Number(**typed)
    return gr.Textbox(**{"lines": 3 if one_a_line(info) else 1, **typed})


def _value_at(spec: RunSpec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        if value is None:
            return None
        if name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = getattr(value, name)
    return value


def _shown(root: type[RunSpec], spec: RunSpec, path: str) -> Any:
    """A spec's value as its component shows it.

    In a section that is null or no entry of its list, the deciding field shows 'none', and the
    others their own defaults.
    """
    info, value = info_of(root, path), _value_at(spec, path)
    kind, _ = kind_of(info.annotation)
    if value is None and in_optional_section(root, path) and not decides(root, path):
        value = info.get_default(call_default_factory=True)
    if value is None and get_origin(kind) is Literal:
        return NONE
    if listed_choices(kind):
        return list(value)
    if lists_sets(info):
        return mixture_text(value)
    if isinstance(value, (list, tuple)):
        return ("\n" if one_a_line(info) else ", ").join(value)
    if isinstance(value, dict):
        return json.dumps(value) if value else ""
    return value


def _read(value: Any, info: FieldInfo) -> Any:
    """A component's value as the spec's document has it."""
    kind, optional = kind_of(info.annotation)
    if optional and value in ("", NONE):
        return None
    if lists_sets(info) and isinstance(value, str):
        return mixture_read(value)
    members = [get_origin(member) or member for member in union_members(kind)]
    if isinstance(value, str) and dict in members:
        return _object(value)
    if isinstance(value, str) and list in members:
        fixed = [get_args(member) for member in union_members(kind)]
        if any(value.strip() in choices for choices in fixed):
            return value.strip()
        parts = value.splitlines() if one_a_line(info) else value.split(",")
        return [part.strip() for part in parts if part.strip()]
    if isinstance(value, float) and kind is int and value.is_integer():
        return int(value)
    return value


def _object(text: str) -> Any:
    """A JSON object as typed, or the text itself where it is none."""
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
