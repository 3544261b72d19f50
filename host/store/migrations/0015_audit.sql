-- Keys may end: milliseconds since 1970; null means never.
ALTER TABLE api_key ADD COLUMN expires_at {integer};

-- What administrators, their programs and plug-ins did to the records of the house.
CREATE TABLE audit_event (
    -- A UUID of version 7: in the order of time.
    id {key} NOT NULL PRIMARY KEY,
    at {integer} NOT NULL,
    -- user, key, local, instance, configuration, link or nobody.
    actor_kind TEXT NOT NULL,
    -- The user's name, the key's, the instance's kind and name.
    actor {key} NOT NULL,
    -- Tells two actors of one name apart: the user's id, the key's hash.
    actor_id TEXT NOT NULL,
    -- The address that it was asked from; empty where there is none.
    peer TEXT NOT NULL,
    -- Such as user.change.
    action {key} NOT NULL,
    object_kind {key} NOT NULL,
    object_id {key} NOT NULL,
    -- JSON without secrets: the object before and after.
    before TEXT,
    after TEXT,
    request_id TEXT NOT NULL,
    -- begun, done, refused or failed. What is begun and nothing else was cut off: nobody knows whether it was done.
    outcome TEXT NOT NULL,
    -- Why it was refused or failed.
    detail TEXT NOT NULL
){table};

CREATE INDEX audit_event_at ON audit_event (at);
CREATE INDEX audit_event_actor ON audit_event (actor, id);
CREATE INDEX audit_event_object ON audit_event (object_kind, object_id, id);
