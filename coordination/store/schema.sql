-- The journal and its projections. This is the only place where the shape of the database is written.
--
-- `event` is the record. Every other table below it is a projection: its columns are the fields of the record class of
-- the same name (palmette.coordination.records), and only the fold writes them. A field of several values is JSON; a
-- text that lies in a file is the blob 'sha256:size' in a column of type ANY. An index group that is the beginning of
-- another has no index of its own.

CREATE TABLE "meta" (
    "name" TEXT NOT NULL PRIMARY KEY,
    "value" TEXT NOT NULL
) STRICT;

CREATE TABLE "event" (
    "seq" INTEGER PRIMARY KEY AUTOINCREMENT,
    "at" INTEGER NOT NULL,
    "tree" TEXT,
    "node" TEXT,
    "attempt" TEXT,
    "kind" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "actor" TEXT NOT NULL,
    "because" INTEGER,
    "origin" TEXT NOT NULL,
    "label" TEXT NOT NULL,
    "data" TEXT NOT NULL
) STRICT;
-- With node and kind inside, the pages of a subtree are filtered without touching the rows.
CREATE INDEX "event_tree" ON "event" ("tree", "seq", "node", "kind");
-- Model calls are nearly all of a journal: found by reading on, they need no index, and each append is spared its page.
-- (A list of three in NOT IN would cost a table of its own in every insert.)
CREATE INDEX "event_kind" ON "event" ("kind", "seq")
WHERE "kind" <> 'model_booked' AND "kind" <> 'model_held' AND "kind" <> 'stepped';

CREATE TABLE "tree" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "mode" TEXT NOT NULL,
    "root_key" TEXT,
    "repository" TEXT,
    "max_depth" INTEGER NOT NULL,
    "person" INTEGER NOT NULL,
    "evaluation" INTEGER NOT NULL,
    "model_source" TEXT NOT NULL,
    "opened_at" INTEGER NOT NULL,
    "state" TEXT NOT NULL,
    "adopted" INTEGER NOT NULL,
    "detached" INTEGER NOT NULL,
    "published" TEXT
) STRICT;
CREATE INDEX "tree_state" ON "tree" ("state");
CREATE INDEX "tree_root_key_state" ON "tree" ("root_key", "state");

CREATE TABLE "node" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "tree" TEXT NOT NULL,
    "parent" TEXT,
    "ordinal" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "task" ANY NOT NULL,
    "task_digest" TEXT NOT NULL,
    "profile_name" TEXT NOT NULL,
    "profile" TEXT NOT NULL,
    "profile_body" ANY NOT NULL,
    "role" TEXT NOT NULL,
    "harness" TEXT NOT NULL,
    "model" TEXT NOT NULL,
    "deadline_at" INTEGER,
    "key" TEXT,
    "base" TEXT,
    "checks" TEXT,
    "continuity" TEXT NOT NULL,
    "resumes" TEXT,
    "on_crash" TEXT NOT NULL,
    "isolation" TEXT NOT NULL,
    "enforcement" TEXT NOT NULL,
    "access" TEXT NOT NULL,
    "held" INTEGER NOT NULL,
    "spawned_at" INTEGER NOT NULL,
    "spawned_seq" INTEGER NOT NULL,
    "state" TEXT NOT NULL,
    "children" INTEGER NOT NULL,
    "attempts" INTEGER NOT NULL,
    "paused" INTEGER NOT NULL,
    "session" TEXT,
    "submit" TEXT NOT NULL,
    "reminders" INTEGER NOT NULL,
    "result" ANY NOT NULL,
    "artifacts" TEXT,
    "incomplete" INTEGER NOT NULL,
    "commit" TEXT,
    "verdicts" TEXT NOT NULL,
    "settlement" TEXT,
    "cause" TEXT,
    "reason" TEXT NOT NULL,
    "valid" INTEGER,
    "diffstat" TEXT,
    "settled_at" INTEGER,
    "settled_by" TEXT,
    "settled_seq" INTEGER
) STRICT;
CREATE INDEX "node_parent_state" ON "node" ("parent", "state");
CREATE INDEX "node_parent_label" ON "node" ("parent", "label");
CREATE INDEX "node_parent_key" ON "node" ("parent", "key");
CREATE INDEX "node_tree_state" ON "node" ("tree", "state");

CREATE TABLE "attempt" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "node" TEXT NOT NULL,
    "tree" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "token_digest" TEXT NOT NULL,
    "session" TEXT,
    "started_at" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "last_step_seq" INTEGER NOT NULL
) STRICT;
CREATE INDEX "attempt_node" ON "attempt" ("node");
CREATE INDEX "attempt_token_digest" ON "attempt" ("token_digest");
CREATE INDEX "attempt_state" ON "attempt" ("state");

CREATE TABLE "purse" (
    "node" TEXT NOT NULL PRIMARY KEY,
    "parent" TEXT,
    "granted" TEXT NOT NULL,
    "free" TEXT NOT NULL,
    "held" TEXT NOT NULL,
    "spent" TEXT NOT NULL,
    "open" INTEGER NOT NULL,
    "unknown" INTEGER NOT NULL,
    "usd_closed" INTEGER NOT NULL
) STRICT;

CREATE TABLE "hold" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "node" TEXT NOT NULL,
    "attempt" TEXT,
    "amounts" TEXT NOT NULL,
    "held_at" INTEGER NOT NULL
) STRICT;
CREATE INDEX "hold_node" ON "hold" ("node");

CREATE TABLE "question" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "tree" TEXT NOT NULL,
    "asker" TEXT NOT NULL,
    "attempt" TEXT NOT NULL,
    "question" ANY NOT NULL,
    "why" ANY NOT NULL,
    "urgency" TEXT NOT NULL,
    "asked_as" TEXT NOT NULL,
    "options" TEXT,
    "holder" TEXT,
    "asked_at" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "escalations" INTEGER NOT NULL,
    "answer" ANY,
    "answered_by" TEXT,
    "oracle_injection" INTEGER NOT NULL,
    "message" TEXT
) STRICT;
CREATE INDEX "question_tree" ON "question" ("tree");
CREATE INDEX "question_asker_state" ON "question" ("asker", "state");
CREATE INDEX "question_holder_state" ON "question" ("holder", "state");
CREATE INDEX "question_state" ON "question" ("state");

CREATE TABLE "message" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "node" TEXT NOT NULL,
    "attempt" TEXT,
    "purpose" TEXT NOT NULL,
    "text" ANY NOT NULL,
    "interrupt" INTEGER NOT NULL,
    "question" TEXT,
    "supersedes" INTEGER,
    "intended_at" INTEGER NOT NULL,
    "actor" TEXT NOT NULL,
    "label" TEXT NOT NULL,
    "state" TEXT NOT NULL
) STRICT;
CREATE INDEX "message_node_state" ON "message" ("node", "state");
CREATE INDEX "message_question" ON "message" ("question");

CREATE TABLE "delivery" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "node" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "type" TEXT NOT NULL,
    "source" TEXT NOT NULL,
    "priority" INTEGER NOT NULL,
    "at" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "handed" INTEGER NOT NULL
) STRICT;
CREATE INDEX "delivery_node" ON "delivery" ("node");

CREATE TABLE "handover" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "node" TEXT NOT NULL,
    "attempt" TEXT NOT NULL,
    "events" TEXT NOT NULL
) STRICT;
CREATE INDEX "handover_node" ON "handover" ("node");

CREATE TABLE "call" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "attempt" TEXT,
    "verb" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "answer" TEXT NOT NULL,
    "seq" INTEGER NOT NULL
) STRICT;
CREATE INDEX "call_attempt" ON "call" ("attempt");

CREATE TABLE "http_session" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "endpoint" TEXT NOT NULL,
    "credential" TEXT NOT NULL,
    "protocol_version" TEXT NOT NULL,
    "params" TEXT NOT NULL,
    "opened_at" INTEGER NOT NULL
) STRICT;

CREATE TABLE "rest" (
    "node" TEXT NOT NULL PRIMARY KEY,
    "seconds" INTEGER NOT NULL,
    "at" INTEGER NOT NULL
) STRICT;
