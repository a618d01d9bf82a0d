"""How vmseal's programs log: lines for people on a terminal, JSON elsewhere; to standard error."""

from __future__ import annotations

import logging
import sys

from vmseal import log


def set_up_logs_late(*, verbose: bool) -> None:
    """Do the same when the first line comes: the libraries that write it take as long to load as a VM to restore."""
    log.prepare_with(lambda: set_up_logs(verbose=verbose))
    root = logging.getLogger()
    root.handlers[:] = [_First(verbose=verbose)]
    root.setLevel(_level(verbose=verbose))


class _First(logging.Handler):
    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        """Have the first line written as all others will be."""
        set_up_logs(verbose=self._verbose)
        logging.getLogger(record.name).handle(record)


def _level(*, verbose: bool) -> int:
    return logging.DEBUG if verbose else logging.INFO


def set_up_logs(*, verbose: bool) -> None:
    """Send structlog's and the standard library's log lines to standard error, from INFO on, from DEBUG with -v."""
    import structlog  # noqa: PLC0415  see set_up_logs_late

    level = _level(verbose=verbose)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    before_last: list[structlog.typing.Processor] = [] if terminal else [structlog.processors.format_exc_info]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *before_last, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "asyncio", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
