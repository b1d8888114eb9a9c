"""The ledger's sixth step: counts that triggers keep, and indexes, so that no look at a large ledger walks through it.

A million tests make an idle pass and `status` no slower, and what is old can be deleted without a search for what
refers to it.
"""

from __future__ import annotations

READY = "'canceled', 'failed', 'manual', 'success'"
"""`model.READY` as SQL, letter by letter as the index on unread pipelines has it: else SQLite does not use that."""

TALLIES = """
-- how many results there are of each state and verdict
CREATE TABLE entry_tallies (
    state   TEXT NOT NULL,
    verdict TEXT NOT NULL,
    n       INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (state, verdict)
) STRICT, WITHOUT ROWID;
INSERT INTO entry_tallies SELECT state, verdict, COUNT(*) FROM entries GROUP BY state, verdict;
CREATE TRIGGER entries_counted AFTER INSERT ON entries BEGIN
    INSERT INTO entry_tallies VALUES (NEW.state, NEW.verdict, 1)
        ON CONFLICT (state, verdict) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER entries_recounted AFTER UPDATE OF state, verdict ON entries
    WHEN OLD.state <> NEW.state OR OLD.verdict <> NEW.verdict BEGIN
    UPDATE entry_tallies SET n = n - 1 WHERE state = OLD.state AND verdict = OLD.verdict;
    INSERT INTO entry_tallies VALUES (NEW.state, NEW.verdict, 1)
        ON CONFLICT (state, verdict) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER entries_discounted AFTER DELETE ON entries BEGIN
    UPDATE entry_tallies SET n = n - 1 WHERE state = OLD.state AND verdict = OLD.verdict;
END;

-- how many pipelines there are of each status, by whether they were read as of their last update
CREATE TABLE pipeline_tallies (
    status  TEXT NOT NULL,
    is_read INTEGER NOT NULL CHECK (is_read IN (0, 1)),
    n       INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (status, is_read)
) STRICT, WITHOUT ROWID;
INSERT INTO pipeline_tallies SELECT status, read_update IS updated_at, COUNT(*) FROM pipelines GROUP BY 1, 2;
CREATE TRIGGER pipelines_counted AFTER INSERT ON pipelines BEGIN
    INSERT INTO pipeline_tallies VALUES (NEW.status, NEW.read_update IS NEW.updated_at, 1)
        ON CONFLICT (status, is_read) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER pipelines_recounted AFTER UPDATE OF status, updated_at, read_update ON pipelines BEGIN
    UPDATE pipeline_tallies SET n = n - 1
        WHERE status = OLD.status AND is_read = (OLD.read_update IS OLD.updated_at);
    INSERT INTO pipeline_tallies VALUES (NEW.status, NEW.read_update IS NEW.updated_at, 1)
        ON CONFLICT (status, is_read) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER pipelines_discounted AFTER DELETE ON pipelines BEGIN
    UPDATE pipeline_tallies SET n = n - 1
        WHERE status = OLD.status AND is_read = (OLD.read_update IS OLD.updated_at);
END;
DROP INDEX pipelines_unread;    -- its words stood in another order than the query's, so that it was never used
CREATE INDEX pipelines_unread ON pipelines (updated_at)
    WHERE status IN ('canceled', 'failed', 'manual', 'success') AND read_update IS NOT updated_at;

-- problems of attempts that were run again since are not told
ALTER TABLE problems ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1));
UPDATE problems SET superseded = 1 WHERE job_id IN (SELECT job_id FROM jobs WHERE superseded = 1);
CREATE INDEX problems_told ON problems (problem_id) WHERE superseded = 0;
CREATE TRIGGER problems_of_superseded AFTER INSERT ON problems
    WHEN EXISTS (SELECT 1 FROM jobs WHERE job_id = NEW.job_id AND superseded = 1) BEGIN
    UPDATE problems SET superseded = 1 WHERE problem_id = NEW.problem_id;
END;
CREATE TRIGGER jobs_supersede_problems AFTER UPDATE OF superseded ON jobs WHEN OLD.superseded <> NEW.superseded BEGIN
    UPDATE problems SET superseded = NEW.superseded WHERE job_id = NEW.job_id;
END;

-- jobs that results link to and that GitLab was not asked to keep
CREATE TABLE linked_jobs (job_id INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE) STRICT;
INSERT INTO linked_jobs
    SELECT DISTINCT job_id FROM attachments a CROSS JOIN files f USING (file_id) CROSS JOIN jobs j USING (job_id)
    WHERE a.state = 'linked' AND f.kind = 'member' AND j.kept = 'no';
CREATE TRIGGER attachments_linked_to AFTER INSERT ON attachments WHEN NEW.state = 'linked' BEGIN
    INSERT OR IGNORE INTO linked_jobs
        SELECT f.job_id FROM files f CROSS JOIN jobs j USING (job_id)
        WHERE f.file_id = NEW.file_id AND f.kind = 'member' AND j.kept = 'no';
END;
CREATE TRIGGER jobs_asked_to_keep AFTER UPDATE OF kept ON jobs WHEN NEW.kept <> 'no' BEGIN
    DELETE FROM linked_jobs WHERE job_id = NEW.job_id;
END;

-- what is open or told, and nothing else
DROP INDEX entries_by_state;
CREATE INDEX entries_refused ON entries (entry_id) WHERE state = 'refused';
DROP INDEX tests_pending;
CREATE INDEX tests_pending ON tests (pipeline_id, job_id) WHERE state = 'pending';
DROP INDEX attachments_unattached;
CREATE INDEX attachments_unattached ON attachments (attachment_id) WHERE state IN ('missing', 'refused');
CREATE INDEX targets_unknown ON targets (formatted_id) WHERE object_id IS NULL;
CREATE INDEX moves_open ON moves (iteration_id) WHERE state = 'intended';
CREATE INDEX folders_open ON folders (project_id) WHERE state = 'intended';

-- the newest result of each member of a set
DROP INDEX entries_of_set;
CREATE INDEX entries_of_set ON entries (test_set, test_case, COALESCE(date, intended_at), entry_id)
    WHERE test_set IS NOT NULL AND state = 'done';

-- without these, each row that is deleted has SQLite search a whole table for rows that refer to it
CREATE INDEX tests_of_report ON tests (report_id);
CREATE INDEX tests_of_pipeline ON tests (pipeline_id);
DROP INDEX attachments_linked;
CREATE INDEX attachments_of_file ON attachments (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX attachments_of_output ON attachments (output_id) WHERE output_id IS NOT NULL;
CREATE INDEX files_of_output ON files (output_id) WHERE output_id IS NOT NULL;
CREATE INDEX test_outputs_of_output ON test_outputs (output_id);
"""
