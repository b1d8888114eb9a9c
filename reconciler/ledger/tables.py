"""The ledger's tables as the steps by which they came to be: each is applied once, in order, and never changed.

This file imports next to nothing: a reader needs no more of it than the names.

Instants are TEXT, UTC, `2026-01-31T12:00:00.000000Z`: equal length, so that they sort as time does.
Every rule about states stands here as a CHECK, so that a wrong step fails instead of being stored.
"""

from __future__ import annotations

from reconciler.ledger.tallies import TALLIES

_FIRST = """
CREATE TABLE projects (
    project_id INTEGER PRIMARY KEY,
    path       TEXT NOT NULL,
    web_url    TEXT NOT NULL
) STRICT;

-- a project or group as the config names it, and the numeric ids that GitLab knew it by
CREATE TABLE project_names (
    name       TEXT NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects,
    PRIMARY KEY (name, project_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pipelines (
    pipeline_id  INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES projects,
    iid          INTEGER NOT NULL,
    sha          TEXT NOT NULL,
    ref          TEXT NOT NULL,
    status       TEXT NOT NULL,
    source       TEXT NOT NULL,
    web_url      TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    updated_at   TEXT NOT NULL,
    read_update  TEXT               -- the updated_at whose jobs were read; NULL: never read
) STRICT;
CREATE INDEX pipelines_unread ON pipelines (pipeline_id)
    WHERE status IN ('success', 'failed', 'canceled', 'manual') AND read_update IS NOT updated_at;

CREATE TABLE jobs (
    job_id      INTEGER PRIMARY KEY,
    pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    name        TEXT NOT NULL,
    status      TEXT NOT NULL,
    web_url     TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'read', 'empty', 'lost')),
    tries       INTEGER NOT NULL DEFAULT 0,
    superseded  INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1))
) STRICT;
CREATE INDEX jobs_of_pipeline ON jobs (pipeline_id, name);
CREATE INDEX jobs_open ON jobs (pipeline_id) WHERE state = 'open' AND superseded = 0;

CREATE TABLE reports (
    report_id INTEGER PRIMARY KEY,
    job_id    INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    source    TEXT NOT NULL CHECK (source IN ('junit', 'archive', 'test_report')),
    name      TEXT NOT NULL,
    tests     INTEGER NOT NULL CHECK (tests >= 0)
) STRICT;
CREATE INDEX reports_of_job ON reports (job_id);

CREATE TABLE problems (
    problem_id  INTEGER PRIMARY KEY,
    pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    job_id      INTEGER REFERENCES jobs ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    seen_at     TEXT NOT NULL
) STRICT;
CREATE INDEX problems_of_job ON problems (job_id);
CREATE INDEX problems_of_pipeline ON problems (pipeline_id);

-- all that mapping looks at; many tests share one
CREATE TABLE subjects (
    subject_id INTEGER PRIMARY KEY,
    key        TEXT NOT NULL,
    name       TEXT NOT NULL,
    ids        TEXT NOT NULL,       -- FormattedIDs from properties, comma-separated
    mapping    TEXT NOT NULL DEFAULT 'new' CHECK (mapping IN ('new', 'mapped', 'unmapped', 'ignored')),
    rule       TEXT NOT NULL DEFAULT '',
    UNIQUE (key, name, ids)
) STRICT;
CREATE INDEX subjects_new ON subjects (subject_id) WHERE mapping = 'new';

-- where a subject's tests go, by the mapping as it is now; object_id NULL: Rally does not have it in scope
CREATE TABLE targets (
    subject_id   INTEGER NOT NULL REFERENCES subjects ON DELETE CASCADE,
    formatted_id TEXT NOT NULL,
    object_id    INTEGER,
    PRIMARY KEY (subject_id, formatted_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX targets_by_id ON targets (formatted_id);

CREATE TABLE tests (
    test_id     INTEGER PRIMARY KEY,
    report_id   INTEGER NOT NULL REFERENCES reports ON DELETE CASCADE,
    job_id      INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    subject_id  INTEGER NOT NULL REFERENCES subjects,
    ordinal     INTEGER NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('errored', 'failed', 'skipped', 'passed')),
    flaky       INTEGER NOT NULL CHECK (flaky IN (0, 1)),
    attempts    INTEGER NOT NULL CHECK (attempts >= 1),
    duration_s  REAL NOT NULL CHECK (duration_s >= 0),
    message     TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'held', 'ignored', 'superseded', 'refused', 'sent', 'merged')),
    was         TEXT NOT NULL DEFAULT 'read' CHECK (was IN ('read', 'held', 'ignored', 'remapped'))
) STRICT;
CREATE INDEX tests_of_job ON tests (job_id);
CREATE INDEX tests_of_subject ON tests (subject_id, state);
CREATE INDEX tests_pending ON tests (pipeline_id) WHERE state = 'pending';
CREATE INDEX tests_held ON tests (subject_id) WHERE state = 'held';

-- how many tests are in each state, kept in step by the triggers so that status need not count a million rows
CREATE TABLE tallies (state TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0)) STRICT, WITHOUT ROWID;
INSERT INTO tallies VALUES
    ('pending', 0), ('held', 0), ('ignored', 0), ('superseded', 0), ('refused', 0), ('sent', 0), ('merged', 0);
CREATE TRIGGER tests_counted AFTER INSERT ON tests BEGIN
    UPDATE tallies SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER tests_recounted AFTER UPDATE OF state ON tests WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET n = n - 1 WHERE state = OLD.state;
    UPDATE tallies SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER tests_discounted AFTER DELETE ON tests BEGIN
    UPDATE tallies SET n = n - 1 WHERE state = OLD.state;
END;

-- results: begun, done or refused; an intent that proves undone is withdrawn, that is deleted, and noted in audit
CREATE TABLE entries (
    entry_id     INTEGER PRIMARY KEY,
    pipeline_id  INTEGER NOT NULL REFERENCES pipelines,
    formatted_id TEXT NOT NULL,
    revision     INTEGER NOT NULL CHECK (revision >= 1),
    build        TEXT NOT NULL,
    test_case    INTEGER,           -- ObjectID; NULL for an adopted result of a test case that is out of scope now
    verdict      TEXT NOT NULL,
    date         TEXT,
    duration_s   REAL,
    state        TEXT NOT NULL CHECK (state IN ('intended', 'done', 'refused')),
    object_id    INTEGER,
    reason       TEXT,
    adopted      INTEGER NOT NULL DEFAULT 0 CHECK (adopted IN (0, 1)),
    intended_at  TEXT NOT NULL,
    settled_at   TEXT,
    UNIQUE (pipeline_id, formatted_id, revision),
    CHECK ((state = 'done') = (object_id IS NOT NULL)),
    CHECK ((state = 'refused') = (reason IS NOT NULL)),
    CHECK ((state = 'intended') = (settled_at IS NULL)),
    CHECK (adopted = 0 OR state = 'done')
) STRICT;
CREATE INDEX entries_intended ON entries (intended_at) WHERE state = 'intended';
CREATE INDEX entries_by_state ON entries (state);
CREATE TRIGGER entries_settle_once BEFORE UPDATE ON entries WHEN OLD.state <> 'intended' BEGIN
    SELECT RAISE(ABORT, 'an entry that is done or refused never changes');
END;

-- which tests a result was made of; `decided`: the one that gave the verdict
CREATE TABLE contributions (
    entry_id INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
    test_id  INTEGER NOT NULL REFERENCES tests,
    decided  INTEGER NOT NULL CHECK (decided IN (0, 1)),
    PRIMARY KEY (entry_id, test_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX contributions_of_test ON contributions (test_id);

-- results with a test of an attempt that was run again since
CREATE TABLE outdated (entry_id INTEGER PRIMARY KEY REFERENCES entries ON DELETE CASCADE) STRICT;

-- Rally's TestCases in scope, as last refreshed
CREATE TABLE test_cases (
    object_id    INTEGER PRIMARY KEY,
    formatted_id TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    project_id   INTEGER NOT NULL,
    updated_at   TEXT NOT NULL,
    field_value  TEXT NOT NULL
) STRICT;
CREATE INDEX test_cases_by_field ON test_cases (field_value) WHERE field_value <> '';

CREATE TABLE cursors (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE passes (
    pass_id    INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    trouble    TEXT NOT NULL DEFAULT '',   -- JSON: service -> one line; '' while running
    summary    TEXT NOT NULL DEFAULT ''    -- JSON, as --json prints it
) STRICT;

CREATE TABLE audit (
    at     TEXT NOT NULL,
    what   TEXT NOT NULL,
    key    TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
"""


_ATTACHMENTS = """
ALTER TABLE jobs ADD COLUMN expires_at TEXT;            -- the day its artifacts go; NULL: never, or not told
ALTER TABLE jobs ADD COLUMN archive_bytes INTEGER;      -- as GitLab lists it; NULL: it lists none
ALTER TABLE jobs ADD COLUMN files_note TEXT NOT NULL DEFAULT '';   -- why its archive cannot be had
ALTER TABLE jobs ADD COLUMN kept TEXT NOT NULL DEFAULT 'no' CHECK (kept IN ('no', 'yes', 'denied', 'gone'));

CREATE INDEX jobs_kept ON jobs (job_id) WHERE kept IN ('yes', 'denied');

-- what more is known of a test, as a sum: 1 its output, 2 files, 4 metrics; most have nothing
ALTER TABLE tests ADD COLUMN evidence INTEGER NOT NULL DEFAULT 0 CHECK (evidence BETWEEN 0 AND 7);

-- texts and other bytes of our own that may be attached; equal ones once
CREATE TABLE outputs (
    output_id  INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,    -- SHA-256
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    crc        INTEGER NOT NULL,
    body       BLOB NOT NULL            -- zlib
) STRICT;

-- what a failed or errored test printed
CREATE TABLE test_outputs (
    test_id   INTEGER PRIMARY KEY REFERENCES tests ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    output_id INTEGER NOT NULL REFERENCES outputs
) STRICT;

CREATE TABLE test_metrics (
    test_id  INTEGER NOT NULL REFERENCES tests ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (test_id, position)
) STRICT, WITHOUT ROWID;

-- the files of a job that belong to some test of it
CREATE TABLE files (
    file_id    INTEGER PRIMARY KEY,
    job_id     INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    kind       TEXT NOT NULL CHECK (kind IN ('member', 'inline', 'url', 'missing')),
    path       TEXT NOT NULL,           -- in the archive, or as the test said it
    size_bytes INTEGER,
    crc        INTEGER,
    output_id  INTEGER REFERENCES outputs,
    note       TEXT NOT NULL,
    metric     INTEGER NOT NULL CHECK (metric IN (0, 1)),
    CHECK ((kind = 'inline') = (output_id IS NOT NULL)),
    CHECK ((kind IN ('member', 'inline')) = (size_bytes IS NOT NULL AND crc IS NOT NULL))
) STRICT;
CREATE INDEX files_of_job ON files (job_id);
CREATE TABLE test_files (
    test_id INTEGER NOT NULL REFERENCES tests ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    PRIMARY KEY (test_id, file_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX test_files_of_file ON test_files (file_id);

-- one row for each (result, file); `notice`: a text of ours that says what could not be attached, not counted
CREATE TABLE attachments (
    attachment_id INTEGER PRIMARY KEY,
    entry_id      INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
    name          TEXT NOT NULL,
    size_bytes    INTEGER,
    crc           INTEGER,
    file_id       INTEGER REFERENCES files,
    output_id     INTEGER REFERENCES outputs,
    url           TEXT NOT NULL,
    notice        INTEGER NOT NULL DEFAULT 0 CHECK (notice IN (0, 1)),
    state         TEXT NOT NULL CHECK (state IN ('pending', 'intended', 'done', 'linked', 'missing', 'refused')),
    tries         INTEGER NOT NULL DEFAULT 0,
    begun         INTEGER NOT NULL DEFAULT 0 CHECK (begun IN (0, 1)),   -- a content was sent and not heard of
    content_id    INTEGER,              -- the AttachmentContent that Rally has of it
    content_type  TEXT,
    object_id     INTEGER,
    reason        TEXT NOT NULL DEFAULT '',
    intended_at   TEXT,
    settled_at    TEXT,
    CHECK ((state = 'done') = (object_id IS NOT NULL)),
    CHECK ((content_id IS NULL) = (content_type IS NULL)),
    CHECK (state <> 'intended' OR (content_id IS NOT NULL AND intended_at IS NOT NULL)),
    CHECK ((state IN ('pending', 'intended')) = (settled_at IS NULL)),
    CHECK (state NOT IN ('pending', 'intended', 'done') OR (size_bytes IS NOT NULL AND crc IS NOT NULL)),
    CHECK (state NOT IN ('missing', 'refused') OR reason <> '')
) STRICT;
CREATE INDEX attachments_of_entry ON attachments (entry_id);
CREATE INDEX attachments_open ON attachments (entry_id, state) WHERE state IN ('pending', 'intended');
CREATE INDEX attachments_unattached ON attachments (state) WHERE state IN ('missing', 'refused');
CREATE INDEX attachments_linked ON attachments (file_id) WHERE state = 'linked';
CREATE INDEX audit_orphaned ON audit (what) WHERE what = 'orphaned';
CREATE TRIGGER attachments_settle_once BEFORE UPDATE ON attachments WHEN OLD.state NOT IN ('pending', 'intended') BEGIN
    SELECT RAISE(ABORT, 'an attachment that is settled never changes');
END;

CREATE TABLE attachment_tallies (state TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0)) STRICT, WITHOUT ROWID;
INSERT INTO attachment_tallies VALUES
    ('pending', 0), ('intended', 0), ('done', 0), ('linked', 0), ('missing', 0), ('refused', 0);
CREATE TRIGGER attachments_counted AFTER INSERT ON attachments WHEN NEW.notice = 0 BEGIN
    UPDATE attachment_tallies SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER attachments_recounted AFTER UPDATE OF state ON attachments
    WHEN OLD.state <> NEW.state AND NEW.notice = 0 BEGIN
    UPDATE attachment_tallies SET n = n - 1 WHERE state = OLD.state;
    UPDATE attachment_tallies SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER attachments_discounted AFTER DELETE ON attachments WHEN OLD.notice = 0 BEGIN
    UPDATE attachment_tallies SET n = n - 1 WHERE state = OLD.state;
END;
"""


_SPRINTS = """
ALTER TABLE entries ADD COLUMN test_set INTEGER;        -- ObjectID of the TestSet that the result carries

-- Rally's iterations in scope, as last seen; the same sprint is one per project
CREATE TABLE iterations (
    iteration_id INTEGER PRIMARY KEY,   -- ObjectID
    project_id   INTEGER NOT NULL,
    project_name TEXT NOT NULL,
    name         TEXT NOT NULL,
    starts_at    TEXT NOT NULL,
    ends_at      TEXT NOT NULL,
    seen_at      TEXT NOT NULL,         -- when Rally last listed it
    items_at     TEXT,                  -- when it last had stories or defects
    listed       INTEGER NOT NULL DEFAULT 1 CHECK (listed IN (0, 1))    -- 0: moved, deleted or out of scope
) STRICT;
CREATE INDEX iterations_by_end ON iterations (ends_at);

-- stories and defects of current iterations, and what they were like when their test cases were asked for
CREATE TABLE work_items (
    work_item_id INTEGER PRIMARY KEY,   -- ObjectID
    iteration_id INTEGER NOT NULL REFERENCES iterations,
    test_cases   INTEGER,
    updated_at   TEXT NOT NULL,
    asked_at     TEXT NOT NULL
) STRICT;
CREATE INDEX work_items_of_iteration ON work_items (iteration_id);
CREATE TABLE work_item_cases (
    work_item_id INTEGER NOT NULL REFERENCES work_items ON DELETE CASCADE,
    test_case    INTEGER NOT NULL,
    formatted_id TEXT NOT NULL,
    project_id   INTEGER NOT NULL,
    PRIMARY KEY (work_item_id, test_case)
) STRICT, WITHOUT ROWID;

-- one set for each iteration; `gone`: a person deleted it or scheduled it elsewhere
CREATE TABLE test_sets (
    iteration_id INTEGER PRIMARY KEY REFERENCES iterations,
    name         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('intended', 'done', 'refused', 'gone')),
    object_id    INTEGER,
    adopted      INTEGER NOT NULL DEFAULT 0 CHECK (adopted IN (0, 1)),
    reason       TEXT NOT NULL DEFAULT '',
    intended_at  TEXT NOT NULL,
    CHECK ((state IN ('done', 'gone')) = (object_id IS NOT NULL)),
    CHECK (state <> 'refused' OR reason <> '')
) STRICT;

-- further sets of an iteration's name: people may have meant them, so they are only told
CREATE TABLE doubles (
    object_id    INTEGER PRIMARY KEY,
    iteration_id INTEGER NOT NULL REFERENCES iterations,
    name         TEXT NOT NULL
) STRICT;

-- which test cases are in an iteration's set; nothing is ever taken out
CREATE TABLE members (
    iteration_id INTEGER NOT NULL REFERENCES iterations,
    test_case    INTEGER NOT NULL,
    formatted_id TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('wanted', 'intended', 'done', 'refused')),
    reason       TEXT NOT NULL DEFAULT '',
    intended_at  TEXT,
    PRIMARY KEY (iteration_id, test_case),
    CHECK ((state = 'intended') = (intended_at IS NOT NULL)),
    CHECK (state <> 'refused' OR reason <> '')
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_case ON members (test_case);
CREATE INDEX members_open ON members (iteration_id, test_case) WHERE state IN ('wanted', 'intended');

CREATE TABLE unplaced (
    iteration_id INTEGER NOT NULL REFERENCES iterations,
    test_case    INTEGER NOT NULL,
    formatted_id TEXT NOT NULL,
    reason       TEXT NOT NULL,
    PRIMARY KEY (iteration_id, test_case)
) STRICT, WITHOUT ROWID;

-- folders of test cases: one for all sprints of a project (iteration_id 0), and in it one for each
CREATE TABLE folders (
    project_id   INTEGER NOT NULL,
    iteration_id INTEGER NOT NULL,
    name         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('intended', 'done', 'refused')),
    object_id    INTEGER,
    reason       TEXT NOT NULL DEFAULT '',
    intended_at  TEXT NOT NULL,
    PRIMARY KEY (project_id, iteration_id),
    CHECK ((state = 'done') = (object_id IS NOT NULL)),
    CHECK (state <> 'refused' OR reason <> '')
) STRICT, WITHOUT ROWID;

-- test cases that were filed in a sprint's folder: once, wherever people put them afterwards
CREATE TABLE moves (
    iteration_id INTEGER NOT NULL REFERENCES iterations,
    test_case    INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('intended', 'done', 'refused')),
    reason       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (iteration_id, test_case),
    CHECK (state <> 'refused' OR reason <> '')
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_of_set ON entries (test_set, test_case) WHERE test_set IS NOT NULL;
"""


_REMAKES = """
-- results that are gone from Rally and that a person ordered to be made again; a row goes when that is done or refused
CREATE TABLE remakes (
    entry_id  INTEGER PRIMARY KEY REFERENCES entries ON DELETE CASCADE,
    object_id INTEGER NOT NULL      -- the one that is gone
) STRICT;
"""

_ENTRIES_BY_BUILD = "CREATE INDEX entries_by_build ON entries (build);"  # `verify` asks for the results of a Build

BACKFILLS = """
-- orders to bring the past up to date; `handed`: the daemon carries it out
CREATE TABLE backfills (
    backfill_id INTEGER PRIMARY KEY,
    since       TEXT NOT NULL,
    until       TEXT,                   -- NULL: as far as there was anything when it was asked for
    projects    TEXT NOT NULL,          -- JSON: names as the order gave them, sorted; [] = all
    asked_at    TEXT NOT NULL,
    opened_at   TEXT,                   -- when `windows` were last made for all projects
    agreed      INTEGER NOT NULL DEFAULT 0 CHECK (agreed IN (0, 1)),
    handed      INTEGER NOT NULL DEFAULT 0 CHECK (handed IN (0, 1)),
    state       TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'asks', 'done')),
    due         INTEGER NOT NULL DEFAULT 0,             -- results that it asks about
    found       INTEGER NOT NULL DEFAULT 0,
    read        INTEGER NOT NULL DEFAULT 0,
    summary     TEXT NOT NULL DEFAULT '{}',             -- JSON, as --json prints it, of all its runs
    trouble     TEXT NOT NULL DEFAULT '{}',             -- JSON: "down" and "failed", lists of texts, of its last run
    ended_at    TEXT,
    CHECK ((state = 'done') = (ended_at IS NOT NULL))
) STRICT;

-- what of the past is to be listed: a row shrinks from its end with each page
CREATE TABLE windows (
    window_id   INTEGER PRIMARY KEY,
    backfill_id INTEGER NOT NULL REFERENCES backfills ON DELETE CASCADE,
    project_id  INTEGER NOT NULL REFERENCES projects,
    children    INTEGER NOT NULL CHECK (children IN (0, 1)),
    since       TEXT NOT NULL,
    before      TEXT,
    page        INTEGER NOT NULL DEFAULT 1,
    state       TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done'))
) STRICT;
CREATE INDEX windows_of_backfill ON windows (backfill_id, state);

-- what is still to be read for a backfill, or was and waits for a Yes; a live pipeline is never in it
CREATE TABLE backlog (
    pipeline_id INTEGER PRIMARY KEY REFERENCES pipelines,
    backfill_id INTEGER NOT NULL REFERENCES backfills,
    created_at  TEXT NOT NULL,
    is_read     INTEGER NOT NULL DEFAULT 0 CHECK (is_read IN (0, 1)),
    is_new      INTEGER NOT NULL CHECK (is_new IN (0, 1))      -- 0: its results went to Rally before
) STRICT;
CREATE INDEX backlog_in_order ON backlog (backfill_id, is_read, created_at, pipeline_id);
"""

_OF_SUBJECT = """
-- without the state, which changes once for each test: then the index changes as often
DROP INDEX tests_of_subject;
CREATE INDEX tests_of_subject ON tests (subject_id);
"""

STEPS = {
    "0001_first": _FIRST,
    "0002_attachments": _ATTACHMENTS,
    "0003_sprints": _SPRINTS,
    "0004_entries_by_build": _ENTRIES_BY_BUILD,
    "0005_remakes": _REMAKES,
    "0006_tallies": TALLIES,
    "0007_backfills": BACKFILLS,
    "0008_tests_of_subject": _OF_SUBJECT,
}
"""By name, in order; a further one stands behind them."""
