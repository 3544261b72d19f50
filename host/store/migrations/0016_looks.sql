-- Names that are kept back: what is tried again once a minute.
CREATE INDEX departure_blocks ON departure (blocks, username);

-- What the audit log is asked for besides actors and objects.
CREATE INDEX audit_event_action ON audit_event (action, id);
CREATE INDEX audit_event_kind ON audit_event (object_kind, id);
