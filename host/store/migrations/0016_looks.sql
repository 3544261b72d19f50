-- How often the password of somebody was changed whom an instance keeps: a log-in that compared the one before sees it.
ALTER TABLE user_identity ADD COLUMN password_changes {integer} NOT NULL DEFAULT 0;

-- Names that are kept back: what is tried again once a minute.
CREATE INDEX departure_blocks ON departure (blocks, username);

-- What the audit log is asked for besides actors and objects.
CREATE INDEX audit_event_action ON audit_event (action, id);
CREATE INDEX audit_event_kind ON audit_event (object_kind, id);
