-- What was announced in a registry, how its renewal goes, and how a target's health is watched.
-- This file is never changed once released; a later schema is a later file.

-- What may stand in a registry: written before the registry is told, removed once it is known to be
-- gone there. Without a reference to the service, because it outlives its removal until then.
CREATE TABLE registrations (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id      INTEGER NOT NULL REFERENCES nodes (id),
    service_id   INTEGER NOT NULL,
    service      TEXT    NOT NULL,
    port         INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    -- JSON array of the base URLs, without credentials.
    registries   TEXT    NOT NULL,
    app          TEXT    NOT NULL,
    instance_id  TEXT    NOT NULL,
    host         TEXT    NOT NULL,
    address      TEXT    NOT NULL,
    -- Seconds, as the registry was told.
    interval_s   INTEGER NOT NULL CHECK (interval_s >= 1),
    duration_s   INTEGER NOT NULL CHECK (duration_s >= 1),
    since        INTEGER NOT NULL,
    UNIQUE (node_id, app, instance_id)
) STRICT;

-- Calls to the registry, the newest of each service.
CREATE TABLE heartbeats (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    service_id INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    call       TEXT    NOT NULL CHECK (call IN ('register', 'renew', 'status', 'cancel')),
    -- NULL: it went as asked.
    failure    TEXT,
    latency_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX heartbeats_of_service ON heartbeats (service_id, id);

-- How the active target's health is watched: JSON, NULL for not at all.
ALTER TABLE services ADD COLUMN health TEXT;
