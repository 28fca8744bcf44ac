-- The registry of services: what is asked for, what runs, what happened.
-- Times are milliseconds since the Unix epoch. Words of states are those of `model::state`.
-- This file is never changed once released; a later schema is a later file.

-- "pmct": tells a database of pmctl from one of another program.
PRAGMA application_id = 1886217076;

-- `uuid` tells one database from another; read by every version, so this table never changes.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- A random UUID (RFC 9562, version 4), made here so that no schema exists without one.
INSERT INTO meta (key, value)
SELECT 'uuid', lower(
    hex(randomblob(4)) || '-' || hex(randomblob(2))
    || '-4' || substr(hex(randomblob(2)), 2)
    || '-' || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
    || '-' || hex(randomblob(6)));

-- Runs of a server. The columns that find a live one (name to control_url) never change.
CREATE TABLE nodes (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL,
    host          TEXT    NOT NULL,
    boot_id       TEXT    NOT NULL,
    pid_namespace INTEGER NOT NULL,
    pid           INTEGER NOT NULL,
    start_time    INTEGER NOT NULL,
    exe           TEXT    NOT NULL,
    control_url   TEXT,
    version       TEXT    NOT NULL,
    started_at    INTEGER NOT NULL,
    stopped_at    INTEGER,
    stop_reason   TEXT
) STRICT;
CREATE INDEX nodes_unfinished ON nodes (name) WHERE stopped_at IS NULL;

CREATE TABLE services (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    node_name     TEXT    NOT NULL,
    name          TEXT    NOT NULL CHECK (name <> ''),
    port          INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    bind          TEXT,
    desired       TEXT    NOT NULL CHECK (desired IN ('running', 'stopped')),
    active_target TEXT    NOT NULL,
    register      INTEGER NOT NULL CHECK (register IN (0, 1)),
    tags          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    revision      INTEGER NOT NULL CHECK (revision >= 1),
    UNIQUE (node_name, name),
    UNIQUE (node_name, port),
    FOREIGN KEY (id, active_target) REFERENCES targets (service_id, name)
        DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE targets (
    service_id INTEGER NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL CHECK (name <> ''),
    url        TEXT    NOT NULL,
    ca_file    TEXT,
    insecure   INTEGER NOT NULL CHECK (insecure IN (0, 1)),
    PRIMARY KEY (service_id, name)
) STRICT;

-- Apart from the URLs, so that whatever shows a target cannot show these by mistake.
CREATE TABLE credentials (
    service_id INTEGER NOT NULL,
    target     TEXT    NOT NULL,
    username   TEXT    NOT NULL,
    password   TEXT    NOT NULL,
    PRIMARY KEY (service_id, target),
    FOREIGN KEY (service_id, target) REFERENCES targets (service_id, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE runtime (
    service_id INTEGER NOT NULL PRIMARY KEY REFERENCES services (id) ON DELETE CASCADE,
    node_id    INTEGER REFERENCES nodes (id),
    actual     TEXT    NOT NULL
        CHECK (actual IN ('stopped', 'starting', 'running', 'draining', 'failed')),
    reason     TEXT,
    since      INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    detail  TEXT
) STRICT;
