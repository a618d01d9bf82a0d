"""What is removed when nobody needs it any more: ended jobs, unused sessions, records of ended workflows."""

from __future__ import annotations

import asyncio
import datetime as dt

import sqlalchemy as sa
import structlog

from vmseal.engine.database import Database
from vmseal.engine.durable import Durable
from vmseal.engine.settings import EngineSettings
from vmseal.engine.tables import Job, Session, now
from vmseal.model.entities import TaskStatus

log = structlog.get_logger(__name__)
INTERVAL = 30.0  # seconds


def clean(database: Database, settings: EngineSettings, moment: dt.datetime) -> list[str]:
    """Remove what is too old at ``moment``; return the ids of the removed jobs, which are their workflows' too."""
    finished = moment - dt.timedelta(seconds=settings.finished_jobs_kept)
    failed = moment - dt.timedelta(seconds=settings.failed_jobs_kept)
    unused = moment - dt.timedelta(seconds=settings.session_timeout)
    old = sa.or_(
        sa.and_(Job.status == TaskStatus.FINISHED.value, Job.ended < finished),
        sa.and_(Job.status != TaskStatus.FINISHED.value, Job.ended < failed),
    )
    with database.session() as session:
        jobs = list(session.scalars(sa.select(Job.id).where(old)))
        session.execute(sa.delete(Job).where(Job.id.in_(jobs)))  # their steps go with them
        session.execute(sa.delete(Session).where(Session.used < unused))
    return jobs


async def keep_clean(database: Database, durable: Durable, settings: EngineSettings) -> None:
    """Clean again and again, until cancelled."""
    while True:
        try:
            jobs = await asyncio.to_thread(clean, database, settings, now())
            await durable.forget(jobs)
        except Exception:
            log.exception("housekeeping failed and is tried again")
        await asyncio.sleep(INTERVAL)
