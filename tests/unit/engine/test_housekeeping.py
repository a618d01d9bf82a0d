"""What is removed, and when."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import sqlalchemy as sa

from vmseal.engine import migrations
from vmseal.engine.database import Database
from vmseal.engine.housekeeping import clean
from vmseal.engine.jobs import NewJob, close_job, open_job
from vmseal.engine.requests import Caller
from vmseal.engine.settings import EngineSettings
from vmseal.engine.tables import Job, Session, Step, now
from vmseal.model.entities import TaskStatus

IDS = {status: f"{number}0000000-0000-0000-0000-000000000000" for number, status in enumerate(("running", *TaskStatus))}


def test_old_jobs_and_unused_sessions_go(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    migrations.upgrade(database)
    settings = EngineSettings.model_validate({"state": tmp_path})
    with database.session() as session:
        for job_id in IDS.values():
            job = NewJob(id=job_id, command="AddVm", description="d", entity_id=job_id)
            open_job(session, job, Caller("admin", "c"))
        session.flush()
        for status in (TaskStatus.FINISHED, TaskStatus.FAILED, TaskStatus.ABORTED):
            close_job(session, IDS[status], status)
        session.add(Session(token_hash="t", user_name="admin"))

    def left_after(minutes: int) -> int:
        clean(database, settings, now() + dt.timedelta(minutes=minutes))
        with database.read() as session:
            return session.scalars(sa.select(sa.func.count(Job.id))).one()

    assert left_after(9) == 5
    with database.read() as session:
        assert session.scalars(sa.select(Session.user_name)).all() == ["admin"]
    assert left_after(11) == 4
    assert left_after(59) == 4
    assert left_after(61) == 2  # those that run
    with database.read() as session:
        assert session.scalars(sa.select(Session.user_name)).all() == []
        jobs = set(session.scalars(sa.select(Job.id)))
        assert set(session.scalars(sa.select(Step.job_id))) == jobs == {IDS["running"], IDS[TaskStatus.STARTED]}
    database.close()
