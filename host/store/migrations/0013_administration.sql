-- Keys that an administrator made in a session belong to that person, and go with them.
ALTER TABLE api_key ADD COLUMN user_id {key} REFERENCES user_identity (id) ON DELETE CASCADE;
-- The address that the key was asked for from.
ALTER TABLE api_key ADD COLUMN issued_for TEXT NOT NULL DEFAULT '';
ALTER TABLE api_key ADD COLUMN user_agent TEXT NOT NULL DEFAULT '';

CREATE INDEX api_key_user ON api_key (user_id);

-- What administrators' programs keep here for pages and plug-ins.
CREATE TABLE misc_config (
    name {key} NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    -- JSON.
    value TEXT NOT NULL,
    search TEXT NOT NULL
){table};

-- The link by which somebody becomes the first administrator.
CREATE TABLE setup_link (
    -- There is one at most.
    place {integer} NOT NULL PRIMARY KEY CHECK (place = 1),
    -- SHA-256 of what the link holds.
    token_hash {blob} NOT NULL,
    expires_at {integer} NOT NULL,
    -- Until when somebody who uses it has it alone.
    claimed_until {integer} NOT NULL
){table};
