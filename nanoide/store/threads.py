"""The two threads that touch the database: one writes, one reads; each works off a queue in order.

The writer commits what has queued up as one transaction, so that many calls share one fsync. Each call
still succeeds or fails alone: it runs inside a savepoint of its own.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue

import apsw

from nanoide.core.errors import StoreError
from nanoide.store.sql import rows

GROUP = 128
"""Most calls in one commit, so that the first of them does not wait for an endless queue."""

Work = Callable[[apsw.Connection], object]


class Job:
    """One call: what to do, and the future that tells how it went."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.future: Future[object] = Future()
        self._begun: bool | None = None

    def begin(self) -> bool:
        """False when the caller has gone away before the job began; afterwards it cannot any more."""
        if self._begun is None:
            self._begun = self.future.set_running_or_notify_cancel()
        return self._begun


class Worker:
    """A thread that owns a connection. The subclasses say how they `carry_out` what has queued up."""

    def __init__(self, connection: apsw.Connection, name: str) -> None:
        self.connection = connection
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[object]:
        """Queue `work`. Raises StoreError when the database is closed."""
        job = Job(work)
        with self._gate:
            if self._closed:
                raise StoreError("the database is closed")
            self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Finish what is queued, then close the connection. Blocks until that is done."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def carry_out(self, jobs: list[Job]) -> None:
        """Do the jobs, in order, and tell each future."""
        raise NotImplementedError

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._next()
            if jobs:
                self.carry_out(jobs)
        self.connection.close()

    def _next(self) -> tuple[list[Job], bool]:
        """Wait for a job and take what stands behind it. False when nothing comes after these."""
        jobs: list[Job] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == GROUP:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False


class Reader(Worker):
    """Reads; each job sees one unchanging state of the database."""

    def carry_out(self, jobs: list[Job]) -> None:
        """Run each job in a read transaction of its own."""
        for job in jobs:
            if not job.begin():
                continue
            try:
                rows(self.connection, "BEGIN")
                try:
                    result = job.work(self.connection)
                finally:
                    if self.connection.in_transaction:
                        rows(self.connection, "ROLLBACK")
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
                job.future.set_exception(error)
            else:
                job.future.set_result(result)


class Writer(Worker):
    """Writes; jobs that queued up together are committed together."""

    def carry_out(self, jobs: list[Job]) -> None:
        """Commit the jobs as one; when that fails as a whole, each alone, so that one cannot fail the others."""
        failed = self._commit(jobs)
        if failed is None:
            return
        if len(jobs) > 1:
            for job in jobs:
                self.carry_out([job])
        elif jobs[0].begin():
            jobs[0].future.set_exception(failed)

    def _commit(self, jobs: list[Job]) -> Exception | None:
        """Run the jobs in one transaction. The error when all of it was undone; no future is told then."""
        ended: list[tuple[Job, object, Exception | None]] = []
        try:
            rows(self.connection, "BEGIN IMMEDIATE")
            for job in jobs:
                if not job.begin():
                    continue
                rows(self.connection, "SAVEPOINT job")
                try:
                    ended.append((job, job.work(self.connection), None))
                except Exception as error:
                    if not self.connection.in_transaction:
                        raise  # SQLite undid the whole transaction, as it may when the disk is full
                    rows(self.connection, "ROLLBACK TO job")
                    ended.append((job, None, error))
                rows(self.connection, "RELEASE job")
            rows(self.connection, "COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers get it
            if self.connection.in_transaction:
                rows(self.connection, "ROLLBACK")
            return error
        for job, result, failure in ended:
            if failure is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(failure)
        return None
