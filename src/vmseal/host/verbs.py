"""From a verb's name and raw parameters to the function that serves it, with VDSM's codes for whatever is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vmseal.model.errors import (
    GeneralError,
    IncorrectAllocation,
    IncorrectFormat,
    InternalError,
    InvalidParameter,
    MethodNotFound,
    Recovering,
    VerbError,
)
from vmseal.rpc.parameters import Parameters
from vmseal.rpc.server import Call
from vmseal.rpc.verb import VERBS, CreateVolume

logger = structlog.get_logger(__name__)

Handler = Callable[..., Awaitable[object]]  # takes the verb's own Parameters

# Volume.create has numbers of its own for what is wrong with its parameters.
CREATE_VOLUME_ERRORS: dict[str, type[VerbError]] = {
    "volFormat": IncorrectFormat,
    "preallocate": IncorrectAllocation,
}


class Verbs:
    """Serves all verbs of :data:`vmseal.rpc.verb.VERBS`; until ``is_ready`` every one is answered with error 99."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        missing = VERBS.keys() - handlers.keys()
        if missing:
            raise ValueError(f"No handler for {', '.join(sorted(missing))}")
        self._handlers = handlers
        self.is_ready = True

    async def dispatch(self, method: str, params: object, call: Call) -> object:
        """Serve one request and return JSON data; raises :class:`VerbError`."""
        if not self.is_ready:
            raise Recovering("Recovering from crash or Initializing: try again soon")
        if method not in VERBS:
            raise MethodNotFound(f"The method does not exist or is not available: {method}")
        model, _ = VERBS[method]
        parameters = parse(method, model, params)
        with structlog.contextvars.bound_contextvars(correlation_id=call.correlation_id, verb=method):
            try:
                return await self._handlers[method](parameters)
            except VerbError as error:
                logger.info("verb refused", code=error.code, error=error.message, peer=call.peer)
                raise


def parse(method: str, model: type[Parameters], params: object) -> Parameters:
    """Return the parameters, from an object or from a list in the schema's order; extras are ignored.

    Raises:
        InternalError: a parameter is missing (VDSM's -32603).
        GeneralError: a value is wrong, such as a bad UUID; Volume.create has codes 1000, 202 and 231 instead.

    """
    named = _named(model, params)
    try:
        if model is CreateVolume:
            _refuse_words(named)
        return model.model_validate(named)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise _refusal(method, model, first) from None


def _named(model: type[Parameters], params: object) -> Mapping[str, object]:
    if isinstance(params, dict):
        return params
    names = [field.alias or name for name, field in model.model_fields.items()]
    values = params if isinstance(params, list) else []
    return dict(zip(names, values, strict=False))


def _refuse_words(named: Mapping[str, object]) -> None:
    """Refuse strings where Volume.create wants numbers, even those that look like one, as VDSM does."""
    for name, error in CREATE_VOLUME_ERRORS.items():
        value = named.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise error(f"{name} is a number, not {value!r}")


def _refusal(method: str, model: type[Parameters], wrong: ErrorDetails) -> VerbError:
    place = ".".join(map(str, wrong["loc"]))
    if wrong["type"] == "missing" and len(wrong["loc"]) == 1:
        return InternalError(f"{method}: required parameter {place!r} is missing")
    text = f"{method}: parameter {place!r}: {wrong['msg']}"
    if model is CreateVolume:
        return CREATE_VOLUME_ERRORS.get(place, InvalidParameter)(text)
    return GeneralError(text)
